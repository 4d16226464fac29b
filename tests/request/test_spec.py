"""Any JSON is a valid request or a RequestError with a path."""

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.catalogue import control_names, preprocessor_names, without_model
from lib_ctrlgen.request.sampler_names import sampler_names
from lib_ctrlgen.request.schedule import parse_schedule
from lib_ctrlgen.request.spec import (
    ControlRequest,
    ControlUnit,
    GenerationRequest,
    json_schema,
    parse_json,
    parse_request,
    to_payload,
)
from tests.support.properties import examples

KINDS = (ControlRequest, GenerationRequest)
TRAPS = [
    *(math.nan, math.inf, -math.inf, 10**400, 2**64, -0.0, 0.1, 64.0, True),
    *(
        "",
        "\ud800",
        "\udfff`",
        "` - at `$.units[0]",
        "x` - at `$.foo",
        "a.b\n",
        "$",
        "1>0",
        "1@0, 2@x",
        "\x00",
    ),
]

weights = st.one_of(
    st.floats(-2, 2),
    st.integers(-2, 2),
    st.sampled_from(
        ["1>0.2", "1@0, 0.6@0.4 ease-in, 0@1", "0.5@0.3", "0.5 * 2", "1 in 0.2..0.4", "1@0 smooth"]
    ),
)
text = st.text(max_size=8)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(TRAPS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def units(draw: st.DrawFn) -> dict[str, Any]:
    start, end = sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    window = {"guidance_start": start, "guidance_end": end}
    optional = {
        "image": text,
        "control": st.sampled_from(control_names()),
        "enabled": st.booleans(),
        "preprocessor": st.sampled_from(preprocessor_names()),
        "params": st.dictionaries(
            text,
            st.booleans()
            | st.integers(-(2**53), 2**53)
            | st.floats(allow_nan=False, allow_infinity=False)
            | text,
        ),
        "weight": weights,
        "control_mode": st.sampled_from(["balanced", "prompt", "control"]),
        "resize_mode": st.sampled_from(["just_resize", "crop_and_resize", "resize_and_fill"]),
        "layer_weights": st.none() | st.lists(weights, max_size=3),
        "mask": text,
    }
    unit = draw(st.fixed_dictionaries({k: st.just(v) for k, v in window.items()}, optional=optional))
    return unit | {"model": "" if without_model(unit.get("control", "auto")) else f"m{draw(text)}"}


sizes = st.integers(8, 512).map(lambda eighth: 8 * eighth)
generations = st.fixed_dictionaries(
    {"units": st.lists(units(), max_size=2)},
    optional={
        "model": text,
        "prompt": text,
        "negative_prompt": text,
        "width": sizes,
        "height": sizes,
        "steps": st.integers(3, 1000),  # all samplers take three
        "cfg_scale": st.floats(1, 30),
        "sampler": st.sampled_from(sampler_names()),
        "seed": st.integers(-1, 2**32 - 1),
        "batch_size": st.integers(1, 64),
    },
)


@examples(50)
@given(generations)
def test_a_valid_request_round_trips(payload: dict[str, Any]) -> None:
    request = parse_request(payload, GenerationRequest)
    again = to_payload(request)
    assert parse_request(again, GenerationRequest) == request
    assert parse_json(json.dumps(again), GenerationRequest) == request


@examples(40)
@given(generations)
def test_the_schema_describes_what_is_accepted(payload: dict[str, Any]) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(json_schema(GenerationRequest))
    assert validator.is_valid(payload)
    assert validator.is_valid(to_payload(parse_request(payload, GenerationRequest)))


@given(anything, st.sampled_from(KINDS))
def test_any_json_is_a_request_or_an_error_with_a_path(payload: object, kind: type[ControlRequest]) -> None:
    check(payload, kind)


@examples(50)
@given(st.data(), generations)
def test_any_damage_to_a_request_is_found_or_harmless(data: st.DataObject, payload: dict[str, Any]) -> None:
    place: Any = payload
    while True:
        keys = list(range(len(place))) if isinstance(place, list) else list(place)
        key = data.draw(st.sampled_from(keys) if keys else text)
        inner = place[key] if keys else None
        if not (isinstance(inner, (dict, list)) and inner and data.draw(st.booleans())):
            break
        place = inner
    if isinstance(place, dict) and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(TRAPS).filter(lambda trap: isinstance(trap, str)) | text)
    if isinstance(place, dict) or keys:
        place[key] = data.draw(anything)
    check(payload, GenerationRequest)


def check(payload: object, kind: type[ControlRequest]) -> None:
    """Parse; a request must round-trip, an error must have a path and be sendable."""
    try:
        request = parse_request(payload, kind)
    except RequestError as error:
        caught = error
    else:
        assert parse_json(json.dumps(to_payload(request)), kind) == request
        return
    assert caught.path.startswith("$")
    assert caught.message
    assert str(caught).encode().decode() == f"{caught.path}: {caught.message}"


@pytest.mark.parametrize(
    ("unit", "path", "message"),
    [
        ({"model": "m", "wieght": 1}, "$.units[1].wieght", "unknown field (nearest: weight,"),
        ({"model": "m", "weight": "1@2"}, "$.units[1].weight", "progress must be in 0..1 at character 3"),
        ({"model": "m", "weight": None}, "$.units[1].weight", "expected a number or a schedule text"),
        ({"model": "m", "layer_weights": [1, "x"]}, "$.units[1].layer_weights[1]", "expected a value"),
        (
            {"model": "m", "control_mode": "ballanced"},
            "$.units[1].control_mode",
            "choices: balanced, prompt, control",
        ),
        ({"model": "m", "guidance_start": 1.5}, "$.units[1].guidance_start", "<= 1.0"),
        (
            {"model": "m", "guidance_start": 0.9, "guidance_end": 0.5},
            "$.units[1].guidance_start",
            "must not be after guidance_end",
        ),
        ({"model": "m", "params": {"low": math.nan}}, "$.units[1].params.low", "must be a finite number"),
        ({"model": "a\ud800"}, "$.units[1].model", "not valid Unicode"),
        ({"model": "m", "image": None}, "$.units[1].image", "expected `str`"),
        ({}, "$.units[1].model", "is required"),
        (3, "$.units[1]", "expected `object`"),
    ],
)
def test_an_error_names_the_place_and_what_would_be_right(unit: object, path: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({"units": [{"model": "m"}, unit]})
    assert caught.value.path == path
    assert message in caught.value.message
    assert caught.value.status_code == 422


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        1,
        {1: 2},
        {"units": {}},
        {"units": [{"model": "m"}] * 65},
        {"units": [{"model": "m", "weight": 10**4000}]},
    ],
)
def test_wrong_shapes_are_errors(payload: object) -> None:
    check(payload, ControlRequest)
    with pytest.raises(RequestError):
        parse_request(payload)


@pytest.mark.parametrize(
    "source", ["", "{", "[" * 100_000, '{"units": 1e999}', b"\xff\xfe", "\ud800", "9" * 5000]
)
def test_what_is_not_json_is_an_error(source: str | bytes) -> None:
    with pytest.raises(RequestError, match=r"^\$"):
        parse_json(source)


@pytest.mark.parametrize("field", ["units", "weight", "image", "params", "layer_weights"])
def test_deep_nesting_is_an_error(field: str) -> None:
    deep: Any = []
    for _ in range(20_000):
        deep = [deep]
    check({"units": deep} if field == "units" else {"units": [{"model": "m", field: deep}]}, ControlRequest)


def test_a_unit_knows_its_schedule_and_a_request_its_enabled_units() -> None:
    request = parse_request(
        {"units": [{"model": "a", "enabled": False}, {"model": "b", "weight": "1>0", "guidance_end": 0.5}]}
    )
    ((index, unit),) = request.enabled_units
    assert (index, unit.model) == (1, "b")
    assert unit.schedule.sample(4) == (1.0, 0.75, 0.0, 0.0)
    assert unit.weight == parse_schedule("1>0")


def test_the_schema_names_every_field_and_its_bounds() -> None:
    definitions = json_schema()["$defs"]
    assert set(definitions["ControlUnit"]["properties"]) == set(ControlUnit.__struct_fields__)
    assert definitions["GenerationRequest"]["properties"]["width"]["multipleOf"] == 8
    assert re.match("One control", definitions["ControlUnit"]["description"])
    json.dumps(definitions)
