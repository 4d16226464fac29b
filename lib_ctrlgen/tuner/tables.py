"""The cells of a run as tables: CSV, and JSON with the request of each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lib_ctrlgen import __version__
from lib_ctrlgen.controls.recorded import described
from lib_ctrlgen.request.notices import JOINT

from .cells import Grid
from .finished_cell import FinishedCell, encoders_of
from .ratings import Ratings
from .scoring.catalogue import VERSION
from .scoring.recommend import Recommendation
from .votes import strengths


def row_of(grid: Grid, done: FinishedCell, rated: Mapping[str, Any]) -> dict[str, Any]:
    """A cell as a row: values, scores with standard deviations, ratings, warnings, error and files."""
    values = {axis.label: text for axis, text in zip(grid.axes, done.cell.shown, strict=True)}
    spreads = {f"{name}_sd": value for name, value in done.spreads.items()}
    stopped = {"stopped": "early"} if done.stopped else {}
    rest = {"warnings": JOINT.join(done.warnings), "error": done.error, "files": " ".join(done.files)}
    return {**values, **done.means, **spreads, **rated, **stopped, **rest}


def rated(done: Sequence[FinishedCell], ratings: Ratings) -> list[dict[str, Any]]:
    """For each cell its stars, whether it is a favourite, and its share of blind votes, where it has them.

    The share is that of votes against an average cell, with its 95 % interval (`lib_ctrlgen.tuner.votes`).
    """
    found = strengths(list(ratings.votes.values()))
    rows = []
    for each in done:
        row: dict[str, Any] = {}
        if mine := ratings.cells.get(each.rated):
            row |= {"stars": mine.stars, "favourite": mine.favourite}
        if vote := found.get(each.rated):
            row |= dict(zip(("votes_share", "votes_low", "votes_high"), vote.share, strict=True))
            row |= {"votes": vote.votes}
        rows.append(row)
    return rows


def table_csv(grid: Grid, done: Sequence[FinishedCell], ratings: Ratings) -> str:
    """All cells as CSV."""
    pairs = zip(done, rated(done, ratings), strict=True)
    rows = [row_of(grid, each, mine) for each, mine in pairs]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def table_json(
    grid: Grid,
    done: Sequence[FinishedCell],
    choice: Recommendation | None,
    best: Sequence[int],
    warnings: Sequence[str],
    ratings: Ratings,
) -> str:
    """All cells as JSON, with the request of each, the Pareto front, the recommendation and warnings."""
    cells = [
        {
            **each.as_json,
            **({"stopped": "early"} if each.stopped else {}),
            **({"rating": mine} if mine else {}),
            "request": described(each.request, "sha256", whole=True),
        }
        for each, mine in zip(done, rated(done, ratings), strict=True)
    ]
    axes = [{"label": a.label, "paths": list(a.paths), "values": list(a.shown)} for a in grid.axes]
    chosen = choice and {"cell": choice.cell, "reason": choice.reason, "tied": list(choice.tied)}
    summary = {
        "version": __version__,
        "scores_version": VERSION,
        "encoders": list(encoders_of(done)),
        "axes": axes,
        "warnings": list(warnings),
        "recommended": chosen,
        "front": list(best),
        "cells": cells,
    }
    return json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
