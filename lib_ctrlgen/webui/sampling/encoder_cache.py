"""Caches what the WebUI's text encoders compute, and keeps its infotext as it is while they run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from modules import sd_hijack


@dataclass
class EncoderCache:
    """Caches the outputs of text encoders by token sequence and textual inversions."""

    states: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @contextmanager
    def installed(self, model: Any) -> Iterator[None]:
        """Use the cache in the text encoders of `model`. They are restored at the end."""
        with ExitStack() as stack:
            for number, encoder in enumerate(_encoders(model)):
                if "encode_with_transformers" not in vars(encoder):
                    encoder.encode_with_transformers = self.cached_method(number, encoder)
                    stack.callback(vars(encoder).pop, "encode_with_transformers")
            yield

    def cached_method(self, number: int, encoder: Any) -> Callable[[Any], Any]:
        """Return an encoder's method with a cache for its inputs."""
        original = encoder.encode_with_transformers

        def encode(tokens: Any) -> Any:
            fixes = encoder.hijack.fixes or ()
            marks = tuple(
                (row, fix.offset, id(fix.embedding)) for row, found in enumerate(fixes) for fix in found
            )
            key = (number, tuple(map(tuple, tokens.tolist())), marks)
            if key not in self.states:
                self.states[key] = original(tokens)
            encoder.hijack.fixes = None  # as the method itself leaves it
            return self.states[key]

        return encode


def _encoders(model: Any) -> list[Any]:
    return [module for module in model.modules() if hasattr(type(module), "encode_with_transformers")]


@contextmanager
def kept_infotext_hashes() -> Iterator[None]:
    """Restore the infotext's hashes, which the WebUI would add again at each encoding."""
    notes = sd_hijack.model_hijack.extra_generation_params
    before = dict(notes)
    try:
        yield
    finally:
        notes.clear()
        notes.update(before)
