"""A unit of the panel as a text that is the unit of a request, and back."""

import json
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.forms.unit_text import read_unit_text, unit_text
from lib_ctrlgen.images.files import decode_image, encode_image, image_hash
from lib_ctrlgen.request.spec import parse_request
from tests.support.poses import document
from tests.support.unit_values import unit_values, with_params

RED, BLUE = (Image.new("RGB", (8, 16), name) for name in ("red", "blue"))
SET = {
    "enabled": True,
    "model": "edges",
    "image": RED,
    "preprocessor": "canny | invert",
    "canny_low_threshold": 50,
    "weight_schedule": "1@0, 0@1",
    "hires": "0.5",
    "guidance_end": 0.75,
    "control_mode": "control",
    "mask": BLUE,
    "mask_feather": 3.0,
    "layer_weights": "1.0; 0.5",
    "params": '{"own": 1}',
    "low_vram": "on",
}


def written(**values: Any) -> Any:
    return json.loads(unit_text(unit_values(**SET | values), 1, pictures=True))


def test_the_text_is_a_unit_of_a_request() -> None:
    unit = written()
    assert parse_request({"units": [unit]}).units[0].weight(0.5) == 0.5
    assert decode_image(unit["image"], "").getpixel((0, 0)) == (255, 0, 0)
    assert "enabled" not in unit
    assert written(enabled=False)["enabled"] is False


def test_a_text_restores_every_field() -> None:
    found = read_unit_text(json.dumps(written()))
    shown = with_params(found.values)
    assert {name: shown[name] for name in SET if name not in {"image", "mask", "weight_schedule"}} == {
        name: value for name, value in SET.items() if name not in {"image", "mask", "weight_schedule"}
    }
    again = unit_fields() | found.values | {name: found.pictures[name] for name in ("image", "mask")}
    assert json.loads(unit_text(again, 0, pictures=True)) == written()
    assert read_unit_text(json.dumps({"units": [written()]})) == found


def test_without_pictures_the_text_has_hashes() -> None:
    values = unit_values(**SET, references=[encode_image(BLUE)], reference_weights="0.5")
    text = unit_text(values, 0, pictures=False)
    assert json.loads(text)["image"] == f"sha:{image_hash(RED)}"
    assert "base64" not in text
    found = read_unit_text(text)
    assert found.missing == {
        "image": f"sha:{image_hash(RED)}",
        "mask": f"sha:{image_hash(BLUE)}",
        "references[0].image": f"sha:{image_hash(BLUE)}",
    }
    assert not found.pictures
    assert not found.files


def test_poses_and_lists_of_pictures_come_back() -> None:
    pose = json.dumps(document())
    unit = {"model": "pose", "preprocessor": "openpose_json", "image": pose}
    assert json.loads(read_unit_text(json.dumps(unit)).values["pose"])["people"]
    texts = [encode_image(RED), encode_image(BLUE)]
    references = [{"image": texts[1], "weight": 0.5}, {"image": texts[0], "role": "negative"}]
    found = read_unit_text(json.dumps({"model": "ip", "images": texts, "references": references}))
    assert [file.name for file in found.files["images"]] == ["000.png", "001.png"]
    assert len(found.files["references"]) == 1
    assert found.values["reference_weights"] == "0.5"
    assert decode_image(found.pictures["negative_image"], "").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("no JSON", "$"),
        ("[]", "$"),
        ("{}", "$"),
        ('{"units": [{"model": "a"}, {"model": "b"}]}', "$.units"),
        ('{"model": "a", "weight": "1@x"}', "$.units[0].weight"),
        ('{"model": "a", "image_from": "last"}', "$.units[0].image_from"),
        ('{"model": "a", "image": "http://host/picture.png"}', "$.units[0].image"),
        ('{"model": "a", "unknown": 1}', "$.units[0].unknown"),
    ],
)
def test_what_the_panel_cannot_show_is_an_error(text: str, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_unit_text(text)
    assert caught.value.path == path


def test_a_unit_without_a_model_has_no_text() -> None:
    with pytest.raises(RequestError, match="choose a model"):
        unit_text(unit_fields(), 2, pictures=True)
