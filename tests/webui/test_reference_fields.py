"""The panel's fields of further references: to a request and back."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.blend_fields import blend_values
from lib_ctrlgen.forms.param_fields import family_fields
from lib_ctrlgen.forms.unit_fields import panel_values, read_request
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.request.spec import ControlUnit, parse_request, to_payload
from tests.support.unit_values import unit_values, with_params

RED, GREEN, BLUE = (Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue"))


def unit_of(**fields: Any) -> ControlUnit:
    values = unit_values(**{"enabled": True, "model": "adapter", "image": RED, **fields})
    return read_request(["", "", "", "", *blend_values(None), *values.values()]).units[0]


def colour(text: str) -> Any:
    return decode_image(text, "").getpixel((0, 0))


def test_uploads_become_references_with_their_weights(tmp_path: Path) -> None:
    for name, picture in (("b", GREEN), ("a", BLUE)):
        picture.save(tmp_path / f"{name}.png")
    uploads = [SimpleNamespace(name=str(tmp_path / f"{name}.png")) for name in ("b", "a")]
    unit = unit_of(
        references=uploads,
        reference_weights="0.5; 1>0",
        combine="average",
        composition_image=GREEN,
        negative_image=encode_image(RED),
    )
    found = [(colour(each.image), str(each.weight), each.role) for each in unit.references]
    assert found == [
        ((0, 0, 255), "0.5", "reference"),
        ((0, 255, 0), "1@0, 0@1", "reference"),
        ((0, 255, 0), "1", "composition"),
        ((255, 0, 0), "1", "negative"),
    ]
    assert unit.combine == "average"
    short = unit_of(references=[BLUE, GREEN], reference_weights=" ; 2")
    assert [str(each.weight) for each in short.references] == ["1", "2"]
    assert unit_of().references == ()


def test_more_weights_than_pictures_are_refused() -> None:
    with pytest.raises(RequestError, match="2 weights for 1") as caught:
        unit_of(references=[BLUE], reference_weights="1; 2")
    assert caught.value.path == "$.units[0].references"
    with pytest.raises(RequestError) as wrong:
        unit_of(references=[BLUE], reference_weights="1>")
    assert wrong.value.path == "$.units[0].references[0].weight"


def test_an_infotext_restores_what_is_no_picture() -> None:
    # a field is named after the first family that takes it
    names = {
        param.name: name for name, (families, param) in family_fields().items() if "ip_adapter" in families
    }
    layers = {names["weight_type"]: "style transfer", names["tiles"]: 4}
    pictures = {"references": [BLUE, GREEN], "negative_image": RED}
    unit = unit_of(**pictures, **layers, reference_weights="1>0", combine="max")
    payload = json.loads(json.dumps(to_payload(parse_request({"units": [to_payload(unit)]}).units[0])))
    shown = with_params(panel_values(payload))
    assert shown["reference_weights"] == "1@0, 0@1; 1"
    assert shown["combine"] == "max"
    assert layers.items() <= shown.items()
    assert not {"references", "composition_image", "negative_image"} & shown.keys()
    assert panel_values({"model": "a", "references": "broken"})["reference_weights"] == ""
