"""The parameters of the control families, in a module that is quick to import: the panel is built from them.

The lines of `lib_ctrlgen.request.catalogue.CONTROLS` and the families' classes name the same tuples.
"""

from __future__ import annotations

from lib_ctrlgen.controls.controlnet.union_types import AUTO, CHOICES
from lib_ctrlgen.faces.face import FACE_CHOICE
from lib_ctrlgen.request.params import Param

Params = tuple[Param, ...]

IMAGE_ENCODER = Param(
    name="image_encoder", label="Image encoder (folder name, empty: automatic)", kind="text", default=""
)

NONE: Params = ()
ENCODED: Params = (IMAGE_ENCODER,)
CONTROLNET: Params = (
    Param(
        name="transparent",
        label="Transparent pixels (auto: holes for inpainting files, else white)",
        kind="choice",
        default="auto",
        choices=("auto", "white", "holes"),
    ),
)
UNION: Params = (
    Param(
        name="union_type",
        label="Type of the map (auto: by the preprocessor)",
        kind="choice",
        default=AUTO,
        choices=CHOICES,
    ),
)
INSTANT_ID: Params = (
    Param(
        name="face",
        label="Face embedding (base64 of safetensors or float32, or JSON); empty: found in the picture",
        kind="text",
        default="",
    ),
    Param(
        name="face_image",
        label="Picture of the face (base64), where it is not the unit's picture",
        kind="text",
        default="",
    ),
    FACE_CHOICE,
    Param(
        name="face_adapter",
        label="InstantID's IP-Adapter file; empty: the one that is there",
        kind="text",
        default="",
    ),
)
