"""The fields of the tab "Recipes", and the ones to which the library's errors belong.

>>> at_recipe(RequestError("$.name", "there is no recipe 'x'"), RECIPE_SAVED).path
'$.recipe.new'
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lib_ctrlgen.errors import CtrlGenError, RequestError

RECIPE_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "new": "Save as",
        "name": "Recipe",
        "version": "Version",
        "variant": "Variant",
        "new_name": "New name of the recipe",
        "other": "Compare with",
        "gallery": "Recipes",
    }
)
# The fields from which the values at the library's paths were read, for the buttons that use a chosen recipe.
RECIPE_CHOSEN: Mapping[str, str] = MappingProxyType(
    {
        "$.name": "name",
        "$.version": "version",
        "$.variant": "variant",
        "$.new_name": "new_name",
        "$.result": "gallery",
        "$.infotext": "gallery",
        "$.settings": "gallery",
    }
)
RECIPE_SAVED: Mapping[str, str] = MappingProxyType({**RECIPE_CHOSEN, "$.name": "new"})
RECIPE_OTHER: Mapping[str, str] = MappingProxyType({**RECIPE_CHOSEN, "$.name": "other"})


def at_recipe(error: CtrlGenError, fields: Mapping[str, str] = RECIPE_CHOSEN) -> CtrlGenError:
    """An error of the library at the field from which its value was read; others are unchanged."""
    if not isinstance(error, RequestError):
        return error
    first = ".".join(error.path.split(".")[:2])  # `$.settings` of `$.settings.Clip skip`
    return RequestError(f"$.recipe.{fields[first]}", error.message) if first in fields else error
