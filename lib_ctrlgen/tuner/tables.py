"""The cells of a run as tables: CSV, and JSON with the request of each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from lib_ctrlgen import __version__
from lib_ctrlgen.controls.recorded import described
from lib_ctrlgen.request.notices import JOINT

from .cells import Grid
from .finished_cell import FinishedCell, encoders_of
from .scoring.catalogue import VERSION
from .scoring.recommend import Recommendation


def row_of(grid: Grid, done: FinishedCell) -> dict[str, Any]:
    """A cell as a row: values, scores with standard deviations, warnings, error and files."""
    values = {axis.label: text for axis, text in zip(grid.axes, done.cell.shown, strict=True)}
    spreads = {f"{name}_sd": value for name, value in done.spreads.items()}
    stopped = {"stopped": "early"} if done.stopped else {}
    rest = {"warnings": JOINT.join(done.warnings), "error": done.error, "files": " ".join(done.files)}
    return {**values, **done.means, **spreads, **stopped, **rest}


def table_csv(grid: Grid, done: Sequence[FinishedCell]) -> str:
    """All cells as CSV."""
    rows = [row_of(grid, each) for each in done]
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
) -> str:
    """All cells as JSON, with the request of each, the Pareto front, the recommendation and warnings."""
    cells = [
        {
            **each.as_json,
            **({"stopped": "early"} if each.stopped else {}),
            "request": described(each.request, "sha256", whole=True),
        }
        for each in done
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
