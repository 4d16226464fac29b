"""What a run of `ctrlgen product` gives, and its numbers as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from lib_ctrlgen.files import save_text

from .diagnosis.finding import Finding
from .identity import Threshold
from .training import ProductAdapter

NUMBERS = "numbers.json"


@dataclass(frozen=True, kw_only=True)
class ProductResult:
    """A finished run.

    records   of the pictures with the adapter, in the order of the environments
    without   of the pictures without it
    flagged   the names of those that lost the product
    made      the number of pictures that this run made; the others were there
    """

    report: Path
    contact: tuple[Path, ...]
    records: tuple[dict[str, Any], ...]
    without: tuple[dict[str, Any], ...]
    threshold: Threshold
    flagged: tuple[str, ...]
    findings: tuple[Finding, ...]
    made: int
    left_out: tuple[str, ...]
    adapter: ProductAdapter


def read_numbers(out: Path) -> dict[str, Any] | None:
    """The numbers of the last run in a folder; None without a run."""
    try:
        found = json.loads((out / NUMBERS).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"threshold", "flagged", "pictures"} <= found.keys() else None


def save_numbers(result: ProductResult, out: Path) -> None:
    """Write the numbers of a run as JSON."""
    own, without = ([each["likeness"] for each in part] for part in (result.records, result.without))
    content = {
        "threshold": result.threshold.value,
        "reason": result.threshold.reason,
        "likeness": round(fmean(own), 4) if own else None,
        "likeness_without": round(fmean(without), 4) if without else None,
        "flagged": list(result.flagged),
        "pictures": {each["name"]: each["likeness"] for each in result.records},
    }
    save_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", out / NUMBERS)
