"""The fields of parameters as HTML."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.forms.param_html import params_html
from lib_ctrlgen.request.params import Param
from tests.support.shown_params import ShownParam, shown_params
from tests.support.unit_values import all_params

PREFIX = "ctrlgen_txt2img_unit0_"
NASTY = """<script>alert("a" + 'b')</script> & </small></select>"><img src=x onerror=alert(1)>"""
KINDS = {"choice": ["list"], "bool": ["checkbox"], "text": ["text"]}
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


def shown(param: Param, value: Any = None) -> ShownParam:
    values = {} if value is None else {"name": value}
    (field,) = shown_params(params_html({"name": param}, values, PREFIX))
    return field


def numbers(field: ShownParam, name: str) -> set[float | None]:
    """The values of an attribute of the field's inputs; None where it is missing."""
    return {None if each.get(name) is None else float(str(each[name])) for each in field.inputs}


@pytest.mark.parametrize("name", sorted(all_params()))
def test_a_parameter_has_the_field_of_its_kind(name: str) -> None:
    param = all_params()[name]
    (field,) = shown_params(params_html({name: param}, {}, PREFIX))
    assert (field.name, field.id, field.default) == (name, f"{PREFIX}{name}", param.default)
    assert type(field.default) is type(param.default)
    assert field.label == param.label.partition(": ")[0]
    assert field.info == param.info
    assert field.title == (param.info or param.label)
    assert field.types == KINDS.get(param.kind, ["number", "range"])
    if param.kind == "choice":
        assert field.options == [(choice, choice) for choice in param.choices]
        assert field.chosen == [param.default]
    if param.kind == "text":
        assert field.inputs[0]["value"] == param.default
    if param.kind == "bool":
        assert ("checked" in field.inputs[0]) == param.default
    if param.kind in {"int", "float"}:
        assert param.step
        assert param.minimum is not None
        ends = [param.minimum] if param.off is None else [param.minimum, param.off]
        wanted = {"min": min(ends), "max": param.maximum, "step": param.step, "value": param.default}
        assert {key: numbers(field, key) for key in wanted} == {key: {end} for key, end in wanted.items()}
        assert field.inputs[1]["aria-label"] == field.label


def test_the_fields_are_in_order_and_show_their_values() -> None:
    params = {name: all_params()[name] for name in ("canny_low_threshold", "canny_high_threshold")}
    fields = shown_params(params_html(params, {"canny_high_threshold": 7, "mlsd_value_threshold": 1}, PREFIX))
    assert [each.name for each in fields] == list(params)
    assert [numbers(each, "value") for each in fields] == [{100}, {7}]
    assert params_html({}, {}, PREFIX) == ""


def test_a_number_without_two_bounds_has_no_slider() -> None:
    for bounds in ({}, {"minimum": 1.0}, {"maximum": 9.0}):
        field = shown(Param(name="a", label="A", kind="int", default=5, **bounds))
        assert field.types == ["number"]
        assert numbers(field, "min") == {bounds.get("minimum")}
        assert numbers(field, "max") == {bounds.get("maximum")}
    both = Param(name="a", label="A", kind="float", default=0.5, minimum=0.0, maximum=1.0, step=0.01)
    assert shown(both).types == ["number", "range"]
    assert numbers(shown(both, 0.25), "value") == {0.25}


def test_the_number_that_switches_off_is_within_the_limits() -> None:
    param = Param(name="a", label="A", kind="int", default=0, minimum=64, maximum=512, step=8, off=0)
    assert numbers(shown(param), "min") == {0}
    assert numbers(shown(param, 64), "value") == {64}


@given(st.floats(0.01, 4e9))
def test_numbers_are_written_as_a_browser_reads_them(value: float) -> None:
    param = Param(name="a", label="A", kind="float", default=1.0, minimum=0.0, maximum=2.0**32)
    number = str(shown(param, value).inputs[0]["value"])
    assert re.fullmatch(r"\d+(\.\d+)?(e[+-]\d+)?", number), "a valid floating-point number of HTML"
    assert float(number) == pytest.approx(value, rel=1e-9)
    seed = all_params()["shuffle_seed"]
    assert numbers(shown(seed, int(value)), "value") == {int(value)}
    assert numbers(shown(seed), "max") == {2**32 - 1}


@pytest.mark.parametrize("text", [NASTY, '"', "'", "&amp;", "a\" onclick='b'"])
def test_texts_of_parameters_are_no_html(text: str) -> None:
    """`shown_params` fails for another tag, for a handler, and for text in another place."""
    choice = Param(name="a", label=text, info=text, kind="choice", default=text, choices=("x", text))
    field = shown(choice)
    assert (field.label, field.info, field.title) == (text.partition(": ")[0], text, text)
    assert field.options == [("x", "x"), (text, text)]
    assert (field.chosen, field.default) == ([text], text)
    written = shown(Param(name="a", label=text, kind="text", default="b"), text)
    assert (written.inputs[0]["value"], written.title) == (text, text)
    number = shown(Param(name="a", label=text, kind="int", default=1, minimum=0, maximum=9))
    assert number.inputs[1]["aria-label"] == text.partition(": ")[0]


@given(texts, texts, st.lists(texts, min_size=1, max_size=4, unique=True), st.data())
def test_any_text_is_shown_as_it_is(label: str, info: str, choices: list[str], data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(choices))
    param = Param(name="a", label=label, info=info, kind="choice", default=choices[0], choices=(*choices,))
    field = shown(param, value)
    assert (field.label, field.info, field.title) == (label.partition(": ")[0], info, info)
    assert field.options == [(each, each) for each in choices]
    assert (field.chosen, field.default) == ([value], choices[0])


def test_a_choice_keeps_its_value_in_another_language() -> None:
    """The text of an option is translated in the page; without a value of its own it would be its value."""
    for param in all_params().values():
        if param.kind == "choice":
            html = params_html({"name": param}, {}, PREFIX)
            assert len(re.findall(r"<option[^>]* value=", html)) == len(param.choices)


@pytest.mark.parametrize("value", ["x", "", None, [], {}])
def test_a_number_that_is_none_can_be_shown(value: Any) -> None:
    """A value of an infotext that a user wrote: the generation says what is wrong with it, at its field."""
    name = "canny_low_threshold"
    (field,) = shown_params(params_html({name: all_params()[name]}, {name: value}, PREFIX))
    assert field.types == ["number", "range"]
