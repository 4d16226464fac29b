"""Converts the values of a blend's fields to the request's `blend` and back, without a host's modules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from PIL import Image, ImageOps

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.blend import MAX_CONCEPTS

Values: TypeAlias = Mapping[str, Any]
Payload: TypeAlias = dict[str, Any]

OFF = "off"
SEED = re.compile(r"-1|\d+", re.ASCII)
PICTURES = ("image", "mask")
DRAWN = (*PICTURES, "painted")

# The tab's fields in the order of the script's arguments: those of the blend, then those of each concept.
BLEND_FIELDS: Payload = {
    "mode": OFF,
    "interpolation": "auto",
    "normalise": False,
    "crossfeed": "",
    "animation": "none",
    "spacing": "",
    "model": "None",
    "explore": 0,
}
CONCEPT_FIELDS: Payload = {
    "used": False,
    "prompt": "",
    "weight": "1",
    "hires": "",
    "seed": "",
    "mask_strength": "",
    "mask": None,
    "painted": None,
    "image": None,
}
MODE = 0  # the index of `mode` among them
COUNT = len(BLEND_FIELDS) + MAX_CONCEPTS * len(CONCEPT_FIELDS)


def blend_settings(values: Sequence[Any], *, pictures: bool) -> Payload:
    """The tab's values as `{"blend": ...}`, empty when the blend is off.

    Disabled concepts are left out. So are empty fields, so that the request's defaults and errors apply.
    """
    blend = BLEND_FIELDS | dict(zip(BLEND_FIELDS, values, strict=False))
    if blend["mode"] in (OFF, "", None):
        return {}
    used = [each for each in _split(values) if each["used"]]
    concepts = [_concept(each, f"$.blend.concepts[{i}]", pictures=pictures) for i, each in enumerate(used)]
    given = {name: value for name, value in blend.items() if value not in (BLEND_FIELDS[name], "", None)}
    if str(given.get("spacing", "")).isdecimal():
        given["spacing"] = int(given["spacing"])
    return {"blend": given | {"concepts": concepts}}


def blend_values(blend: Any) -> list[Any]:
    """The tab's values for a request's blend, without pictures: the inverse of `blend_settings`."""
    found = blend if isinstance(blend, dict) else {}
    concepts = found.get("concepts")
    given = [each for each in concepts if isinstance(each, dict)] if isinstance(concepts, list) else []
    values = [_shown(found.get(name, default), default) for name, default in BLEND_FIELDS.items()]
    if found:
        values[MODE] = found.get("mode", "prediction")
    for index in range(MAX_CONCEPTS):
        concept = given[index] if index < len(given) else {}
        shown = CONCEPT_FIELDS | {name: concept[name] for name in CONCEPT_FIELDS if name in concept}
        shown |= {"used": index < len(given), **dict.fromkeys(DRAWN)}
        values += [_shown(value, CONCEPT_FIELDS[name]) for name, value in shown.items()]
    return values


def painted_mask(canvas: Any) -> Image.Image | None:
    """The mask that was painted on a canvas, white where the brush was; None for an empty canvas."""
    if not isinstance(canvas, Image.Image):
        return None
    white = Image.new("RGBA", canvas.size, "white")
    inked = ImageOps.invert(Image.alpha_composite(white, canvas.convert("RGBA")).convert("L"))
    return inked if inked.getbbox() else None


def _split(values: Sequence[Any]) -> list[Payload]:
    size = len(CONCEPT_FIELDS)
    starts = range(len(BLEND_FIELDS), len(values), size)
    return [CONCEPT_FIELDS | dict(zip(CONCEPT_FIELDS, values[k : k + size], strict=False)) for k in starts]


def _concept(values: Values, path: str, *, pictures: bool) -> Payload:
    concept: Payload = {"prompt": values["prompt"] or ""}
    for name in ("weight", "hires", "mask_strength", "seed"):
        text = str(values[name] if values[name] is not None else "").strip()
        if text and text != CONCEPT_FIELDS[name]:
            concept[name] = int(text) if name == "seed" and SEED.fullmatch(text) else text
    given = {name: values[name] for name in PICTURES} if pictures else {}
    painted = painted_mask(values["painted"]) if pictures else None
    if painted is not None and given["mask"]:
        raise RequestError(f"{path}.mask", "a mask was painted and another one uploaded: remove one")
    if painted is not None:
        given["mask"] = painted
    for name, picture in given.items():
        if isinstance(picture, Image.Image):
            concept[name] = encode_image(picture)
        elif picture:
            concept[name] = picture
    return concept


def _shown(value: Any, default: Any) -> Any:
    """A request's value in the type of the component with this default."""
    return str(value) if isinstance(default, str) and value is not None else value
