"""Reads the fields of parameters from the HTML that the panel shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest

from lib_ctrlgen.forms.preprocessor_fields import param_fields
from lib_ctrlgen.request import catalogue

from .fake_gradio import Component

Attributes = dict[str, str | None]
TAGS = frozenset({"div", "label", "span", "input", "select", "option", "small"})
WITHOUT_END = "input"


@dataclass
class ShownParam:
    """The field of a parameter. `options` are the values and texts of a list's choices."""

    name: str
    id: str
    title: str
    default: Any
    label: str = ""
    info: str = ""
    inputs: list[Attributes] = field(default_factory=list)
    options: list[tuple[str, str]] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)

    @property
    def types(self) -> list[str | None]:
        return [each.get("type", "list") for each in self.inputs]


class _Reader(HTMLParser):
    """Reads well-formed HTML of parameters, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[ShownParam] = []
        self.open: list[tuple[str, Attributes]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        given = dict(attrs)
        assert not [name for name in given if name.startswith("on")]
        if "ctrlgen-param" in (given.get("class") or "").split():
            default = json.loads(str(given["data-default"]))
            texts = (str(given[name]) for name in ("data-name", "id", "title"))
            self.found.append(ShownParam(*texts, default=default))
        if tag in {"input", "select"}:
            self.found[-1].inputs.append(given)
        if tag == "option":
            self.found[-1].options.append((str(given.get("value", "")), ""))
            self.found[-1].chosen += ["selected"] if "selected" in given else []
        if tag != WITHOUT_END:
            self.open.append((tag, given))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        inner, given = self.open[-1]
        last = self.found[-1]
        assert inner in {"span", "small", "option"}
        if inner == "span":
            last.label += data
        elif inner == "small":
            last.info += data
        else:
            value, text = last.options[-1]
            text += data
            last.options[-1] = (value if "value" in given else text, text)
            if "selected" in given:
                last.chosen[-1] = text


def shown_params(html: str) -> list[ShownParam]:
    """The fields in the HTML of `params_html`; a failed test for HTML that has anything else in it."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader.found


def names_shown(html: str) -> set[str]:
    return {each.name for each in shown_params(html)}


def made_component(elem_id: str) -> Any:
    return next(each for each in Component.made if each.elem_id == elem_id)


def preprocessor_html(name: str, given: str = "", start: str = "ctrlgen_txt2img_unit0_") -> str:
    """What the panel of the fake host shows for the parameters of preprocessors."""
    reveal, _ = made_component(f"{start}preprocessor").events[0]
    area, _ = reveal(name, given)
    assert area["visible"] == bool(area["value"])
    return str(area["value"])


def family_updates(family: str, given: str = "", start: str = "ctrlgen_txt2img_unit0_") -> dict[str, Any]:
    """The updates of the panel of the fake host when a model of a family is chosen, by field or part."""
    reveal, options = made_component(f"{start}model").events[0]
    known = reveal.__globals__
    names = [*known["changing_fields"](), *known["groups"](), *known["FAMILY_PARTS"]]
    assert len(names) == len(options["outputs"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(known, "family_of", lambda _: family)
        return dict(zip(names, reveal("any", given), strict=True))


def every_html() -> Iterator[str]:
    """What the panel of the fake host shows of the parameters of each preprocessor and family."""
    for owner in dict.fromkeys(owner for owner, _ in param_fields().values()):
        yield preprocessor_html(owner)
    for entry in catalogue.CONTROLS:
        updates = family_updates(entry.name)
        yield from (updates[name]["value"] for name in ("family_params", "more_params"))
