"""The panel's fields for a unit's preprocessors and their parameters.

The field `preprocessor` is a name, several names (`canny | invert`), or a JSON list as in the API. The
parameters of the names that it holds come from their sliders; those of a JSON list are in the list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.preprocessors import params_of, preprocessors
from lib_ctrlgen.preprocessors.detection import RESOLUTION
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.request.preprocessing import SEPARATOR, Preprocessing, PreprocessorStage, stages_of

Payload: TypeAlias = dict[str, Any]
JSON_LIST = "["  # how a field begins that holds a JSON list


def param_fields() -> dict[str, tuple[str, Param]]:
    """The preprocessors' parameters by field name, each with its preprocessor's name.

    Field names are also element ids in the page, where `+` would be part of a CSS selector.
    """
    return dict(_param_fields(catalogue.PREPROCESSORS))


@lru_cache(maxsize=4)
def _param_fields(entries: tuple[catalogue.Entry, ...]) -> dict[str, tuple[str, Param]]:
    """The same, for these preprocessors. The panel asks for it hundreds of times while it is built."""
    return {
        f"{entry.name.replace('+', '_')}_{param.name}": (entry.name, param)
        for entry in entries
        for param in entry.params
    }


def names_in(text: Any) -> tuple[str, ...]:
    """The names of the preprocessors in the panel's field; none for a JSON list."""
    if not isinstance(text, str) or text.lstrip().startswith(JSON_LIST):
        return ()
    return tuple(stage.strip() for stage in text.split(SEPARATOR))


def stage_names(text: Any) -> tuple[str, ...]:
    """The names of the preprocessors in the panel's field, also in a JSON list; none if it cannot be read."""
    try:
        stages = _stages(json.loads(text)) if not names_in(text) else ()
    except (ValueError, TypeError):
        return ()
    return names_in(text) or tuple(stage.name for stage in stages or ())


def detects(text: Any) -> bool:
    """Whether a preprocessor in the panel's field may run at another resolution than the generation's."""
    names = names_in(text)
    return any(item.name in names and RESOLUTION in params_of(item) for item in preprocessors())


def preprocessor_settings(values: Mapping[str, Any], path: str) -> Payload:
    """The `preprocessor` of a unit, and the `params` that belong to it. Raises RequestError below `path`.

    A single preprocessor has its parameters in `params`. Of several, each has its own where they differ from
    the defaults.
    """
    given = values["preprocessor"]
    names = names_in(given)
    if not names:
        return {"preprocessor": _listed(given, f"{path}.preprocessor"), "params": {}}
    if len(names) == 1:
        return {"preprocessor": given, "params": _params(names[0], values)}
    defaults = {(owner, param.name): param.default for owner, param in param_fields().values()}
    stages: list[Any] = []
    for name in names:
        own = {
            key: value for key, value in _params(name, values).items() if value != defaults.get((name, key))
        }
        stages.append({"name": name, "params": own} if own else name)
    return {"preprocessor": stages, "params": {}}


def preprocessor_values(given: Any, params: Payload) -> Payload:
    """The panel's values for a unit's preprocessor: the inverse of `preprocessor_settings`.

    The values that are shown are removed from `params`, the unit's. What sliders cannot show, such as two
    stages with different values of one parameter, becomes a JSON list in the field.
    """
    stages = _stages(given)
    shown = None if stages is None else _on_sliders(stages)
    if stages is None or shown is None:
        return {"preprocessor": given if isinstance(given, str) else json.dumps(given)}
    for field, (owner, param) in param_fields().items():
        if param.name in params and any(stage.name == owner for stage in stages):
            shown[field] = params.pop(param.name)
    if RESOLUTION.name in params:
        shown[RESOLUTION.name] = params.pop(RESOLUTION.name)
    return {**shown, "preprocessor": f" {SEPARATOR} ".join(stage.name for stage in stages)}


def _on_sliders(stages: Sequence[PreprocessorStage]) -> Payload | None:
    """The values of the sliders for these stages; None if the sliders cannot show them."""
    known = {item.name: params_of(item) for item in preprocessors()}
    fields = {(owner, param.name): field for field, (owner, param) in param_fields().items()}
    shown: Payload = {}
    for stage in stages:
        defaults = {param.name: param.default for param in known.get(stage.name, ())}
        if not stage.params.keys() <= defaults.keys():
            return None
        for key, value in {**defaults, **stage.params}.items():
            if shown.setdefault(fields.get((stage.name, key), key), value) != value:
                return None
    return shown


def _params(name: str, values: Mapping[str, Any]) -> Payload:
    """The parameters of the preprocessor of this name in the panel's values."""
    own = {
        param.name: values[field]
        for field, (owner, param) in param_fields().items()
        if owner == name and field in values
    }
    resolution = values.get(RESOLUTION.name)
    return own | ({RESOLUTION.name: resolution} if resolution and detects(name) else {})


def _stages(given: Any) -> tuple[PreprocessorStage, ...] | None:
    """The stages of a unit's `preprocessor` in JSON types; None for a value that is none."""
    try:
        return stages_of(msgspec.convert(given, Preprocessing))
    except (msgspec.ValidationError, RequestError):
        return None


def _listed(given: Any, path: str) -> Any:
    try:
        return json.loads(given)
    except (ValueError, TypeError) as error:
        message = f"expected a name, several names (canny | invert) or a JSON list ({error})"
        raise RequestError(path, message) from error
