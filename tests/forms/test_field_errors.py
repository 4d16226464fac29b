"""Errors in the panel's words, and the errors of every unit at once."""

import json
from typing import Any

import pytest

from lib_ctrlgen.errors import HostError, ModelError, RequestError
from lib_ctrlgen.forms.blend_fields import COUNT
from lib_ctrlgen.forms.field_errors import in_order, mark_of, mark_of_error, marks_json, other_errors
from lib_ctrlgen.forms.unit_fields import stated_request, unit_fields
from lib_ctrlgen.request.spec import ControlUnit


def panel(*units: dict[str, Any], **whole: str) -> list[Any]:
    """The values of a panel with these fields in its units, all of them enabled."""
    values: list[Any] = [whole.get(name, "") for name in ("cfg_scale", "hires_cfg_scale", "prompt_weights")]
    values += [None] * COUNT
    for unit in units:
        values += (unit_fields() | {"enabled": True, "model": "edges"} | unit).values()
    return values


def first_error(values: list[Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        stated_request(["", *values])
    return caught.value


def accepted(_unit: ControlUnit, _path: str) -> None:
    return None


@pytest.mark.parametrize(
    ("path", "message", "sentence"),
    [
        ("$.units[0].weight", "is wrong", "Unit 0, Weight: is wrong."),
        (
            "$.units[2].image",
            "a unit needs a picture: choose one (in the API: base64 or a data URL), or switch the unit off",
            "Unit 2, Picture: a unit needs a picture: choose one, or switch the unit off.",
        ),
        (
            "$.units[0].model",
            "is required: name a model file, or switch the unit off (enabled: false)",
            "Unit 0, Model: is required: name a model file, or switch the unit off.",
        ),
        (
            "$.units[0].images",
            "is there beside 'image': give one of them",
            "Unit 0, Pictures for a batch: is there beside 'Picture': give one of them.",
        ),
        ("$.units[1].model", "as $.units[0].model", "Unit 1, Model: as Unit 0, Model."),
        ("$.blend.concepts", "expected `array` of length >= 2", "Blend: a blend needs two concepts"),
        ("$.prompt", "expected a weight", "Prompt: expected a weight."),
        ("$.alwayson_scripts.ControlNet.args[0].module", "unknown", "$.alwayson_scripts.ControlNet.args[0]"),
        (
            "$.tune.x.values[0]",
            "abc: expected a number (at $.units[0].weight)",
            "Across (X), Values: abc: expected a number (at Unit 0, Weight).",
        ),
        (
            "$.tune",
            "500 are too many: switch on 'force' (in the API force: true)",
            "Allow more than 400 pictures: 500 are too many: switch on 'Allow more than 400 pictures'.",
        ),
        (
            "$.tune.auto.ranges",
            "expected `array` of length >= 1",
            "Across (X): choose what varies.",
        ),
        ("$.recipe.name", "there is no recipe 'x'", "Recipe: there is no recipe 'x'."),
        ("$", "too large", "too large."),
        ("$.units[0].model", "no model named 'my_canny'", "Unit 0, Model: no model named 'my_canny'."),
    ],
)
def test_sentences_have_labels_instead_of_paths(path: str, message: str, sentence: str) -> None:
    assert mark_of(path, message).sentence.startswith(sentence)


def test_a_schedule_that_cannot_be_read_comes_with_an_example() -> None:
    error = first_error(panel({"weight_schedule": "1@0 smoth, 0@1"}))
    said = mark_of_error(error).sentence
    assert "nearest: smooth" in said
    assert said.endswith("; for example 0.8, or 1@0, 1@0.3, 0@0.6.")


@pytest.mark.parametrize("error", [HostError("SD Unet is on"), ModelError("is damaged")])
def test_an_error_without_a_path_is_for_the_whole_panel(error: Exception) -> None:
    mark = mark_of_error(error)
    assert (mark.elements, mark.unit) == (("ctrlgen_{tab}_panel",), None)
    assert mark.sentence == f"{error}."


def test_each_unit_is_read_for_itself() -> None:
    values = panel(
        {"weight_schedule": "x"}, {}, {"model": "None"}, {"guidance_start": 0.9, "guidance_end": 0.1},
        {"enabled": False, "model": "None"}, cfg_scale="99",
    )  # fmt: skip
    error = first_error(values)
    assert error.path == "$.cfg_scale" or error.path.startswith("$.units[")
    found = in_order([error, *other_errors(values, error, accepted)])
    assert [mark_of_error(each).unit for each in found] == [None, 0, 2, 3]
    paths = {vars(each)["path"] for each in found}
    units = {"$.units[0].weight", "$.units[2].model", "$.units[3].guidance_start"}
    assert paths == units | {"$.cfg_scale"}
    assert len(found) == 4


def test_a_unit_that_can_be_read_is_checked() -> None:
    def check(unit: ControlUnit, path: str) -> None:
        raise RequestError(f"{path}.model", f"no model named {unit.model!r}")

    values = panel({}, {"model": "depth"})
    first = RequestError("$.units[0].image", "is not there")
    (other,) = other_errors(values, first, check)
    assert (other.path, other.message) == ("$.units[1].model", "no model named 'depth'")


def test_a_unit_that_is_right_has_no_error() -> None:
    assert other_errors(panel({}, {}), RequestError("$.units[0]", "x"), accepted) == ()


def test_marks_are_json_for_the_page() -> None:
    (mark,) = json.loads(marks_json([mark_of("$.units[0].mask", "is black", warning=True)]))
    assert mark == {
        "elements": ["ctrlgen_{tab}_unit0_mask"], "sentence": "Unit 0, Mask: is black.",
        "text": "Is black.", "unit": 0, "warning": True,
    }  # fmt: skip
