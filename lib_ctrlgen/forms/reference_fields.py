"""Converts the panel's fields of further references to a unit's `references` and back.

>>> unit = {"references": [{"image": "a", "weight": 0.5}, {"image": "b", "role": "negative"}]}
>>> shown_weights(unit["references"])
'0.5'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from lib_ctrlgen.errors import RequestError

from .param_fields import further_embeddings
from .uploads import uploaded

Payload: TypeAlias = dict[str, Any]

# The fields of a unit's tab, with the values of an unused unit.
REFERENCE_FIELDS: Payload = {
    "references": None,
    "reference_weights": "",
    "combine": "concat",
    "composition_image": None,
    "negative_image": None,
}
REFERENCE_PICTURES = frozenset({"references", "composition_image", "negative_image"})
ROLES = {"composition_image": "composition", "negative_image": "negative"}


def read_references(values: Mapping[str, Any], path: str) -> list[Payload]:
    """The references of a unit's fields: uploaded pictures, further embeddings, then those of other roles.

    The weights are for pictures and embeddings. Raises RequestError for more weights than there are of them.
    """
    pictures = [{"image": each} for each in uploaded(values["references"], f"{path}.references")]
    pictures += [{"embedding": each} for each in further_embeddings(values, path)]
    weights = [part.strip() for part in (values["reference_weights"] or "").split(";")]
    weights = weights if any(weights) else []
    if len(weights) > len(pictures):
        count = f"{len(weights)} weights for {len(pictures)} further pictures"
        raise RequestError(f"{path}.references", f"{count}: upload a picture for each, in order of name")
    weights += [""] * (len(pictures) - len(weights))
    found: list[Payload] = [
        picture | ({"weight": weight} if weight else {})
        for picture, weight in zip(pictures, weights, strict=True)
    ]
    for name, role in ROLES.items():
        found += [{"image": each, "role": role} for each in uploaded(values[name], f"{path}.references")]
    return found


def shown_weights(references: Any) -> str:
    """The text of the weights of a request's references, empty if all are 1."""
    if not isinstance(references, Sequence):
        return ""
    own = [
        str(each.get("weight", 1))
        for each in references
        if isinstance(each, Mapping) and each.get("role", "reference") == "reference"
    ]
    return "" if all(weight == "1" for weight in own) else "; ".join(own)
