"""The cells of a run as the script of the report's page reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cells import Grid
from .finished_cell import FinishedCell
from .ratings import Ratings
from .scoring.catalogue import direction, less_is_better, score_label, score_names
from .scoring.recommend import Recommendation, best_scores

FEW = 0.5  # if a larger share of the cells is on the Pareto front, frames mark fewer cells


@dataclass(frozen=True, kw_only=True)
class ReportCells:
    """The cells of a report with their names and scores.

    names    each cell's values with the labels of their axes
    recipes  for each cell, a text that generates it again (a job or an infotext); empty during the run
    best     the numbers of the cells on the Pareto front
    size     width and height of the pictures in pixels
    running  whether the run goes on, so that the page looks for new cells
    """

    grid: Grid
    done: Sequence[FinishedCell]
    names: Sequence[str]
    recipes: Sequence[str]
    choice: Recommendation | None
    best: Sequence[int]
    ratings: Ratings
    size: tuple[int, int]
    search: bool = False
    running: bool = False

    @property
    def scores(self) -> list[str]:
        """The names of all scores."""
        return list(dict.fromkeys(name for each in self.done for name in each.means))

    @property
    def crowded(self) -> bool:
        """Whether more cells are on the Pareto front than `FEW` allows."""
        return len(self.best) > FEW * sum(bool(each.compared) for each in self.done)

    @property
    def best_in(self) -> dict[int, list[str]]:
        """The scores in which each cell is the best."""
        return best_scores([each.compared for each in self.done])

    @property
    def framed(self) -> set[int]:
        """The cells with a frame: those on the Pareto front, or, if it is crowded, those best in a score."""
        return set(self.best) & set(self.best_in) if self.crowded else set(self.best)

    @property
    def frames(self) -> str:
        """A sentence that explains the frame."""
        if not self.best:
            return ""
        count = len(self.best)
        if not self.crowded:
            return f"A grey frame marks the {count} cells that no other cell beats in every score."
        total = sum(bool(each.compared) for each in self.done)
        return (
            f"No other cell beats {count} of the {total} cells in every score, because the scores favour "
            "different cells. A grey frame marks those of them that are the best in one score."
        )

    @property
    def data(self) -> dict[str, Any]:
        """The data of the page's script as JSON types."""
        axes = [{"label": axis.label, "values": list(axis.shown)} for axis in self.grid.axes]
        return {
            "axes": axes,
            "search": self.search,
            "running": self.running,
            "total": len(self.grid.cells),
            "size": list(self.size),
            "seeds": seed_names(self.done, self.grid.seeds),
            "scores": scores_json(self.scores),
            "kinds": scores_json(score_names()),
            "chosen": self.choice.cell if self.choice else None,
            "cells": cells_json(self),
            "ratings": self.ratings.as_json,
        }


def scores_json(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The label and the direction of each score, by its name."""
    return {
        name: {"label": score_label(name), "way": direction(name), "less": less_is_better(name)}
        for name in names
    }


def cells_json(cells: ReportCells) -> list[dict[str, Any]]:
    """The cells as JSON types; the keys are those of `progress.json`, and more."""
    best_in, framed = cells.best_in, cells.framed
    return [
        {
            **each.as_json,
            "name": cells.names[number],
            "stopped": each.stopped,
            "recipe": cells.recipes[number] if cells.recipes else "",
            "front": number in framed,
            "best_in": [_best(name) for name in best_in.get(number, [])],
        }
        for number, each in enumerate(cells.done)
    ]


def _best(name: str) -> str:
    return f"{'least' if less_is_better(name) else 'most'} {score_label(name)}"


def seed_names(done: Sequence[FinishedCell], count: int) -> list[str]:
    """Names for the `count` pictures of a cell: the seeds if all cells have the same seeds, else numbers."""
    found = []
    for k in range(count):
        seeds: Mapping[str, None] = {each.seeds[k]: None for each in done if k < len(each.files)}
        found.append(f"seed {next(iter(seeds))}" if len(seeds) == 1 else f"picture {k + 1}")
    return found
