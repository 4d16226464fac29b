"""Whether the prompts of a generation hold weights of ours. Nothing of the host here."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.errors import at_path
from lib_ctrlgen.prompts.blended import PromptSource, blended_prompt
from lib_ctrlgen.prompts.scheduled import PromptWeight, parse_prompt, require_names
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.spec import ControlRequest

# The lists of `p` that hold prompts, each with its place in a request to the WebUI.
LISTS = {
    "all_prompts": "$.prompt",
    "all_negative_prompts": "$.negative_prompt",
    "all_hr_prompts": "$.hr_prompt",
    "all_hr_negative_prompts": "$.hr_negative_prompt",
}


# Of these, the ones that a blend's concepts stand for.
POSITIVE = ("all_prompts", "all_hr_prompts")


def holds_ours(p: Any, request: ControlRequest) -> bool:
    """Whether the WebUI cannot read the prompts of `p` by itself: weights of ours, or concepts.

    Raises RequestError at the prompt, or at a name that no prompt has.
    """
    blend = request.blend if request.blend and request.blend.mode != "seeds" else None
    found: list[PromptWeight] = []
    for attribute, path in LISTS.items():
        for text in dict.fromkeys(getattr(p, attribute, None) or ()):
            with at_path(path):
                found += _source(blend, attribute, text).weights
    require_names(request.prompt_weights, found)
    return bool(found or blend)


def _source(blend: Blend | None, attribute: str, text: str) -> PromptSource:
    if attribute not in POSITIVE:
        return parse_prompt(text, negative=True)
    return blended_prompt(blend, text) if blend else parse_prompt(text)
