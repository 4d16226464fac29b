"""A server's SQLite file: its tables, and changes of it, each in a transaction.

Every change is one transaction: a kill leaves the old or the new.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from lib_ctrlgen.errors import HostError

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
KEPT = """
ALTER TABLE jobs ADD COLUMN sent_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN made_bytes INTEGER;
UPDATE jobs SET sent_bytes = length(CAST(settings AS BLOB)) + coalesce(
    (SELECT length(CAST(payload AS BLOB)) FROM payloads WHERE payloads.number = jobs.number), 0
);
CREATE TABLE recipe_bytes (
    recipe TEXT NOT NULL, user TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (recipe, user)
);
CREATE TABLE removals (id TEXT PRIMARY KEY);
"""  # made_bytes is NULL until the files of a job were measured
SCHEMAS = (FIRST, ONCE, KEPT)  # what each version of the file adds


class Database:
    """The file. Thread-safe; one process at a time uses it."""

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
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction, which an exception takes back."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite ends it by itself after some errors
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> Any:
        """The first row of a query, or None."""
        with self._lock:
            return self._connection.execute(query, values).fetchone()
