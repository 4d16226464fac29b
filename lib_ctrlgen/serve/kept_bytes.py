"""The bytes that each user keeps, in the server's SQLite file: of jobs, of their files, and of recipes."""

from __future__ import annotations

from dataclasses import dataclass

from .database import Database
from .records import Job

JOBS = """
SELECT coalesce(sum(sent_bytes + coalesce(made_bytes, 0)), 0) FROM jobs WHERE user = ? AND kind <> 'preview'
"""
RECIPES = "SELECT coalesce(sum(bytes), 0) FROM recipe_bytes WHERE user = ?"
RECIPE = "SELECT coalesce(sum(bytes), 0) FROM recipe_bytes WHERE recipe = ?"
GROWN = """
INSERT INTO recipe_bytes VALUES (?, ?, ?)
ON CONFLICT (recipe, user) DO UPDATE SET bytes = bytes + excluded.bytes
"""


@dataclass(frozen=True)
class KeptBytes:
    """Counts bytes. A version of a recipe is its author's, whoever saved the recipe first."""

    database: Database

    def of(self, user: str) -> int:
        """The bytes of a user's jobs, with what was sent and made, and of the user's versions of recipes."""
        return sum(int(self.database.row(query, user)[0]) for query in (JOBS, RECIPES))

    def sent(self, job: Job) -> int:
        """The bytes of a job as it was sent."""
        return int(self.database.row("SELECT sent_bytes FROM jobs WHERE number = ?", job.number)[0])

    def measured(self, job: Job, size: int) -> None:
        """Note the bytes of a finished job's files."""
        with self.database.transaction() as run:
            run.execute("UPDATE jobs SET made_bytes = ? WHERE number = ?", (size, job.number))

    def recipes(self) -> dict[str, int]:
        """The bytes of each recipe."""
        query = "SELECT recipe, sum(bytes) FROM recipe_bytes GROUP BY recipe"
        return dict(tuple(row) for row in self.database.rows(query))

    def recipe_has(self, recipe: str, size: int, user: str) -> None:
        """Note the bytes of a recipe; those that are new are the user's."""
        with self.database.transaction() as run:
            (before,) = run.execute(RECIPE, (recipe,)).fetchone()
            run.execute(GROWN, (recipe, user, size - before))

    def recipe_gone(self, recipe: str) -> None:
        """Note that a recipe was deleted."""
        with self.database.transaction() as run:
            run.execute("DELETE FROM recipe_bytes WHERE recipe = ?", (recipe,))

    def removals(self) -> list[str]:
        """The ids of removed jobs whose files may still be there."""
        return [row[0] for row in self.database.rows("SELECT id FROM removals")]

    def removal_ended(self, job: str) -> None:
        """Note that the files of a removed job are gone."""
        with self.database.transaction() as run:
            run.execute("DELETE FROM removals WHERE id = ?", (job,))
