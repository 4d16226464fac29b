"""The values of the page's fields as settings and environments, and back. It imports no gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.projects.product.environments import Environment, line_of, named, text_environments
from lib_ctrlgen.projects.product.settings import ProductSettings, as_inputs
from lib_ctrlgen.request.spec import parse_request

ENVIRONMENTS = "environments"
LABELS: Mapping[str, str] = MappingProxyType(
    {
        "subject": "Product",
        "negative_prompt": "Negative prompt",
        ENVIRONMENTS: "Environments",
        "identity": "Identity",
        "placement": "Placement",
        "steps": "Steps",
        "cfg_scale": "Guidance",
        "size": "Size",
        "seed": "Seed",
        "count": "Pictures each",
        "sampler": "Sampler",
    }
)
FIELDS = tuple(LABELS)  # in the order in which handlers get their values
TEXTS = ("subject", "negative_prompt", "sampler", "identity", "placement")


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the page asks for."""

    settings: ProductSettings
    environments: tuple[Environment, ...]

    def environment(self, prompt: str | None) -> Environment:
        """The environment of a prompt in the list of choices; the first one for others."""
        return next((each for each in self.environments if each.prompt == prompt), self.environments[0])


def form_of(values: Sequence[Any], base: ProductSettings, folder: Path) -> Form:
    """The form of the fields' values; `base` has what no field has, depth pictures are in `folder`.

    Raises RequestError with a field's label.
    """
    given = dict(zip(FIELDS, values, strict=True))
    text = str(given.pop(ENVIRONMENTS) or "")
    for name, value in given.items():
        if value is None or (name in {"identity", "placement"} and not str(value).strip()):
            raise RequestError(LABELS[name], "is empty")
        given[name] = str(value).strip() if name in TEXTS else value
    try:
        settings = parse_request({**as_inputs(base), **given}, ProductSettings)
    except RequestError as error:
        raise labelled(error) from error
    return Form(settings=settings, environments=named(text_environments(text, LABELS[ENVIRONMENTS], folder)))


def labelled(error: RequestError) -> RequestError:
    """An error of a settings' field, or of an option, with the label of the field."""
    name = error.path.removeprefix("$.").removeprefix("--")
    return RequestError(LABELS.get(name, error.path), error.message)


def readable(error: CtrlGenError) -> str:
    """An error as a sentence for the page."""
    return str(labelled(error)) if isinstance(error, RequestError) else str(error)


def values_of(form: Form) -> list[Any]:
    """The values of the fields, in their order."""
    fields = as_inputs(form.settings) | {ENVIRONMENTS: environments_text(form.environments)}
    return [
        weight_text(fields[name]) if name in {"identity", "placement"} else fields[name] for name in FIELDS
    ]


def environments_text(environments: Sequence[Environment]) -> str:
    """The environments, one a line."""
    return "\n".join(line_of(each) for each in environments)


def weight_text(weight: float | str) -> str:
    """A weight as the text of its field."""
    return weight if isinstance(weight, str) else f"{weight:g}"


def with_environment(environments: Sequence[Environment], own: Environment) -> tuple[Environment, ...]:
    """The environments with one that takes the place of that with the same prompt, or stands at the end."""
    if all(each.prompt != own.prompt for each in environments):
        return named((*environments, own))
    return named(own if each.prompt == own.prompt else each for each in environments)
