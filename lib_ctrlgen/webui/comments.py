"""Comments in prompts (`# ...` to the end of the line), which the WebUI's script "Comments" removes.

That script runs after this extension, so it is run here first, on a copy of the generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from types import SimpleNamespace
from typing import Any

from .sampling.prompt_check import LISTS

COMMENTS = "Comments"
SIGN = "#"


def without_comments(p: Any, runner: Any) -> Any:
    """Return a copy of `p` whose prompts have no comments, or `p` itself if no prompt has a `#`.

    `runner` holds the tab's always-on scripts. The WebUI's setting "Enable comments" is obeyed.
    """
    if not any(SIGN in text for name in LISTS for text in getattr(p, name, None) or ()):
        return p
    read = copy(p)
    for script in getattr(runner, "alwayson_scripts", ()):
        if script.title() == COMMENTS:
            script.process(read)
    return read


def texts_without_comments(texts: Mapping[str, str], runner: Any) -> dict[str, str]:
    """Return the texts, by the same names, without comments."""
    given = SimpleNamespace(all_prompts=[*texts.values()], all_negative_prompts=[])
    given.main_prompt = given.main_negative_prompt = ""
    return dict(zip(texts, without_comments(given, runner).all_prompts, strict=True))
