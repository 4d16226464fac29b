"""The jobs of a server in a SQLite file. Every change is one transaction: a kill leaves the old or the new.

The queue is fair: the next job is the oldest one of the user whose last job was started longest ago. So users
with waiting jobs take turns, whatever number of jobs each has sent. A preview takes its user's next turn.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from threading import RLock
from time import time
from typing import Any

import msgspec

from lib_ctrlgen.errors import HostError

from .once import Once
from .records import PREVIEW, Job, Kind, State

FIRST = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, user TEXT NOT NULL, kind TEXT NOT NULL,
    title TEXT NOT NULL, state TEXT NOT NULL, settings TEXT NOT NULL, created REAL NOT NULL, started REAL,
    ended REAL, attempts INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0,
    cancel INTEGER NOT NULL DEFAULT 0, error TEXT, result TEXT
);
CREATE TABLE payloads (number INTEGER PRIMARY KEY REFERENCES jobs(number), payload TEXT NOT NULL);
CREATE TABLE turns (user TEXT PRIMARY KEY, turn INTEGER NOT NULL);
CREATE INDEX jobs_by_state ON jobs (state, user, number);
CREATE INDEX jobs_by_user ON jobs (user, number);
"""
ONCE = """
CREATE TABLE sent (
    user TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL,
    number INTEGER NOT NULL REFERENCES jobs(number), PRIMARY KEY (user, key)
);
"""
SCHEMAS = (FIRST, ONCE)  # what each version of the file adds
NEXT = """
SELECT number FROM jobs LEFT JOIN turns ON turns.user = jobs.user
WHERE jobs.state = 'queued'
ORDER BY coalesce(turns.turn, 0), jobs.kind <> 'preview', jobs.number LIMIT 1
"""
TURN = """
INSERT INTO turns SELECT user, (SELECT coalesce(max(turn), 0) + 1 FROM turns) FROM jobs WHERE number = ?
ON CONFLICT (user) DO UPDATE SET turn = excluded.turn
"""
JSON_FIELDS = ("settings", "error", "result")


class JobStore:
    """The jobs in a SQLite file. Thread-safe; one process at a time uses the file."""

    def __init__(self, path: Path) -> None:
        self._lock = RLock()
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(
                "PRAGMA synchronous = FULL"
            )  # a finished transaction outlives a power cut
            self._create(path)
        except sqlite3.Error as error:
            raise HostError(f"cannot open the jobs in {path}: {error}") from error

    def _create(self, path: Path) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(SCHEMAS):
            raise HostError(f"the jobs in {path} were written by a newer version of CtrlGen")
        for number, schema in enumerate(SCHEMAS[version:], version + 1):
            self._connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {number}; COMMIT;")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite ends it by itself after some errors
                    self._connection.execute("ROLLBACK")
                raise

    def add(
        self,
        user: str,
        kind: Kind,
        title: str,
        settings: Mapping[str, Any],
        payload: Mapping[str, Any],
        most: int,
        once: Once | None = None,
    ) -> Job | None:
        """Add a job to the queue; None if the user has `most` jobs that wait or run already.

        Previews are not counted. A job that was sent with the same key before is returned, and no other one
        is added. Raises RequestError if that was another job.
        """
        text, job = json.dumps(payload), token_hex(8)
        with self._transaction() as run:
            if once is not None and (known := self._sent(user, once)) is not None:
                return known
            if kind != PREVIEW and self._live(user) >= most:
                return None
            values = (job, user, kind, title, "queued", json.dumps(settings), time())
            added = run.execute(
                "INSERT INTO jobs (id, user, kind, title, state, settings, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            run.execute("INSERT INTO payloads VALUES (?, ?)", (added.lastrowid, text))
            if once is not None:
                sent = (user, once.key, once.digest, added.lastrowid)
                run.execute("INSERT INTO sent VALUES (?, ?, ?, ?)", sent)
        return self.require(job)

    def _sent(self, user: str, once: Once) -> Job | None:
        """The job that a user has sent with a key. Raises RequestError if it is another one than now."""
        query = "SELECT jobs.*, digest FROM sent JOIN jobs USING (number) WHERE sent.user = ? AND key = ?"
        row = self._connection.execute(query, (user, once.key)).fetchone()
        if row is not None:
            once.require_same(row["digest"])
        return _job(row)

    def _live(self, user: str) -> int:
        query = (
            "SELECT count(*) FROM jobs WHERE user = ? AND kind <> 'preview' "
            "AND state IN ('queued', 'running')"
        )
        return int(self._connection.execute(query, (user,)).fetchone()[0])

    def counts(self, user: str) -> dict[str, int]:
        """How many jobs a user has in each state, without previews."""
        with self._lock:
            query = "SELECT state, count(*) FROM jobs WHERE user = ? AND kind <> 'preview' GROUP BY state"
            return dict(tuple(row) for row in self._connection.execute(query, (user,)))

    def get(self, job: str) -> Job | None:
        """A job by its id, or None."""
        with self._lock:
            return _job(self._connection.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone())

    def require(self, job: str) -> Job:
        """A job by its id. Raises HostError if it was removed."""
        found = self.get(job)
        if found is None:
            raise HostError(f"the job {job} was removed")
        return found

    def listed(
        self, user: str | None = None, state: State | None = None, most: int = 100, before: int | None = None
    ) -> list[Job]:
        """Jobs, the newest first: of one user or all, in one state or any, with a number below `before`.

        Previews are not among them.
        """
        limits = {"user = ?": user, "state = ?": state, "number < ?": before}
        given = {text: value for text, value in limits.items() if value is not None}
        where = " AND ".join(["kind <> 'preview'", *given])
        query = f"SELECT * FROM jobs WHERE {where} ORDER BY number DESC LIMIT ?"
        with self._lock:
            rows = self._connection.execute(query, (*given.values(), most)).fetchall()
        return [job for row in rows if (job := _job(row)) is not None]

    def previews(self, user: str | None = None) -> list[Job]:
        """The previews of one user, or of all."""
        query = "SELECT * FROM jobs WHERE kind = 'preview' AND ? IN (user, '') ORDER BY number"
        with self._lock:
            rows = self._connection.execute(query, (user or "",)).fetchall()
        return [job for row in rows if (job := _job(row)) is not None]

    def payload(self, job: Job) -> dict[str, Any]:
        """The content of a job, with its pictures."""
        with self._lock:
            query = "SELECT payload FROM payloads WHERE number = ?"
            row = self._connection.execute(query, (job.number,)).fetchone()
        return dict(json.loads(row["payload"]))

    def claim(self) -> Job | None:
        """Take the next job out of the queue, as running; None if the queue is empty."""
        with self._transaction() as run:
            row = run.execute(NEXT).fetchone()
            if row is None:
                return None
            number = row[0]
            run.execute(TURN, (number,))
            run.execute(
                "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1 WHERE number = ?",
                (time(), number),
            )
            return _job(run.execute("SELECT * FROM jobs WHERE number = ?", (number,)).fetchone())

    def requeue(self, job: Job, *, lost: bool = False) -> None:
        """Put a running job back to its place among the user's jobs; `lost` counts a lost worker."""
        with self._transaction() as run:
            run.execute(
                "UPDATE jobs SET state = 'queued', started = NULL, losses = losses + ? "
                "WHERE number = ? AND state = 'running'",
                (int(lost), job.number),
            )

    def end(
        self,
        job: Job,
        state: State,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, str] | None = None,
    ) -> None:
        """End a job that waits or runs. A job that has ended is not changed."""
        with self._transaction() as run:
            run.execute(
                "UPDATE jobs SET state = ?, ended = ?, result = ?, error = ? "
                "WHERE number = ? AND state IN ('queued', 'running')",
                (state, time(), json.dumps(result), json.dumps(error), job.number),
            )

    def cancel(self, job: Job) -> Job:
        """End a waiting job; of a running one, note that it is to be cancelled. Returns it."""
        with self._transaction() as run:
            run.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ?, cancel = 1 "
                "WHERE number = ? AND state = 'queued'",
                (time(), job.number),
            )
            run.execute("UPDATE jobs SET cancel = 1 WHERE number = ? AND state = 'running'", (job.number,))
        return self.require(job.id)

    def remove(self, job: Job) -> None:
        """Remove a job that has ended."""
        with self._transaction() as run:
            for table in ("payloads", "sent"):
                run.execute(
                    f"DELETE FROM {table} WHERE number IN "
                    "(SELECT number FROM jobs WHERE number = ? AND state NOT IN ('queued', 'running'))",
                    (job.number,),
                )
            run.execute(
                "DELETE FROM jobs WHERE number = ? AND state NOT IN ('queued', 'running')", (job.number,)
            )


def _job(row: sqlite3.Row | None) -> Job | None:
    if row is None:
        return None
    values = {name: row[name] for name in Job.__struct_fields__}
    values |= {name: json.loads(values[name] or "null") for name in JSON_FIELDS}
    return msgspec.convert(values | {"cancel": bool(values["cancel"])}, Job)
