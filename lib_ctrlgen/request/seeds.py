"""Seeds that a request leaves open: -1 draws one, as in the WebUI.

>>> from .spec import GenerationRequest
>>> seeded(GenerationRequest(seed=5)).seed
5
>>> 0 <= seeded(GenerationRequest(seed=-1)).seed < 2**32
True
"""

from __future__ import annotations

import random

from msgspec.structs import replace

from .spec import RANDOM_SEED, GenerationRequest

HIGHEST = 2**32 - 64  # so that the pictures of a batch have seeds that a request may have


def drawn_seed() -> int:
    """A new seed, whatever the program drew before."""
    return random.SystemRandom().randrange(HIGHEST)


def seeded(request: GenerationRequest) -> GenerationRequest:
    """The request with a seed of its own, drawn where it leaves that open."""
    return replace(request, seed=drawn_seed()) if request.seed == RANDOM_SEED else request
