"""Whether the prompts of a generation hold weights of ours. Nothing of the host here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_ctrlgen.errors import RequestError, at_path, nearest
from lib_ctrlgen.prompt import PromptWeight, parse_prompt
from lib_ctrlgen.schedule import Schedule

# The lists of `p` that hold prompts, each with its place in a request to the WebUI.
LISTS = {
    "all_prompts": "$.prompt",
    "all_negative_prompts": "$.negative_prompt",
    "all_hr_prompts": "$.hr_prompt",
    "all_hr_negative_prompts": "$.hr_negative_prompt",
}


def scheduled_weights(p: Any, named: Mapping[str, Schedule]) -> tuple[PromptWeight, ...]:
    """Every weight in the prompts of `p` that the WebUI cannot read itself.

    Raises RequestError at the prompt, or at a name that no prompt has.
    """
    found: list[PromptWeight] = []
    for attribute, path in LISTS.items():
        for text in dict.fromkeys(getattr(p, attribute, None) or ()):
            with at_path(path):
                found += parse_prompt(text).weights
    known = {weight.name for weight in found if weight.name}
    for name in named:
        if name not in known:
            message = f"no prompt has a weight of this name ({nearest(name, known)})"
            raise RequestError(f"$.prompt_weights.{name}", message)
    return tuple(found)
