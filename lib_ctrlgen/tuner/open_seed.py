"""Draws the seeds that a tuner's job leaves open (-1), one for all cells, and keeps them for later runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import save_text
from lib_ctrlgen.request.base import RANDOM_SEED
from lib_ctrlgen.request.seeds import drawn_seed
from lib_ctrlgen.request.spec import ControlRequest

from .cells import AutoSpec

NAME = "seed.txt"
CONCEPT = "seed-concept-{index}.txt"
SEARCH = "seed-search.txt"

Request = TypeVar("Request", bound=ControlRequest)


def with_kept_seeds(payload: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The payload with the seeds that the folder `out` keeps, where it or a concept of its blend says -1.

    Cells that are compared have to begin with the same noise, also those that a later run adds. Raises
    HostError when the folder cannot be written.
    """
    made = dict(payload)
    if made.get("seed") == RANDOM_SEED:
        made["seed"] = kept_seed(out, NAME)
    blend = made.get("blend") or {}
    concepts = [
        {**each, "seed": kept_seed(out, CONCEPT.format(index=index))}
        if each.get("seed") == RANDOM_SEED
        else each
        for index, each in enumerate(blend.get("concepts") or ())
    ]
    return made | ({"blend": {**blend, "concepts": concepts}} if concepts else {})


def with_search_seed(auto: AutoSpec, out: Path) -> AutoSpec:
    """The search with the seed that the folder `out` keeps, where it says -1. Raises HostError."""
    return replace(auto, seed=kept_seed(out, SEARCH)) if auto.seed == RANDOM_SEED else auto


def kept_seed(out: Path, name: str) -> int:
    """The seed in a file of the folder `out`; without one, it is drawn and kept. Raises HostError."""
    with suppress(OSError, ValueError):
        return int((out / name).read_text("utf-8"))
    seed = drawn_seed()
    save_text(f"{seed}\n", out / name)
    return seed


def require_seeds(request: Request) -> Request:
    """The request itself. Raises RequestError at a seed that a cell leaves open."""
    seeds = {"$.seed": getattr(request, "seed", None)}
    for index, concept in enumerate(request.blend.concepts if request.blend else ()):
        seeds[f"$.blend.concepts[{index}].seed"] = concept.seed
    for path, seed in seeds.items():
        if seed == RANDOM_SEED:
            message = "an axis takes the seeds themselves: -1 would draw another at every run"
            raise RequestError(path, message)
    return request
