"""The values of a unit's parameters as one field of the panel."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.blend_fields import blend_values
from lib_ctrlgen.forms.field_errors import mark_of_error
from lib_ctrlgen.forms.field_places import PanelValues
from lib_ctrlgen.forms.param_fields import family_fields, uploaded_fields
from lib_ctrlgen.forms.param_values import (
    PARAM_VALUES,
    read_param_values,
    with_param,
    without_foreign,
    write_param_values,
)
from lib_ctrlgen.forms.preprocessor_fields import param_fields
from lib_ctrlgen.forms.unit_fields import panel_values, read_request, unit_fields, unit_settings
from lib_ctrlgen.preprocessors import params_of
from lib_ctrlgen.preprocessors import preprocessor as preprocessor_named
from lib_ctrlgen.request.catalogue import CONTROLS
from lib_ctrlgen.request.params import Param, check_params
from lib_ctrlgen.request.spec import parse_request, to_payload
from tests.support.unit_values import all_params, unit_values, with_params

NAMES = sorted(all_params())
DEFAULTS = {name: param.default for name, param in all_params().items()}
FAMILIES = [entry.name for entry in CONTROLS]
OWNERS = sorted({owner for owner, _ in param_fields().values()})


def values_of(param: Param) -> st.SearchStrategy[Any]:
    """Every value that a request takes for a parameter."""
    if param.kind == "choice":
        return st.sampled_from(param.choices)
    if param.kind == "bool":
        return st.booleans()
    if param.kind == "text":
        return st.text(max_size=8)
    assert param.minimum is not None
    assert param.maximum is not None
    if param.kind == "int":
        return st.integers(int(param.minimum), int(param.maximum))
    return st.floats(param.minimum, param.maximum)


def some_of(params: dict[str, Param]) -> st.SearchStrategy[dict[str, Any]]:
    """Values of some of these parameters, by field name."""
    return st.fixed_dictionaries({}, optional={name: values_of(param) for name, param in params.items()})


anything = some_of(all_params())


@given(anything)
def test_what_is_written_is_read_again_without_defaults(values: dict[str, Any]) -> None:
    text = write_param_values(values)
    found = read_param_values(text, "$")
    assert found == {name: value for name, value in values.items() if value != DEFAULTS[name]}
    assert DEFAULTS | found == DEFAULTS | values
    assert bool(text) == bool(found)
    assert write_param_values(found) == text


@given(anything, st.sampled_from(NAMES), st.data())
def test_one_parameter_is_set_and_the_others_stay(
    values: dict[str, Any], name: str, data: st.DataObject
) -> None:
    value = data.draw(values_of(all_params()[name]))
    changed = with_param(write_param_values(values), name, value)
    assert DEFAULTS | read_param_values(changed, "$") == DEFAULTS | values | {name: value}
    assert name not in read_param_values(with_param(changed, name, DEFAULTS[name]), "$")


@given(anything, st.sampled_from(FAMILIES))
def test_parameters_of_another_family_are_dropped(values: dict[str, Any], family: str) -> None:
    own = {
        name: value
        for name, value in values.items()
        if name not in family_fields() or family in family_fields()[name][0]
    }
    text = without_foreign(write_param_values(values), family)
    assert text == write_param_values(own)
    assert without_foreign(text, family) == text


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
def test_a_unit_of_a_family_sends_its_parameters_and_gets_them_back(family: str, data: st.DataObject) -> None:
    own = {name: param for name, param in all_params().items() if name in family_fields()}
    own = {name: param for name, param in own.items() if family in family_fields()[name][0]}
    values = data.draw(some_of(own))
    check_round_trip(unit_values(model="m", **values), values)


@pytest.mark.parametrize("owner", OWNERS)
@given(data=st.data())
def test_a_preprocessor_gets_its_parameters_back(owner: str, data: st.DataObject) -> None:
    own = {name: param for name, (each, param) in param_fields().items() if each == owner}
    values = data.draw(some_of(own))
    check_round_trip(unit_values(model="m", preprocessor=owner, **values), values)


def check_round_trip(unit: dict[str, Any], values: dict[str, Any]) -> None:
    """The unit of the request has these values of parameters, and so has the panel that it restores."""
    sent = to_payload(parse_request({"units": [unit_settings(unit, "$")]}).units[0])
    named = {param.name: values.get(name, param.default) for name, param in all_params().items()}
    for name, value in sent.get("params", {}).items():
        assert value == named[name] or value in [values.get(each) for each in NAMES]
    given_back = with_params(panel_values(json.loads(json.dumps(sent))))
    assert {name: given_back[name] for name in NAMES} == DEFAULTS | values
    assert given_back["params"] == ""


WRONG = [
    ("{", "not JSON"),
    ("canny", "not JSON"),
    (5, "not JSON"),
    ("[1]", "JSON object"),
    ("null", "JSON object"),
    ('"canny_low_threshold"', "JSON object"),
    ('{"canny_treshold": 1}', "no parameter 'canny_treshold'"),
    ('{"weight": 1}', "no parameter 'weight'"),
    ('{"low_threshold": 1}', "no parameter 'low_threshold'"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_no_value_of_parameters_is_an_error_of_its_unit(text: Any, words: str) -> None:
    unit = unit_fields() | {"enabled": True, "model": "edges", PARAM_VALUES: text}
    panel = ["", "", "", "", *blend_values(None), *unit_fields().values(), *unit.values()]
    with pytest.raises(RequestError, match=words) as caught:
        read_request(panel)
    assert caught.value.path == "$.units[1].params"
    with pytest.raises(RequestError, match=words) as read:
        read_param_values(text, "$.units[1].params")
    assert read.value.path == "$.units[1].params"


def test_an_unused_unit_has_no_text() -> None:
    for text in ("", None, "{}"):
        assert read_param_values(text, "$") == {}
    assert write_param_values(DEFAULTS) == ""
    assert write_param_values(dict.fromkeys(uploaded_fields())) == ""
    assert unit_fields()[PARAM_VALUES] == panel_values({"model": "a"})[PARAM_VALUES] == ""


def test_no_parameter_has_a_field_of_its_own() -> None:
    """A parameter that is uploaded has: the page keeps no file in a text."""
    assert not unit_fields().keys() & all_params().keys()
    assert not panel_values({"model": "a"}).keys() & {*param_fields(), *family_fields()}
    assert {*param_fields(), *family_fields()} & unit_fields().keys() == set(uploaded_fields())


@pytest.mark.parametrize(
    ("name", "value", "preprocessor"),
    [
        ("canny_low_threshold", 999, "canny"),
        ("canny_low_threshold", "x", "canny"),
        ("canny_low_threshold", 50.5, "canny"),
        ("openpose_json_body", "no", "openpose_json"),
    ],
)
def test_a_wrong_value_is_marked_at_its_field(name: str, value: Any, preprocessor: str) -> None:
    unit = unit_values(enabled=True, model="edges", preprocessor=preprocessor, **{name: value})
    params = unit_settings(unit, "$.units[0]")["params"]
    with pytest.raises(RequestError) as caught:
        check_params(params, params_of(preprocessor_named(preprocessor)), "$.units[0].params")
    mark = mark_of_error(caught.value, PanelValues(units={0: unit}))
    assert mark.elements[0] == f"ctrlgen_{{tab}}_unit0_{name}"
    assert mark.label == f"Unit 0, {all_params()[name].label}"
