"""Checks a job before it is queued: fields, limits, models, preprocessors, parameters, pictures and prompts.

It imports torch, since the kind of a control file is found as the engine finds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from lib_ctrlgen.errors import RequestError, at_path, below
from lib_ctrlgen.headless.jobs import parse_job
from lib_ctrlgen.request.seeds import seeded
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload
from lib_ctrlgen.tuner.axes import parse_axis
from lib_ctrlgen.tuner.axis_errors import check_grid, check_space
from lib_ctrlgen.tuner.cells import NAMES, TuneSpec, grid_of
from lib_ctrlgen.tuner.open_seed import require_seeds
from lib_ctrlgen.tuner.search.space import space_of

from .limits import Limits, pictures_of
from .posted import JOB, STORY, shown_settings
from .records import Kind

TITLE = 80  # letters of the prompt

CheckRequest: TypeAlias = Callable[[GenerationRequest], object]  # raises RequestError


@dataclass(frozen=True, kw_only=True)
class CheckedJob:
    """A job that can be queued. Its seeds are fixed, so it makes the same pictures if it starts again."""

    kind: Kind
    payload: Mapping[str, Any]
    title: str

    @property
    def settings(self) -> dict[str, Any]:
        """The job for people: each picture is a hash."""
        return shown_settings(self.payload, STORY if self.kind == "story" else JOB)


@dataclass(frozen=True)
class EngineChecks:
    """Checks what a request needs of the model folders `roots`; `weights` are for preprocessors."""

    roots: Sequence[Path]
    weights: Sequence[Path] = ()

    @cached_property
    def store(self) -> Any:
        """The model files; no model is kept in memory."""
        from lib_ctrlgen.models.store import ModelStore

        return ModelStore(self.roots, 0, self.weights)

    def checker(self) -> CheckRequest:
        """A function that checks the requests of one job, each unit once."""
        from lib_ctrlgen.headless.engine import find_model
        from lib_ctrlgen.headless.sampling.conditions import parse_prompts
        from lib_ctrlgen.tuner.check import Checker

        units = Checker(self.store)

        def check(request: GenerationRequest) -> None:
            with at_path("$.model"):
                find_model(self.store, request.model)
            parse_prompts(request)
            units.check(request)

        return check


def checked_job(content: Mapping[str, Any], limits: Limits, check: CheckRequest) -> CheckedJob:
    """The job in a mapping. Raises RequestError with the JSON path of what is wrong."""
    payload = dict(content)
    tune = payload.pop("tune", None)
    request = seeded(parse_job(payload))
    fixed = to_payload(request, whole=True)
    title = title_of(request)
    if tune is None:
        limits.check_request(request)
        check(request)
        return CheckedJob(kind="run", payload=fixed, title=title)
    with below("$.tune"):
        spec = parse_request(tune, TuneSpec)
    own = with_fixed_seeds(payload, fixed)
    check_tune(own, spec, limits, check)
    return CheckedJob(kind="tune", payload={**own, "tune": tune}, title=title)


def title_of(request: GenerationRequest) -> str:
    """The beginning of the prompt."""
    return " ".join(request.prompt.split())[:TITLE]


def with_fixed_seeds(payload: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with the seeds of `fixed`, without the defaults that `fixed` has: axes count on those."""
    own = {**payload, "seed": fixed["seed"]}
    if isinstance(own.get("blend"), Mapping):
        seeds = [{"seed": each["seed"]} if "seed" in each else {} for each in fixed["blend"]["concepts"]]
        concepts = [{**each, **seed} for each, seed in zip(own["blend"]["concepts"], seeds, strict=True)]
        own["blend"] = {**own["blend"], "concepts": concepts}
    return own


def check_tune(payload: Mapping[str, Any], tune: TuneSpec, limits: Limits, check: CheckRequest) -> None:
    """Raise RequestError for a grid or a search that is too large, or of which a cell is wrong."""

    def request_of(cell: Mapping[str, Any]) -> GenerationRequest:
        request = require_seeds(parse_request(dict(cell), GenerationRequest))
        limits.check_size(request)
        check(request)
        return request

    if tune.auto is not None:
        limits.check_count(tune.auto.budget, "$.tune.auto.budget")
        check_space(space_of(payload, tune.auto, GenerationRequest), request_of)
        return
    limits.check_count(cells_of(tune) * tune.seeds, "$.tune")  # before any cell is made
    grid = grid_of(payload, tune, GenerationRequest)
    requests = check_grid(grid, request_of)
    if tune.seeds > 1 and any(each.batch_size > 1 for each in requests.values()):
        raise RequestError(
            "$.tune.seeds", "the job has a batch_size: leave it out, `seeds` says how many pictures"
        )
    limits.check_count(sum(map(pictures_of, requests.values())) * tune.seeds, "$.tune")


def cells_of(tune: TuneSpec) -> int:
    """The number of cells of a grid."""
    lengths = []
    for name in NAMES:
        if (spec := getattr(tune, name)) is not None:
            with below(f"$.tune.{name}"):
                lengths.append(len(parse_axis(spec.path, spec.values)))
    return math.prod(lengths)
