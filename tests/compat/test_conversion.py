"""Each field of a unit of sd-webui-controlnet against the request that is expected of it, written by hand."""

import base64
import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.compat.conversion import converted
from lib_ctrlgen.compat.generation import Generation
from lib_ctrlgen.compat.unit import ControlNetUnit, MaskedImage
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.semantics import ControlNetSemantics
from lib_ctrlgen.request.spec import ControlUnit, to_payload

SD15 = Generation(family="sd15", width=512, height=768)
PATH = "$.alwayson_scripts.ControlNet.args[0]"


def encoded(picture: Image.Image) -> str:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


PICTURE = encoded(Image.new("RGB", (100, 200), "red"))
SMALL = encoded(Image.new("L", (9, 9)))
CANNY = ControlNetUnit(module="canny", model="edges [0a1b2c3d]", images=(MaskedImage(image=PICTURE),))
EXPECTED = {
    "model": "edges [0a1b2c3d]",
    "image": PICTURE,
    "preprocessor": "canny",
    "params": {"low_threshold": 100, "high_threshold": 200},
    "semantics": {"resolution": 512},
}


def unit_of(unit: ControlNetUnit, generation: Generation = SD15) -> ControlUnit:
    (found,) = converted([unit], generation, Notices()).units
    return found


def payload(generation: Generation = SD15, **fields: Any) -> dict[str, Any]:
    return to_payload(unit_of(replace(CANNY, **fields), generation))


def masked(*values: int) -> tuple[MaskedImage, ...]:
    """The picture with a mask of stripes of these grey values."""
    mask = Image.new("L", (100, 200))
    for place, value in enumerate(values):
        mask.paste(value, (place * 100 // len(values), 0, 100, 200))
    return (MaskedImage(image=PICTURE, mask=encoded(mask)),)


def test_a_plain_unit() -> None:
    assert payload() == EXPECTED


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"weight": 0.7}, {"weight": 0.7, "semantics": {"resolution": 512, "weight": 0.7}}),
        ({"guidance_start": 0.1, "guidance_end": 0.5}, {"guidance_start": 0.1, "guidance_end": 0.5}),
        ({"control_mode": "My prompt is more important"}, {"control_mode": "prompt"}),
        ({"control_mode": "ControlNet is more important"}, {"control_mode": "control"}),
        ({"resize_mode": "Just Resize"}, {"resize_mode": "just_resize"}),
        ({"resize_mode": "Resize and Fill"}, {"resize_mode": "resize_and_fill"}),
        ({"low_vram": True}, {"low_vram": True}),
        ({"inpaint_crop_input_image": False}, {"inpaint_crop": False}),
        ({"processor_res": 768}, {"semantics": {"resolution": 768}}),
        ({"processor_res": 32}, {}),
        ({"threshold_a": 64.0, "threshold_b": 300}, {"params": {"low_threshold": 64, "high_threshold": 200}}),
        ({"pixel_perfect": True}, {}),
        (
            {"pixel_perfect": True, "resize_mode": "Resize and Fill"},
            {"resize_mode": "resize_and_fill", "semantics": {"resolution": 384}},
        ),
        ({"union_control_type": "Hard Edge"}, {"semantics": {"resolution": 512, "union_type": "canny"}}),
        ({"hr_option": "Low res only"}, {}),
        ({"save_detected_map": False}, {}),
        ({"advanced_weighting": (0.5, 0.0)}, {"layer_weights": [0.5, 0]}),
    ],
    ids=str,
)
def test_a_field(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert payload(**fields) == EXPECTED | expected


def test_a_weight_beside_layer_weights_is_ignored() -> None:
    found = payload(weight=0.3, advanced_weighting=(1.0, 0.5))
    assert "weight" not in found
    assert found["layer_weights"] == [1, 0.5]


@pytest.mark.parametrize(
    ("option", "weights"),
    [("Both", {}), ("Low res only", {"hires": 0}), ("High res only", {"weight": 0, "hires": 1})],
)
def test_hires_options(option: Any, weights: dict[str, Any]) -> None:
    found = payload(replace(SD15, hires=True), hr_option=option)
    assert found == EXPECTED | weights | {"semantics": {"resolution": 512, "all_cond": True}}
    early = payload(replace(SD15, hires=True, hires_early=True), hr_option=option)
    assert early == EXPECTED | weights


@pytest.mark.parametrize(
    ("module", "thresholds", "preprocessor", "params", "resolution"),
    [
        ("none", (-1, -1), None, {}, 0),
        ("invert", (-1, -1), "invert", {}, 0),
        ("blur_gaussian", (64, 64), "blur_gaussian", {"sigma": 64.0}, 512),
        ("mlsd", (-1, 30), "mlsd", {"value_threshold": 0.1, "distance_threshold": 0.1}, 512),
        ("tile_resample", (2.5, -1), "tile_resample", {"factor": 2.5}, 0),
        ("tile_colorfix+sharp", (64, 2), "tile_colorfix+sharp", {"variation": 8, "sharpness": 2.0}, 0),
        ("recolor_luminance", (1.4, -1), "recolor_luminance", {"gamma": 1.4}, 0),
        ("softedge_anyline", (-1, -1), "softedge_anyline", {"safe_steps": 2}, 1280),
        ("shuffle", (-1, -1), "shuffle", {"seed": 7}, 512),
        ("inpaint_only", (-1, -1), "inpaint_only", {"border": 5}, 0),
    ],
)
def test_a_preprocessors_numbers(
    module: str, thresholds: Any, preprocessor: str | None, params: dict[str, Any], resolution: int
) -> None:
    here = replace(SD15, map_seed=7, inpaint_blur=5)
    found = payload(here, module=module, threshold_a=thresholds[0], threshold_b=thresholds[1])
    assert found.get("preprocessor") == preprocessor
    assert found.get("params", {}) == params
    assert found["semantics"] == ({"resolution": resolution} if resolution else {})


def test_masks() -> None:
    painted = unit_of(replace(CANNY, images=masked(0, 255)))
    assert decode_image(painted.image, "").getpixel((90, 0)) == (255, 255, 255), "the mask is the picture"
    for whole in ((0, 0), (255, 255), (5, 0)):
        kept = unit_of(replace(CANNY, images=masked(*whole)))
        assert decode_image(kept.image, "").getpixel((90, 0)) == (255, 0, 0)
    ignored = unit_of(replace(CANNY, images=masked(0, 255)), replace(SD15, ignore_mask=True))
    assert decode_image(ignored.image, "").getpixel((90, 0)) == (255, 0, 0)
    holed = unit_of(replace(CANNY, module="inpaint", images=masked(0, 255)))
    assert [decode_image(holed.image, "").getpixel((x, 0)) for x in (0, 90)] == [
        (255, 0, 0, 255),
        (255, 0, 0, 0),
    ]
    region = unit_of(replace(CANNY, effective_region_mask=PICTURE)).mask
    assert decode_image(region, "").convert("L").getpixel((0, 0)) == 255, "of the first channel"


def test_img2img() -> None:
    here = replace(SD15, img2img=True, init_size=(300, 600), resize_mode=2)
    own = payload(here, images=(), pixel_perfect=True, resize_mode="Just Resize")
    assert own.pop("image_from") == "init"
    wanted = {key: value for key, value in EXPECTED.items() if key != "image"}
    assert own == wanted | {"resize_mode": "resize_and_fill", "semantics": {"resolution": 384}}
    part = replace(here, inpaint=True, only_masked=True)
    assert payload(part, pixel_perfect=True)["semantics"] == {"resolution": 512}
    assert payload(part, module="inpaint_only")["preprocessor"] == "inpaint"
    assert payload(replace(here, inpaint=False), module="inpaint_only")["preprocessor"] == "inpaint_only"


def test_ip_adapters() -> None:
    clip: dict[str, Any] = {"module": "ip-adapter_clip_sd15", "control_mode": "ControlNet is more important"}
    hires = replace(SD15, hires=True)
    found = payload(hires, **clip, hr_option="Low res only", advanced_weighting=(0.0, 0.25))
    assert found["control"] == "ip_adapter"
    assert found["params"] == {"layers": "1:0.25"}
    assert not {"hires", "preprocessor", "control_mode", "layer_weights"} & set(found)
    two = payload(**clip, images=(MaskedImage(image=PICTURE), MaskedImage(image="QQ==")))
    assert two["references"] == [{"image": "QQ=="}]
    reach = payload(module="reference_only", model="None", weight=1.5, threshold_a=2)
    assert reach["control"] == "reference"
    assert reach["params"] == {
        "method": "attention",
        "style_fidelity": 0.5,
        "attention_weight": 1.0,
        "adain_weight": 1.5,
    }
    assert not {"weight", "model"} & set(reach)


def test_own_semantics() -> None:
    found = payload(ctrlgen_semantics=True, processor_res=768)
    assert found == {k: v for k, v in EXPECTED.items() if k != "semantics"} | {
        "params": {"low_threshold": 100, "high_threshold": 200, "resolution": 768}
    }
    assert payload(replace(SD15, own_semantics=True)) == payload(ctrlgen_semantics=True)
    assert payload(replace(SD15, own_semantics=True), ctrlgen_semantics=False) == EXPECTED
    assert "resolution" not in payload(ctrlgen_semantics=True, pixel_perfect=True)["params"]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"model": "None"}, "model"),
        ({"images": ()}, "image"),
        ({"images": CANNY.images * 2}, "image"),
        ({"module": "inpaint_only+lama"}, "module"),
        ({"module": "ip-adapter-auto", "model": "ip-adapter_pulid_sdxl_fp16"}, "module"),
        ({"effective_region_mask": "no base64!"}, "effective_region_mask"),
        ({"module": "inpaint", "images": (MaskedImage(image=PICTURE, mask=SMALL),)}, "mask"),
    ],
    ids=str,
)
def test_mistakes(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(RequestError) as raised:
        unit_of(replace(CANNY, **fields))
    assert raised.value.path == f"{PATH}.{place}"


def test_notices_and_units_that_are_off() -> None:
    notices = Notices()
    reference = replace(CANNY, module="reference_only")
    request = converted([replace(CANNY, enabled=False), CANNY, reference], SD15, notices)
    assert [unit.enabled for unit in request.units] == [False, True, True]
    assert [text.partition(":")[0] for text in notices.of()] == [f"{PATH[:-2]}2].module"]
    assert request.units[1].semantics == ControlNetSemantics(resolution=512)
