"""Decodes equal latents only once, because cells of a tuner often have equal latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REMEMBERED = 64  # pictures


@contextmanager
def decoded_once(model: Any) -> Iterator[None]:
    """Cache the checkpoint's `decode_first_stage` by its latents. The method is restored at the end."""
    original = model.decode_first_stage
    made: dict[bytes, Any] = {}

    def decode(latents: Any) -> Any:
        key = latents.detach().float().cpu().numpy().tobytes()
        if key not in made:
            while len(made) >= REMEMBERED:
                made.pop(next(iter(made)))
            made[key] = original(latents)
        return made[key]

    taken = "decode_first_stage" in vars(model)
    model.decode_first_stage = decode
    try:
        yield
    finally:
        if taken:
            model.decode_first_stage = original
        else:
            del model.decode_first_stage
