"""The progress of a job that has parts: the cells of a grid, the assets of a story."""

from __future__ import annotations

from lib_ctrlgen.cluster.job_runs import Report


class PartProgress:
    """Reports how many parts are finished, again after each step, so that a stop is seen."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.done, self.total = 0, 1

    def parts(self, done: int, total: int) -> None:
        """Note the finished parts."""
        self.done, self.total = done, max(1, total)
        self.report(self.done, self.total)

    def step(self, _done: int, _calls: int) -> None:
        """Called after each call of the U-Net: it stops a run that is to stop."""
        self.report(self.done, self.total)
