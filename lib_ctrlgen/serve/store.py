"""The jobs of a server in a SQLite file. Every change is one transaction: a kill leaves the old or the new.

The queue is fair: the next job is the oldest one of the user whose last job was started longest ago. So users
with waiting jobs take turns, whatever number of jobs each has sent. A preview takes its user's next turn.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from secrets import token_hex
from time import time
from typing import Any

import msgspec

from lib_ctrlgen.errors import HostError

from .database import Database
from .kept_bytes import KeptBytes
from .limits import Limits
from .once import Once
from .records import PREVIEW, Job, Kind, State

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
        self.database = Database(path)
        self.kept = KeptBytes(self.database)

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def add(
        self,
        user: str,
        kind: Kind,
        title: str,
        settings: Mapping[str, Any],
        payload: Mapping[str, Any],
        limits: Limits,
        once: Once | None = None,
    ) -> Job:
        """Add a job to the queue. A job that was sent with the same key before is returned instead.

        Previews are not limited. Raises QueueFullError, StorageError, and RequestError if another job was
        sent with the key.
        """
        text, shown, job = json.dumps(payload), json.dumps(settings), token_hex(8)
        size = len(text) + len(shown)  # both are ASCII
        with self.database.transaction() as run:
            if once is not None and (known := self._sent(user, once)) is not None:
                return known
            if kind != PREVIEW:
                limits.check_queue(self._live(user))
                limits.check_stored(self.kept.of(user), size)
            added = run.execute(
                "INSERT INTO jobs (id, user, kind, title, state, settings, created, sent_bytes) "
                "VALUES (?, ?, ?, ?, 'queued', ?, ?, ?)",
                (job, user, kind, title, shown, time(), size),
            )
            run.execute("INSERT INTO payloads VALUES (?, ?)", (added.lastrowid, text))
            if once is not None:
                sent = (user, once.key, once.digest, added.lastrowid)
                run.execute("INSERT INTO sent VALUES (?, ?, ?, ?)", sent)
        return self.require(job)

    def _sent(self, user: str, once: Once) -> Job | None:
        """The job that a user has sent with a key. Raises RequestError if it is another one than now."""
        query = "SELECT jobs.*, digest FROM sent JOIN jobs USING (number) WHERE sent.user = ? AND key = ?"
        row = self.database.row(query, user, once.key)
        if row is not None:
            once.require_same(row["digest"])
        return _job(row)

    def _live(self, user: str) -> int:
        query = (
            "SELECT count(*) FROM jobs WHERE user = ? AND kind <> 'preview' "
            "AND state IN ('queued', 'running')"
        )
        return int(self.database.row(query, user)[0])

    def counts(self, user: str) -> dict[str, int]:
        """How many jobs a user has in each state, without previews."""
        query = "SELECT state, count(*) FROM jobs WHERE user = ? AND kind <> 'preview' GROUP BY state"
        return dict(tuple(row) for row in self.database.rows(query, user))

    def get(self, job: str) -> Job | None:
        """A job by its id, or None."""
        return _job(self.database.row("SELECT * FROM jobs WHERE id = ?", job))

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
        return _jobs(self.database.rows(query, *given.values(), most))

    def previews(self, user: str | None = None) -> list[Job]:
        """The previews of one user, or of all."""
        query = "SELECT * FROM jobs WHERE kind = 'preview' AND ? IN (user, '') ORDER BY number"
        return _jobs(self.database.rows(query, user or ""))

    def payload(self, job: Job) -> dict[str, Any]:
        """The content of a job, with its pictures."""
        row = self.database.row("SELECT payload FROM payloads WHERE number = ?", job.number)
        return dict(json.loads(row["payload"]))

    def claim(self) -> Job | None:
        """Take the next job out of the queue, as running; None if the queue is empty."""
        with self.database.transaction() as run:
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
        with self.database.transaction() as run:
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
        size: int = 0,
    ) -> None:
        """End a job that waits or runs, with the bytes of its files. A job that has ended is not changed."""
        with self.database.transaction() as run:
            run.execute(
                "UPDATE jobs SET state = ?, ended = ?, result = ?, error = ?, made_bytes = ? "
                "WHERE number = ? AND state IN ('queued', 'running')",
                (state, time(), json.dumps(result), json.dumps(error), size, job.number),
            )

    def cancel(self, job: Job) -> Job:
        """End a waiting job; of a running one, note that it is to be cancelled. Returns it."""
        with self.database.transaction() as run:
            run.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ?, cancel = 1 "
                "WHERE number = ? AND state = 'queued'",
                (time(), job.number),
            )
            run.execute("UPDATE jobs SET cancel = 1 WHERE number = ? AND state = 'running'", (job.number,))
        return self.require(job.id)

    def remove(self, job: Job) -> None:
        """Remove a job that has ended. It is noted that its files are to go, see `kept_bytes`."""
        with self.database.transaction() as run:
            ended = "SELECT number FROM jobs WHERE number = ? AND state NOT IN ('queued', 'running')"
            if run.execute(ended, (job.number,)).fetchone() is None:
                return
            run.execute("INSERT OR IGNORE INTO removals VALUES (?)", (job.id,))
            for table in ("payloads", "sent", "jobs"):
                run.execute(f"DELETE FROM {table} WHERE number = ?", (job.number,))

    def old(self, before: float) -> list[Job]:
        """The jobs that ended before a time in seconds since 1970."""
        query = "SELECT * FROM jobs WHERE state NOT IN ('queued', 'running') AND ended < ?"
        return _jobs(self.database.rows(query, before))

    def unmeasured(self) -> list[Job]:
        """The finished jobs whose files an earlier version did not measure."""
        return _jobs(self.database.rows("SELECT * FROM jobs WHERE state = 'done' AND made_bytes IS NULL"))


def _jobs(rows: Iterable[sqlite3.Row]) -> list[Job]:
    return [job for row in rows if (job := _job(row)) is not None]


def _job(row: sqlite3.Row | None) -> Job | None:
    if row is None:
        return None
    values = {name: row[name] for name in Job.__struct_fields__}
    values |= {name: json.loads(values[name] or "null") for name in JSON_FIELDS}
    return msgspec.convert(values | {"cancel": bool(values["cancel"])}, Job)
