"""What the panel shows when the pointer rests on a field: a sentence for each field."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lib_ctrlgen.request.blend import MAX_CONCEPTS
from lib_ctrlgen.tuner.cells import NAMES

from .kinds import KINDS
from .param_fields import uploaded_fields
from .tuner_places import TUNER as TUNER_ID

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
        "download": "Downloads what is missing into its folders",
        "cancel": "Stops the download; what has arrived is kept",
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
RECIPES: Mapping[str, str] = MappingProxyType(
    {
        "new": "A new name makes a recipe, the name of a recipe a new version of it",
        "message": "Stands in the history beside this version",
        "save": "Keeps units, pictures, prompts and settings, with the picture of the gallery",
        "gallery": "Choosing a picture chooses its recipe",
        "refresh": "Reads the folder of recipes again",
        "name": "The recipe that the buttons below it use",
        "version": "The saved state that is loaded, compared or exported",
        "variant": "A line of versions beside the others; write a new name to make one",
        "load": "Replaces the panel's values, the prompts and the settings by those of the recipe",
        "restore": "Saves the chosen version once more; the versions after it stay in the history",
        "switch": "Further versions are saved in this variant",
        "new_name": "What the chosen recipe is to be called",
        "rename": "Changes the name; the history stays",
        "delete": "Removes the recipe and all its versions, after a question",
        "other": "A second recipe, whose newest version is compared with the chosen one",
        "compare": "Shows what differs in the settings and in the pictures",
        "export": "Packs the chosen version into one file for others",
        "import": "Adds a shared recipe, or makes one from a picture that was made with CtrlGen",
        "file": "The exported recipe, to be saved on your computer",
    }
)
MODELS: Mapping[str, str] = MappingProxyType(
    {
        "published": "Says what a file is for, its size and its licence; nothing is downloaded yet",
        "published_download": "Downloads the file into its model folder",
        "published_cancel": "Stops the download; what has arrived is kept",
        "tiny_install": "Copies a small checkpoint and its control models into the model folders, offline",
        "tiny_use": "Sets what the tiny model was trained for in the fields above",
    }
)
TUNER: Mapping[str, str] = MappingProxyType(
    {
        **{f"{axis}_path": "A field that varies: choose one, or write its path" for axis in NAMES},
        **{f"{axis}_values": "The values that it takes: a list, a range, or one a line" for axis in NAMES},
        "seeds": "Each cell is made with so many seeds, beginning with the one above",
        "name": "The run's folder; cells that it has already are not made again",
        "force": "A larger grid is refused without it",
        "budget": "0: all combinations are made; else values are tried with so many pictures",
        "coarse": "Saves time on large grids: a rough picture decides which cells are made in full",
        "send": "Sets prompt, settings and units to those of the gallery's cell",
        "report": "Shows the cells with their scores, also while the run goes on",
        "recipe": "A new name makes a recipe, the name of a recipe a new version of it",
        "save_recipe": "Keeps the gallery's cell with its units' pictures and its settings",
    }
)
CONCEPTS = {f"concept{index}_{name}": text for index in range(MAX_CONCEPTS) for name, text in CONCEPT.items()}
RECIPE_FIELDS = {f"recipe_{name}": text for name, text in RECIPES.items()}
PANEL_TOOLTIPS: Mapping[str, str] = MappingProxyType(
    {**WHOLE, **BLEND, **CONCEPTS, **RECIPE_FIELDS, **MODELS}
)


def unit_tooltips() -> dict[str, str]:
    """The tooltips of a unit's fields, by field name; those of parameters are in `param_html`."""
    return {**{name: param.info or param.label for name, param in uploaded_fields().items()}, **UNIT}


def tuner_tooltips(tab: str) -> dict[str, str]:
    """The tooltips of the tuner's fields by the ids of their elements."""
    return {f"{TUNER_ID.format(tab=tab)}{name}": text for name, text in TUNER.items()}


def kind_tooltips() -> dict[str, str]:
    """The sentences by the name of a kind."""
    return {name: kind.about for name, kind in KINDS.items()}
