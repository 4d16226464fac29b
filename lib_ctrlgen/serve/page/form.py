"""The values of the page's form as a job. It imports no gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.unit_fields import NO_MODEL, unit_fields, unit_payload
from lib_ctrlgen.headless.job_text import parse_yaml
from lib_ctrlgen.serve.posted import require_few_values

MORE = "more settings"


@dataclass(frozen=True, kw_only=True)
class UnitValues:
    """The fields of one unit."""

    model: str | None
    image: Image.Image | None
    preprocessor: str | None
    weight: str | None


def job_of_form(fields: Mapping[str, Any], units: Sequence[UnitValues], more: str) -> dict[str, Any]:
    """A job from the form; `more` is a job in YAML whose fields replace those of the form.

    The units of `more` follow those of the form. Raises RequestError.
    """
    content = {name: value for name, value in fields.items() if value not in (None, "")}
    others = parse_yaml(more, MORE) if more.strip() else {}
    if not isinstance(others, Mapping):
        raise RequestError("$", f"{MORE} are a mapping such as 'sampler: Euler a'")
    require_few_values(others)
    given = others.get("units", [])
    if not isinstance(given, list):
        raise RequestError("$.units", "expected a list")
    own = [
        each for index, unit in enumerate(units) if (each := unit_of(unit, f"$.units[{index}]")) is not None
    ]
    return {**content, **others, "units": [*own, *given]}


def unit_of(unit: UnitValues, path: str) -> dict[str, Any] | None:
    """A unit of a job; None where no model is chosen. Raises RequestError."""
    if unit.model in (None, "", NO_MODEL):
        if unit.image is not None:
            raise RequestError(f"{path}.model", "choose a model for the picture, or remove the picture")
        return None
    values = unit_fields() | {
        "enabled": True,
        "model": unit.model,
        "image": unit.image,
        "preprocessor": unit.preprocessor or "none",
        "weight_schedule": unit.weight or "",
    }
    payload = unit_payload(values, path)
    return {name: value for name, value in payload.items() if value not in (None, "", [], {})}
