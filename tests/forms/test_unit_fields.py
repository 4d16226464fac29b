"""The panel's values are converted to a request and back."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.controls.registry import controls
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.blend_fields import (
    BLEND_FIELDS,
    CONCEPT_FIELDS,
    blend_settings,
    blend_values,
    painted_mask,
)
from lib_ctrlgen.forms.param_fields import uploaded_fields
from lib_ctrlgen.forms.preprocessor_fields import detects, names_in, param_fields
from lib_ctrlgen.forms.unit_fields import (
    PICTURE_FIELDS,
    panel_units,
    panel_values,
    read_request,
    split_values,
    unit_fields,
    unit_settings,
)
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.request.catalogue import CONTROLS
from lib_ctrlgen.request.spec import parse_request, to_payload
from tests.support.unit_values import all_params, unit_values, with_params

PICTURE = Image.new("RGB", (8, 8), "red")
SHOWN = with_params(unit_fields()).keys() - PICTURE_FIELDS - uploaded_fields().keys()


def values(**fields: Any) -> dict[str, Any]:
    return unit_values(**{"enabled": True, "model": "edges", "image": PICTURE, **fields})


def args(*units: dict[str, Any]) -> list[Any]:
    return ["", "", "", "", *blend_values(None), *(value for unit in units for value in unit.values())]


def test_a_panel_with_nothing_enabled_is_an_empty_request() -> None:
    assert read_request(args(unit_fields(), unit_fields())).units == ()


def test_an_enabled_unit_becomes_the_same_unit_of_the_request() -> None:
    request = read_request(args(unit_fields(), values(preprocessor="canny", canny_low_threshold=50)))
    unit = request.units[1]
    assert request.enabled_units == ((1, unit),)
    assert (unit.model, unit.preprocessor, unit.params["low_threshold"]) == ("edges", "canny", 50)
    assert unit.image.startswith("data:image/png;base64,")


def test_a_schedule_replaces_the_slider() -> None:
    (unit,) = read_request(args(values(weight=0.3, weight_schedule=" 1@0, 0@1 "))).units
    assert str(unit.weight) == "1@0, 0@1"
    (unit,) = read_request(args(values(weight=0.3))).units
    assert unit.weight.constant == 0.3


def test_only_the_chosen_preprocessors_parameters_are_sent() -> None:
    assert read_request(args(values(preprocessor="none"))).units[0].params == {}


def test_a_disabled_unit_is_not_checked() -> None:
    off = unit_fields() | {"weight_schedule": "nonsense", "model": "edges"}
    assert len(read_request(args(off, values())).enabled_units) == 1


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"model": "None"}, "$.units[1].model", "choose a model"),
        ({"weight_schedule": "1@"}, "$.units[1].weight", "progress"),
        ({"use_init_image": True}, "$.units[1].image_from", "no img2img picture"),
        ({"images": [PICTURE], "image": PICTURE}, "$.units[1].images", "beside"),
        ({"images": [{"name": "/etc/passwd"}]}, "$.units[1].images", "base64"),
        ({"params": "{"}, "$.units[1].params", "JSON"),
        ({"params": "[1]"}, "$.units[1].params", "JSON object"),
        ({"guidance_start": 0.9, "guidance_end": 0.1}, "$.units[1]", "guidance_start"),
        ({"layer_weights": "1; x"}, "$.units[1].layer_weights[1]", "value"),
    ],
)
def test_an_error_of_the_panel_names_the_unit_and_the_field(
    fields: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        read_request(args(unit_fields(), values(**fields)))
    assert caught.value.path.startswith(path)


def test_the_init_image_is_used_only_when_asked_for() -> None:
    init = Image.new("RGB", (16, 16), "blue")
    asked = read_request(args(values(image=None, use_init_image=True)), [init]).units[0]
    assert (asked.image_from, asked.image) == ("init", encode_image(init))
    unasked = read_request(args(values(image=None)), [init]).units[0]
    assert (unasked.image_from, unasked.image) == ("request", ""), "refused when it is loaded"


def test_over_rest_a_unit_says_that_it_wants_the_init_images() -> None:
    inits = [Image.new("RGB", (16, 16), colour) for colour in ("blue", "red")]
    texts = tuple(map(encode_image, inits))
    unit = {"model": "edges", "image_from": "init"}
    several = read_request([{"units": [unit]}], inits, 4).units[0]
    assert several.images == (*texts, *texts)
    assert read_request([{"units": [unit]}], inits[:1] * 2, 4).units[0].image == texts[0]
    again = read_request([to_payload(parse_request({"units": [unit | {"images": texts}]}))], inits, 2)
    assert again.units[0].images == texts, "a tuner's cell says what was filled in already"
    with pytest.raises(RequestError, match="has a picture") as caught:
        read_request([{"units": [unit | {"image": texts[1]}]}], inits[:1])
    assert caught.value.path == "$.units[0].image_from"
    with pytest.raises(RequestError, match="no img2img picture"):
        read_request([{"units": [unit]}])


class Upload:
    """What gradio 3.41 hands over: an open file with the name that the user knows."""

    def __init__(self, path: Path, orig_name: str) -> None:
        self.name, self.orig_name = str(path), orig_name


def test_uploaded_files_come_by_their_names(tmp_path: Path) -> None:
    colours = ["red", "green", "blue"]
    for k, colour in enumerate(colours):
        Image.new("RGB", (4, 4), colour).save(tmp_path / f"{k}.png")
    files = [Upload(tmp_path / f"{k}.png", f"/tmp/x{k}/{'cab'[k]}.png") for k in range(3)]
    unit = read_request(args(values(image=None, images=files, masks=files[:1]))).units[0]
    found = [decode_image(text, "").getpixel((0, 0)) for text in unit.images]
    assert found == [(0, 128, 0), (0, 0, 255), (255, 0, 0)]
    assert len(unit.masks) == 1
    (tmp_path / "0.png").unlink()
    with pytest.raises(RequestError, match="upload it again"):
        read_request(args(values(image=None, images=files)))
    with pytest.raises(RequestError, match="base64"):  # a text is never a path
        decode_image(read_request(args(values(image=None, images=[files[1].name]))).units[0].images[0], "")


@pytest.mark.parametrize("payload", [{"units": [{"model": "a", "image": "aGk="}]}, {"units": []}, {}])
def test_a_dict_in_the_first_place_is_the_request(payload: dict[str, Any]) -> None:
    ignored = args(values())[1:]
    assert read_request([payload, *ignored]) == parse_request(payload)
    assert read_request([payload]) == parse_request(payload)
    assert read_request([json.dumps(payload), *ignored]) == parse_request(payload)


@pytest.mark.parametrize("first", ["nonsense", 5, True, [{"model": "a"}], {"model": "a"}, "[]", {"units": 1}])
def test_a_first_argument_that_is_no_request_is_refused(first: Any) -> None:
    with pytest.raises(RequestError):
        read_request([first, *args(unit_fields())[1:]])


def test_units_sent_one_by_one_are_refused() -> None:
    with pytest.raises(RequestError, match="units"):
        read_request([{"units": []}, {"units": []}])


def test_a_rest_client_may_send_a_picture_as_text() -> None:
    assert read_request(args(values(image="aGk="))).units[0].image == "aGk="


def test_split_values_takes_a_short_last_unit() -> None:
    (unit,) = split_values(["", "", "", *blend_values(None), True])
    assert unit["enabled"] is True
    assert unit["model"] == "None"
    assert panel_units([]) == []


numbers = st.integers(0, 40).map(lambda i: i / 20)
schedules = st.sampled_from(["", "1@0, 0.2@1", "1@0, 0.6@0.4 smooth, 0@1", "1 in 0..0.5"])


@given(
    st.fixed_dictionaries(
        {
            "weight": numbers,
            "weight_schedule": schedules,
            "hires": schedules,
            "guidance_end": st.sampled_from([0.5, 1.0]),
            "control_mode": st.sampled_from(["balanced", "prompt", "control"]),
            "preprocessor": st.sampled_from(["none", "canny", "invert", "canny | invert"]),
            "canny_low_threshold": st.integers(1, 255),
            "resolution": st.sampled_from([0, 64, 512]),
            "inpaint_crop": st.booleans(),
            "mask_feather": numbers,
            "layer_weights": st.sampled_from(["", "1.0; 0.5", "1@0, 0@1; 0.5"]),
            "params": st.sampled_from(["", '{"other": "a"}']),
            "ip_adapter_image_encoder": st.sampled_from(["", "a"]),
        }
    )
)
def test_the_panel_is_restored_from_what_it_sent(fields: dict[str, Any]) -> None:
    given = values(**fields)
    request = parse_request({"units": [unit_settings(given, "$")]})
    sent, shown = with_params(given), with_params(panel_values(to_payload(request.units[0])))
    for name, (owner, _) in param_fields().items():
        if owner not in names_in(sent["preprocessor"]):
            sent[name] = all_params()[name].default
    if not detects(sent["preprocessor"]):
        sent["resolution"] = 0
    if sent["weight_schedule"]:
        sent["weight"] = 1.0
    assert shown == {name: sent[name] for name in SHOWN}


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        ({"union_type": "depth"}, {"controlnet_union_union_type": "depth", "params": ""}),
        ({"transparent": "holes"}, {"control_lora_transparent": "holes", "params": ""}),
        ({"image_encoder": "a"}, {"ip_adapter_image_encoder": "a", "params": ""}),
        ({"union_type": "x"}, {"controlnet_union_union_type": "auto", "params": '{"union_type": "x"}'}),
        ({"other": 1}, {"params": '{"other": 1}'}),
    ],
)
def test_parameters_of_a_family_have_own_fields(params: dict[str, Any], shown: dict[str, Any]) -> None:
    found = panel_values({"model": "a", "params": params})
    assert shown.items() <= with_params(found).items()
    assert unit_settings(values() | found, "$")["params"] == params


def test_the_catalogue_names_the_parameters_of_each_family() -> None:
    """The panel reads them there, so that it needs not import the families."""
    assert [entry.params for entry in CONTROLS] == [family.params for family in controls()]


def test_defaults_of_a_family_are_not_sent() -> None:
    """The model may be of another family, which would refuse them."""
    assert unit_settings(values(), "$")["params"] == {}


def test_a_weight_that_the_slider_cannot_show_becomes_a_schedule() -> None:
    shown = panel_values({"model": "a", "weight": 5})
    assert (shown["weight"], shown["weight_schedule"]) == (1.0, "5")


def test_a_blend_of_the_panel_and_back() -> None:
    words = blend_values(None)
    words[0] = "saliency"
    first, size = len(BLEND_FIELDS), len(CONCEPT_FIELDS)
    for index, fields in enumerate(({"prompt": "a", "weight": "1>0"}, {}, {"prompt": "b", "mask": PICTURE})):
        concept = CONCEPT_FIELDS | fields | {"used": bool(fields)}
        words[first + index * size : first + (index + 1) * size] = concept.values()
    request = read_request(["", "", "", "", *words, *unit_fields().values()])
    assert request.blend is not None
    assert [concept.prompt for concept in request.blend.concepts] == ["a", "b"]
    assert request.blend.concepts[1].mask.startswith("data:image/png")
    payload = to_payload(request)["blend"]
    shown = blend_values(payload)
    again = blend_settings(shown, pictures=True)["blend"]
    payload["concepts"][1].pop("mask")
    assert parse_request({"blend": again}) == parse_request({"blend": payload})
    assert blend_values("broken") == blend_values({"mode": "prediction", "concepts": 3})[:0] + blend_values(
        None
    )


def test_a_painted_mask_is_white_where_the_brush_was() -> None:
    canvas = Image.new("RGBA", (8, 8), (255, 255, 255, 255))
    assert painted_mask(canvas) is None
    assert painted_mask(None) is None
    assert painted_mask(Image.new("RGBA", (8, 8), (0, 0, 0, 0))) is None
    canvas.paste("black", (0, 0, 4, 8))
    mask = painted_mask(canvas)
    assert mask is not None
    assert (mask.getpixel((1, 1)), mask.getpixel((6, 1))) == (255, 0)
    words = blend_values({"mode": "prediction", "concepts": [{"prompt": "a"}, {"prompt": "b"}]})
    names = list(CONCEPT_FIELDS)
    words[len(BLEND_FIELDS) + names.index("painted")] = canvas
    request = read_request(["", "", "", "", *words])
    assert request.blend is not None
    assert decode_image(request.blend.concepts[0].mask, "").convert("L").getpixel((1, 1)) == 255
    words[len(BLEND_FIELDS) + names.index("mask")] = PICTURE
    with pytest.raises(RequestError, match="remove one") as caught:
        read_request(["", "", "", "", *words])
    assert caught.value.path == "$.blend.concepts[0].mask"
