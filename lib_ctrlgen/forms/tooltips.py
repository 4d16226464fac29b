"""What the panel shows when the pointer rests on a field: a sentence for each field."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lib_ctrlgen.request.blend import MAX_CONCEPTS

from .kinds import KINDS
from .param_fields import uploaded_fields

UNIT: Mapping[str, str] = MappingProxyType(
    {
        "enabled": "Switches this unit on. A unit that is off changes nothing",
        "image": "The picture that controls the generation",
        "images": "One picture for each generated image, in the order of their names",
        "use_init_image": "Takes the picture of img2img instead of one of the unit's own",
        "pose": "The edited pose, which takes the place of the picture",
        "boxes": "Boxes and what is to be in them, one a line",
        "model": "The control model. Choosing what the picture is for sets it",
        "preprocessor": "Turns a photo into the map that the model reads; several in a row: canny | invert",
        "resolution": "The short side at which the preprocessor sees the picture: 64 pixels or more, or 0",
        "weight": "How strongly the unit acts",
        "weight_schedule": "A weight that changes over the steps; replaces the number beside it",
        "hires": "Weight in the second pass of hires-fix; empty: as in the first pass",
        "guidance_start": "The share of the steps after which the unit begins to act",
        "guidance_end": "The share of the steps after which the unit no longer acts",
        "control_mode": "Whether the prompt or the control counts more where they disagree",
        "resize_mode": "How the picture is fitted to another aspect ratio",
        "inpaint_crop": "Off: picture and mask already show only the area that is inpainted",
        "mask": "The unit acts where the mask is white; without a mask everywhere",
        "masks": "One mask for each generated image, in the order of their names",
        "mask_strength": "How much the mask counts: 0 as without a mask, 1 fully",
        "mask_feather": "Blurs the edge of the mask",
        "layer_weights": "A factor for each layer of the model",
        "params": "Parameters that have no field of their own",
        "param_values": "The parameters of the preprocessor and of the model",
        "reuse": "Higher is faster and a little less exact: the steps between use the last result",
        "low_vram": "Keeps the model in the CPU's memory between its uses: slower, needs less GPU memory",
        "storage": "The number format of the model's weights in memory: fp8 needs half of fp16",
        "references": "Further pictures for the same model",
        "reference_weights": "A number or schedule for each further picture, then for each further face",
        "combine": "How several pictures become one",
        "composition_image": "The picture whose arrangement is taken, for types of weight with composition",
        "negative_image": "What the result is led away from",
        "map": "What the preprocessor makes of the picture",
        "show_map": "Runs the preprocessor now, without a generation",
        "last": "Takes the selected picture of the gallery",
        "clipboard": "Takes the picture that was copied last",
        "from_init": "Copies the picture of the tab img2img once",
        "send_size": "Sets width and height to the picture's size, rounded to multiples of 8",
        "strength": "One slider for weight, start and end. Low leaves the prompt more freedom",
        "strength_low": "A light touch that ends early",
        "strength_middle": "What suits most pictures",
        "strength_high": "As strong as possible",
        "kind_undo": "Sets model, preprocessor and strength back to what they were",
        "refresh": "Looks for new models in the model folders",
    }
)
BLEND: Mapping[str, str] = MappingProxyType(
    {
        "blend_mode": "How several concepts become one picture",
        "blend_interpolation": "How concepts are mixed between their weights",
        "blend_normalise": "Weights and masks are scaled so that they add up to 1",
        "blend_crossfeed": "How much neighbouring pictures of a trajectory share",
        "blend_animation": "Also saves a trajectory as an animation",
        "blend_spacing": "Rounds that even out the differences between neighbours",
        "blend_model": "The IP-Adapter that reads the concepts' reference pictures",
        "blend_refresh": "Looks for new models in the model folders",
        "blend_explore": "Draws so many pictures a side, with a concept in each corner; 0: no map",
        "draw_map": "Generates the map now",
        "concept_add": "Shows one more concept, and uses it",
    }
)
CONCEPT: Mapping[str, str] = MappingProxyType(
    {
        "used": "A concept that is not used changes nothing",
        "prompt": "The concept's prompt; {prompt} stands for the prompt above",
        "weight": "How much of the concept is in the picture; a number or a schedule",
        "hires": "Its weight in the second pass of hires-fix",
        "seed": "Its seed, for trajectories and for mixing seeds",
        "mask_strength": "How much its mask counts: 0 as without a mask, 1 fully",
        "mask": "The concept acts where the mask is white",
        "painted": "A mask that you paint here: black is where the concept acts",
        "image": "A picture that the concept takes over, with an IP-Adapter",
    }
)
WHOLE: Mapping[str, str] = MappingProxyType(
    {
        "cfg_scale": "CFG Scale that changes over the steps",
        "hires_cfg_scale": "CFG Scale in the second pass of hires-fix",
        "prompt_weights": "Weights of named parts of the prompt, apart from its text",
        "show_plan": "Draws the weights of every unit over the steps, without a generation",
        "list_models": "Reads the model folders, and says what each file is for",
    }
)
CONCEPTS = {f"concept{index}_{name}": text for index in range(MAX_CONCEPTS) for name, text in CONCEPT.items()}
PANEL_TOOLTIPS: Mapping[str, str] = MappingProxyType({**WHOLE, **BLEND, **CONCEPTS})


def unit_tooltips() -> dict[str, str]:
    """The tooltips of a unit's fields, by field name; those of parameters are in `param_html`."""
    return {**{name: param.info or param.label for name, param in uploaded_fields().items()}, **UNIT}


def kind_tooltips() -> dict[str, str]:
    """The sentences by the name of a kind."""
    return {name: kind.about for name, kind in KINDS.items()}
