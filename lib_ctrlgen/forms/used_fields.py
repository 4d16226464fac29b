"""The fields of a unit's tab that the unit's control family uses; a panel hides the others.

>>> "boxes" in hidden_fields("controlnet"), "boxes" in hidden_fields("gligen")
(True, False)
>>> sorted(hidden_fields("gligen") & {"image", "preprocessor", "mask"})
['image', 'preprocessor']
"""

from __future__ import annotations

from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.params import Param

from .param_fields import family_fields
from .reference_fields import REFERENCE_FIELDS

# The panel's fields for a field of the request, where they are several.
PANEL_FIELDS: dict[str, tuple[str, ...]] = {
    "image": ("image", "images", "use_init_image", "pose"),
    "mask": ("mask", "masks", "mask_strength", "mask_feather"),
    "references": tuple(REFERENCE_FIELDS),
}


def hidden_fields(family: str) -> frozenset[str]:
    """The fields that a family does not use. If none is known (""), those that only some families have."""
    others = {
        name
        for name, (families, param) in family_fields().items()
        if param.uploaded and family not in families
    }
    entry = next((each for each in catalogue.CONTROLS if each.name == family), None)
    own, unused = (entry.fields, entry.unused) if entry else ((), ())
    foreign = [name for name in catalogue.FAMILY_FIELDS if name not in own]
    return frozenset(others).union(*(PANEL_FIELDS.get(name, (name,)) for name in (*foreign, *unused)))


def changing_fields() -> tuple[str, ...]:
    """The fields that some family does not use, in a fixed order."""
    families = ("", *(each.name for each in catalogue.CONTROLS))
    return tuple(sorted(frozenset().union(*map(hidden_fields, families))))


def family_params(family: str, *, advanced: bool) -> dict[str, Param]:
    """The parameters of a family that are not uploaded, the advanced or the others, by field name."""
    return {
        name: param
        for name, (families, param) in family_fields().items()
        if family in families and param.advanced == advanced and not param.uploaded
    }
