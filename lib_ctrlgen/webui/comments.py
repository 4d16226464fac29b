"""Comments in prompts (`# ...` to the end of the line), which the WebUI's own script "Comments" cuts off.

That script runs after ours, so it is asked beforehand, on a copy, what it will leave.
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
    """A copy of `p` whose prompts are without comments; `p` itself where nothing could be cut off.

    `runner` holds the tab's always-on scripts. The script obeys its setting "Enable comments" itself.
    """
    if not any(SIGN in text for name in LISTS for text in getattr(p, name, None) or ()):
        return p
    read = copy(p)
    for script in getattr(runner, "alwayson_scripts", ()):
        if script.title() == COMMENTS:
            script.process(read)
    return read


def texts_without_comments(texts: Mapping[str, str], runner: Any) -> dict[str, str]:
    """The same for texts by name."""
    given = SimpleNamespace(all_prompts=[*texts.values()], all_negative_prompts=[])
    given.main_prompt = given.main_negative_prompt = ""
    return dict(zip(texts, without_comments(given, runner).all_prompts, strict=True))
