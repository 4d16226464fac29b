"""The figures of `ctrlgen explain`, one line each, and writing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from lib_ctrlgen.files import save_text
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.spec import GenerationRequest

NUMBERS_DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A figure as SVG, and the numbers that it shows (JSON types)."""

    svg: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def written(self, name: str, folder: Path) -> tuple[Path, Path]:
        """Write NAME.svg and NAME.json into a folder. Raises HostError."""
        numbers = json.dumps(self.numbers, indent=1) + "\n"
        return save_text(self.svg, folder / f"{name}.svg"), save_text(numbers, folder / f"{name}.json")


Make: TypeAlias = Callable[[Engine, GenerationRequest], Explained]


def rounded(values: Any) -> Any:
    """Numbers in lists and mappings, rounded to five digits after the point.

    >>> rounded({"a": [0.1234567, 2]})
    {'a': [0.12346, 2]}
    """
    if isinstance(values, float):
        return round(values, NUMBERS_DIGITS)
    if isinstance(values, Mapping):
        return {name: rounded(each) for name, each in values.items()}
    if isinstance(values, (list, tuple)):
        return [rounded(each) for each in values]
    return values
