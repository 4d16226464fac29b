"""The preprocessors of a unit: one, or several that are applied one after another.

A request names one (`canny`), several in a text (`canny | invert`), or several in a list. The items of a list
are names, or objects with a name and parameters.

>>> [stage.name for stage in stages_of("canny | invert")]
['canny', 'invert']
>>> label_of(("canny", PreprocessorStage(name="threshold", params={"threshold": 9})))
'canny | threshold'
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, field
from msgspec.structs import force_setattr

from lib_ctrlgen.errors import RequestError

from .base import Spec, check_plain
from .catalogue import preprocessor_named, preprocessor_names
from .encoder_names import ENCODER_NAMES, NO_MAP, encoder_name

Param: TypeAlias = bool | Annotated[int, Meta(ge=-(2**53), le=2**53)] | float | str
SEPARATOR = "|"
MOST_STAGES = 8


def check_param_values(path: str, params: dict[str, Param]) -> None:
    """Raise RequestError at `path` for names and values that JSON cannot carry."""
    for name, value in params.items():
        check_plain(path, name)
        check_plain(f"{path}.{name}", value)


class PreprocessorStage(Spec, frozen=True, kw_only=True):
    """One of several preprocessors of a unit.

    name    the name of a preprocessor
    params  the values of its parameters, by name
    """

    name: str
    params: dict[str, Param] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        force_setattr(self, "name", preprocessor_named("name", self.name))
        check_param_values("params", self.params)


Preprocessing: TypeAlias = (
    str | Annotated[tuple[str | PreprocessorStage, ...], Meta(min_length=1, max_length=MOST_STAGES)]
)


def stages_of(given: Preprocessing) -> tuple[PreprocessorStage, ...]:
    """The stages that a unit's `preprocessor` names. Raises RequestError for an unknown name.

    A name that makes no map (`ip-adapter-auto`) leaves the picture as it is.
    """
    if isinstance(given, str) and encoder_name(given) is not None:
        return (PreprocessorStage(name=NO_MAP),)
    named = given.split(SEPARATOR) if isinstance(given, str) else given
    return tuple(PreprocessorStage(name=each.strip()) if isinstance(each, str) else each for each in named)


def label_of(given: Preprocessing) -> str:
    """The names of the stages in one text, which is a `preprocessor`, too."""
    return f" {SEPARATOR} ".join(stage.name for stage in stages_of(given))


def check_preprocessing(path: str, given: Preprocessing) -> None:
    """Raise RequestError at `path` for an unknown name, or for too many stages."""
    named = given.split(SEPARATOR) if isinstance(given, str) else given
    if len(named) > MOST_STAGES:
        raise RequestError(path, f"{len(named)} preprocessors are more than {MOST_STAGES}")
    for number, each in enumerate(named):
        if isinstance(each, str):
            place = path if isinstance(given, str) else f"{path}[{number}]"
            check_plain(place, each)
            preprocessor_named(place, each.strip())


def preprocessing_schema(given: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a unit's `preprocessor`: the one that msgspec made, with the names.

    The names that make no map stand alone.
    """
    one = {"enum": list(preprocessor_names())}
    text, many = given["anyOf"]
    items = [one if part.get("type") == "string" else part for part in many["items"]["anyOf"]]
    alone = {
        "enum": [name for each in ENCODER_NAMES if not each.instead for name in (each.name, *each.labels)]
    }
    forms = [one, {**text, "pattern": f"[{SEPARATOR}]"}, {**many, "items": {"anyOf": items}}, alone]
    return {**given, "anyOf": forms}
