"""Several preprocessors one after another, and poses as pictures of units."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.protocols import MappedControl
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.unit_fields import panel_values, unit_settings
from lib_ctrlgen.images.canvas import Crop, Frame
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from lib_ctrlgen.images.poses.pose import Keypoint, Person, Pose
from lib_ctrlgen.images.resize import resample, smooth
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import chain_of, preprocessor
from lib_ctrlgen.request.spec import ControlUnit, parse_request, to_payload
from lib_ctrlgen.request.unit import ResizeMode
from lib_ctrlgen.tuner.axes import applied, parse_axis
from lib_ctrlgen.tuner.scoring.scores import adherence
from tests.support import control_files as files
from tests.support.poses import BODY, document

FRAME = Frame("just_resize")
PICTURE = files.picture(64, 48)
POSE = json.dumps(document())
BROKEN = json.dumps({**document(), "people": [1]})


def unit(**fields: Any) -> ControlUnit:
    return parse_request({"units": [{"model": "net", **fields}]}).units[0]


def made(given: Any, **params: Any) -> Image.Image:
    chain = chain_of(unit(preprocessor=given).preprocessor)
    return chain.found(PICTURE, FRAME, PICTURE.size, chain.values(params)).map


def test_preprocessors_are_applied_from_left_to_right() -> None:
    canny, invert, threshold = (preprocessor(name) for name in ("canny", "invert", "threshold"))
    wanted = invert(canny(PICTURE, low_threshold=30, high_threshold=60))
    own = {"name": "canny", "params": {"low_threshold": 30, "high_threshold": 60}}
    for found in (made([own, "invert"]), made("canny | invert", low_threshold=30, high_threshold=60)):
        assert found.tobytes() == wanted.tobytes()
    assert made("invert|threshold", threshold=9).tobytes() == threshold(invert(PICTURE), 9).tobytes()
    assert made("threshold | invert", threshold=9).tobytes() == invert(threshold(PICTURE, 9)).tobytes()
    assert made(["canny"]).tobytes() == made("canny").tobytes()


def test_each_preprocessor_has_its_own_resolution() -> None:
    coarse = {"name": "blur_gaussian", "params": {"sigma": 1.0, "resolution": 64}}
    found = chain_of(unit(preprocessor=[coarse, "canny"]).preprocessor)
    size = 128, 96
    blurred = preprocessor("blur_gaussian")(FRAME.fitted(PICTURE, 88, 64, smooth), sigma=1.0)
    wanted = preprocessor("canny")(Image.fromarray(resample(np.asarray(blurred), *size)))
    assert found.found(PICTURE, FRAME, size, found.values({})).map.tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"preprocessor": "canny | cany"}, "preprocessor", "nearest: canny"),
        ({"preprocessor": ["canny", {"name": "cany"}]}, "preprocessor[1].name", "nearest: canny"),
        ({"preprocessor": "canny |"}, "preprocessor", "unknown value ''"),
        ({"preprocessor": " | ".join(["invert"] * 9)}, "preprocessor", "more than 8"),
        ({"preprocessor": "inpaint | canny"}, "preprocessor", "cannot be combined"),
        ({"preprocessor": "tile_colorfix | invert"}, "preprocessor", "put it behind"),
        ({"preprocessor": "invert | openpose_json"}, "preprocessor", "put it before"),
        (
            {"preprocessor": "blur_gaussian | canny", "params": {"resolution": 64}},
            "params.resolution",
            "blur_gaussian and canny have this parameter",
        ),
        (
            {"preprocessor": [{"name": "canny", "params": {"low_threshold": 0}}]},
            "preprocessor[0].params.low_threshold",
            "out of range",
        ),
        (
            {
                "preprocessor": [{"name": "canny", "params": {"low_threshold": 9}}],
                "params": {"low_threshold": 8},
            },
            "preprocessor[0].params.low_threshold",
            "params have",
        ),
        ({"preprocessor": "canny | invert", "params": {"sigma": 1}}, "params.sigma", "unknown parameter"),
        (
            {"preprocessor": "canny | invert", "params": {"low_threshold": 0}},
            "params.low_threshold",
            "out of",
        ),
        ({"preprocessor": "openpose_json"}, "image", "this is a picture"),
        ({"preprocessor": "none", "image": POSE}, "image", "set the preprocessor 'openpose_json'"),
        ({"preprocessor": "openpose_json | tile_colorfix", "image": POSE}, "image", "needs a picture"),
        (
            {"preprocessor": "openpose_json", "image": BROKEN},
            "image.people[0]",
            "a person",
        ),
        ({"preprocessor": "openpose_json", "image": POSE, "mask": POSE}, "mask", "base64"),
    ],
)
def test_a_wrong_combination_is_refused_at_its_place(
    store: ModelStore, fields: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        loaded(store, **{"image": encode_image(PICTURE), **fields})
    assert raised.value.path == f"$.units[0].{path}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("models")
    save_file(files.controlnet_tensors(), folder / "net.safetensors")
    return ModelStore([folder], 1 << 28)


def loaded(store: ModelStore, **fields: Any) -> Any:
    target = Target(store=store, shape=files.shape())
    return target, load_units([unit(**fields)], target)[0]


def map_of(store: ModelStore, width: int, height: int, **fields: Any) -> Image.Image:
    control = loaded(store, **fields)[1].control
    assert isinstance(control, MappedControl)
    return control.control_map(width, height)


def test_a_pose_is_drawn_at_the_generations_size(store: ModelStore) -> None:
    fields = {"image": POSE, "preprocessor": "openpose_json", "resize_mode": "just_resize"}
    whole = pose_of(document())
    for size in ((64, 128), (256, 256)):
        assert map_of(store, *size, **fields).tobytes() == draw(whole, size).tobytes()
    inverted = map_of(store, 64, 128, **{**fields, "preprocessor": "openpose_json | invert"})
    assert inverted.tobytes() == preprocessor("invert")(draw(whole, (64, 128))).tobytes()
    thin = map_of(store, 64, 128, **fields, params={"limb_width": 1})
    assert np.count_nonzero(thin) < np.count_nonzero(draw(whole, (64, 128)))


def test_the_confidence_below_which_keypoints_are_not_drawn_is_said(store: ModelStore) -> None:
    points = [(x, y, 0.2 if place < 3 else 0.7) for place, (x, y, _) in enumerate(BODY)]
    fields = {"image": json.dumps(document(points)), "preprocessor": "openpose_json"}
    target, _ = loaded(store, **fields)
    (notice,) = target.notices.of()
    assert notice.startswith("$.units[0].image: 3 of 18 keypoints have a confidence below 0.3 (min_conf")
    target, _ = loaded(store, **fields, params={"min_confidence": 0.1})
    assert not target.notices.of()
    drawn = [map_of(store, 100, 200, **fields, params={"min_confidence": least}) for least in (0.1, 0.3, 0.9)]
    assert len({picture.tobytes() for picture in drawn}) == 3, "each is cached for itself"
    assert not np.asarray(drawn[2]).any()


@pytest.mark.parametrize("crop", [None, Crop(box=(10, 20, 74, 52), whole=(96, 80))])
@pytest.mark.parametrize("mode", ["just_resize", "crop_and_resize", "resize_and_fill"])
def test_a_pose_is_fitted_like_a_picture(mode: ResizeMode, crop: Crop | None) -> None:
    """A bright spot of a picture is where the keypoint at its place is."""
    picture = Image.new("RGB", (70, 50))
    picture.paste((255, 255, 255), (34, 24, 38, 28))
    frame = Frame(mode, crop)
    spot = np.argwhere(np.asarray(frame.fitted(picture, 64, 48, smooth))[..., 0] > 127).mean(axis=0)
    point = Keypoint(36 / 70, 26 / 50)
    pose = Pose(people=(Person(body=(point, *[None] * 17)),), width=70, height=50)
    (moved,) = pose.placed(frame.box(pose.size, 64, 48), 64, 48).keypoints
    assert (moved.x * 64 - 0.5, moved.y * 48 - 0.5) == pytest.approx(tuple(spot[::-1]), abs=0.75)


def test_attributes_of_a_chain() -> None:
    assert chain_of("canny | invert").union_type == "canny"
    assert chain_of("invert | tile_colorfix").after_unet.endswith("colorfix:ColorFix")
    assert chain_of("invert").after_unet == ""
    assert not chain_of("canny | invert").is_none
    assert chain_of("none | none").is_none


def test_the_tuner_compares_the_last_maps_that_it_can() -> None:
    photo = encode_image(PICTURE)
    for given in ("canny | invert", "invert | canny", "blur_gaussian | canny | threshold"):
        low = {"low_threshold": 5, "high_threshold": 9}
        compared = unit(image=photo, preprocessor=given, params=low)
        assert adherence(PICTURE, compared, 0).values == {"adherence.0": 1.0}
    for fields in (
        {"preprocessor": "tile_resample | none", "image": photo},
        {"preprocessor": "openpose_json"},
    ):
        scores = adherence(PICTURE, unit(**{"image": POSE, **fields}), 0)
        assert "detects nothing" in scores.reasons["adherence.0"]


def test_an_axis_varies_the_preprocessors_and_their_parameters() -> None:
    payload = {"units": [{"model": "a", "preprocessor": [{"name": "canny"}, "invert"]}]}
    axis = parse_axis("units.0.preprocessor", "canny, canny | invert")
    assert [unit_of(applied(payload, axis, k)).preprocessor_label for k in range(2)] == list(axis.shown)
    axis = parse_axis("units.0.preprocessor.0.params.low_threshold", "10, 20")
    assert unit_of(applied(payload, axis, 1)).stages[0].params == {"low_threshold": 20}


def unit_of(payload: Any) -> ControlUnit:
    return parse_request(payload).units[0]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("canny | invert", "canny | invert"),
        ([{"name": "canny", "params": {"low_threshold": 30}}, "invert"], "canny | invert"),
        ([{"name": "canny", "params": {"resolution": 64}}, "invert"], "canny | invert"),
        ([{"name": "canny", "params": {"low_threshold": 30}}, "canny"], None),
        ([{"name": "canny", "params": {"resolution": 64}}, "blur_gaussian"], None),
        ([{"name": "canny", "params": {"unknown": 1}}], None),
    ],
)
def test_the_panel_shows_what_was_sent_and_sends_it_again(given: Any, text: str | None) -> None:
    before = unit(preprocessor=given)
    shown = panel_values(to_payload(before))
    assert shown["preprocessor"] == (json.dumps(given) if text is None else text)
    after = unit_of({"units": [unit_settings(shown, "$")]})
    if text is None:
        assert after.preprocessor == before.preprocessor
    else:
        assert chain_of(after.preprocessor).values(after.params) == chain_of(before.preprocessor).values({})
