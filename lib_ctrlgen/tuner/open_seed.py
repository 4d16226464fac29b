"""A tuner's job without a seed of its own: one is drawn for all cells, and kept for later runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import save_text
from lib_ctrlgen.request.seeds import drawn_seed
from lib_ctrlgen.request.spec import RANDOM_SEED, GenerationRequest

NAME = "seed.txt"


def with_kept_seed(payload: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The payload with the seed that the folder `out` keeps, where it says -1.

    Cells that are compared have to begin with the same noise, also those that a later run adds. Raises
    HostError when the folder cannot be written.
    """
    if payload.get("seed") != RANDOM_SEED:
        return dict(payload)
    with suppress(OSError, ValueError):
        return {**payload, "seed": int((out / NAME).read_text("utf-8"))}
    seed = drawn_seed()
    save_text(f"{seed}\n", out / NAME)
    return {**payload, "seed": seed}


def require_seed(request: GenerationRequest) -> GenerationRequest:
    """The request itself. Raises RequestError at `$.seed` where a cell leaves its seed open."""
    if request.seed == RANDOM_SEED:
        raise RequestError("$.seed", "an axis takes the seeds themselves: -1 would draw another at every run")
    return request
