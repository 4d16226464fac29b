"""Whether prompts need CtrlGen because of scheduled or named weights. Nothing here imports the WebUI."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.errors import at_path
from lib_ctrlgen.prompts.blended import PromptSource, blended_prompt
from lib_ctrlgen.prompts.networks import (
    TAG,
    LoraTag,
    replace_scheduled,
    require_lora_names,
    word_weights,
)
from lib_ctrlgen.prompts.scheduled import NOTHING, PromptWeight, parse_prompt, require_names
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.spec import ControlRequest

# The attributes of `p` that are lists of prompts, and the path of each in a REST request.
LISTS = {
    "all_prompts": "$.prompt",
    "all_negative_prompts": "$.negative_prompt",
    "all_hr_prompts": "$.hr_prompt",
    "all_hr_negative_prompts": "$.hr_negative_prompt",
}


# The lists of positive prompts, which a blend replaces by those of its concepts.
POSITIVE = ("all_prompts", "all_hr_prompts")


def needs_schedules(p: Any, request: ControlRequest) -> bool:
    """Whether prompts of `p` have scheduled or named weights, or a blend replaces them.

    Raises RequestError for a prompt that cannot be parsed, or a weight's name that is in no prompt.
    """
    blend = request.blend if request.blend and request.blend.mode != "seeds" else None
    found: list[PromptWeight] = []
    for attribute, path in LISTS.items():
        for text in dict.fromkeys(getattr(p, attribute, None) or ()):
            with at_path(path):
                found += _source(blend, attribute, text).weights
    require_names(word_weights(request.prompt_weights), found)
    return bool(found or blend)


def scheduled_loras(p: Any, request: ControlRequest) -> tuple[LoraTag, ...]:
    """The LoRAs in the prompts of `p` that have schedules, or a weight in `prompt_weights`.

    Raises RequestError for a schedule that is wrong, or a name in `prompt_weights` that is in no prompt.
    """
    found: list[LoraTag] = []
    for attribute in POSITIVE:
        for text in dict.fromkeys(getattr(p, attribute, None) or ()):
            with at_path(LISTS[attribute]):
                found += replace_scheduled(text, request.prompt_weights)[1]
    require_lora_names(request.prompt_weights, found)
    return tuple(found)


def _source(blend: Blend | None, attribute: str, text: str) -> PromptSource:
    if attribute not in POSITIVE:
        return parse_prompt(text, negative=True)
    text = TAG.sub("", replace_scheduled(text, NOTHING)[0]) if blend else text
    return blended_prompt(blend, text) if blend else parse_prompt(text)
