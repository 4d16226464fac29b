"""The parts of a story file in JSON types that name a picture.

>>> story = {"characters": [{"name": "Mia"}], "poses": [{"controls": [{"picture": "a.png"}]}]}
>>> [path for path, _ in story_parts(story)]
['$.characters[0]', '$.poses[0].controls[0]']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .pictures import objects_in

PICTURE = "picture"  # the field of these parts


def story_parts(payload: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The characters, controls and mood board pictures of a story, each with its JSON path.

    What is no JSON object is left out: the check of the story says so.
    """
    yield from objects_in(payload, "characters", "$")
    for where in ("places", "poses"):
        for path, part in objects_in(payload, where, "$"):
            yield from objects_in(part, "controls", path)
    for path, style in objects_in(payload, "styles", "$"):
        yield from objects_in(style, "pictures", path)
