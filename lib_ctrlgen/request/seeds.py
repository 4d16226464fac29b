"""Draws random seeds where a request has -1, as the WebUI does.

>>> from .spec import GenerationRequest
>>> seeded(GenerationRequest(seed=5)).seed
5
>>> 0 <= seeded(GenerationRequest(seed=-1)).seed < 2**32
True
"""

from __future__ import annotations

import random
from typing import TypeVar

from msgspec.structs import replace

from .base import RANDOM_SEED
from .spec import ControlRequest

Request = TypeVar("Request", bound=ControlRequest)
HIGHEST = 2**32 - 64  # drawn seeds stay below it, so that the seeds of a whole batch are below 2**32


def drawn_seed() -> int:
    """A random seed from the operating system, independent of seeded generators."""
    return random.SystemRandom().randrange(HIGHEST)


def seeded(request: Request) -> Request:
    """The request with random seeds in place of -1: its own, and those of its blend's concepts."""
    if getattr(request, "seed", None) == RANDOM_SEED:
        request = replace(request, seed=drawn_seed())
    if request.blend is None:
        return request
    concepts = tuple(
        replace(each, seed=drawn_seed()) if each.seed == RANDOM_SEED else each
        for each in request.blend.concepts
    )
    return replace(request, blend=replace(request.blend, concepts=concepts))
