"""Checks of samplers, schedule types and checkpoints on the tuner's axes against the WebUI's lists."""

from __future__ import annotations

from typing import Any

from modules import sd_models, sd_samplers, sd_schedulers

from lib_ctrlgen.errors import RequestError, nearest


def check_names(request: Any) -> None:
    """Raise RequestError for an unknown name, for which the WebUI would silently take another one."""
    if request.sampler:
        sampler_names(request.sampler, request.scheduler)
    if request.scheduler and request.scheduler not in sd_schedulers.schedulers_map:
        known = [each.label for each in sd_schedulers.schedulers]
        message = f"unknown schedule type {request.scheduler!r}; {nearest(request.scheduler, known)}"
        raise RequestError("$.scheduler", message)
    if request.model and sd_models.get_closet_checkpoint_match(request.model) is None:
        known = [info.name for info in sd_models.checkpoints_list.values()]
        raise RequestError(
            "$.model", f"no checkpoint named {request.model!r}; {nearest(request.model, known)}"
        )


def sampler_names(name: str, scheduler: str) -> tuple[str, str]:
    """Return the WebUI's names of a sampler and a schedule type. A sampler's name may end in the latter.

    Raises RequestError at `$.sampler`.
    """
    if name in sd_samplers.all_samplers_map:
        return name, scheduler
    own = sd_samplers.samplers_map.get(name.lower())
    if own is not None:
        return str(own), scheduler
    for kind in sd_schedulers.schedulers:
        first = name.removesuffix(f" {kind.label}")
        if first != name and first in sd_samplers.all_samplers_map:
            return first, str(kind.label)
    raise RequestError(
        "$.sampler", f"unknown sampler {name!r}; {nearest(name, sd_samplers.all_samplers_map)}"
    )
