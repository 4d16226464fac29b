"""Draws seeds for -1 in a tuner's job, one for all cells, and stores them in the folder for later runs."""

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
    """The payload with stored seeds of the folder `out` instead of -1, for itself and its blend's concepts.

    So all cells begin with the same noise, including those that a later run adds. Raises HostError if the
    folder cannot be written.
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
    """The search with the stored seed of the folder `out` instead of -1. Raises HostError."""
    return replace(auto, seed=kept_seed(out, SEARCH)) if auto.seed == RANDOM_SEED else auto


def kept_seed(out: Path, name: str) -> int:
    """The seed stored in a file of the folder `out`; it is drawn if there is none. Raises HostError."""
    with suppress(OSError, ValueError):
        return int((out / name).read_text("utf-8"))
    seed = drawn_seed()
    save_text(f"{seed}\n", out / name)
    return seed


def require_seeds(request: Request) -> Request:
    """Return the request. Raises RequestError at a seed of -1, which an axis has set."""
    seeds = {"$.seed": getattr(request, "seed", None)}
    for index, concept in enumerate(request.blend.concepts if request.blend else ()):
        seeds[f"$.blend.concepts[{index}].seed"] = concept.seed
    for path, seed in seeds.items():
        if seed == RANDOM_SEED:
            message = "an axis needs fixed seeds: -1 would draw another seed in every run"
            raise RequestError(path, message)
    return request
