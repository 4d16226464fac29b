"""Control maps with the semantics of sd-webui-controlnet: detected first, fitted then."""

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.controls.base import UnitInputs
from lib_ctrlgen.controls.controlnet_map import exact_map_at, fitted_holes, map_of, soft_holes
from lib_ctrlgen.request.semantics import ControlNetSemantics
from lib_ctrlgen.request.spec import ControlUnit
from tests.support.control_files import picture

WIDE = picture(96, 64, seed=3)


def inputs(preprocessor: str, resolution: int = 0, given: Image.Image = WIDE, **fields: Any) -> UnitInputs:
    semantics = ControlNetSemantics(resolution=resolution)
    unit = ControlUnit(model="edges", preprocessor=preprocessor, semantics=semantics, **fields)
    return UnitInputs(unit=unit, path="$.units[0]", given=given.convert("RGB"), params={})


def stretched(pixels: Any, width: int, height: int, how: int = cv2.INTER_CUBIC) -> Any:
    return cv2.resize(pixels, (width, height), interpolation=how)


def shown(job: UnitInputs, width: int, height: int) -> Any:
    return np.asarray(map_of(job, width, height)).astype(int)


def test_edges_are_found_at_the_resolution_in_the_pictures_proportions() -> None:
    checks = np.kron(np.indices((4, 6)).sum(0) % 2 * 200, np.ones((16, 16), np.uint8)).astype(np.uint8)
    given = Image.fromarray(checks).convert("RGB")
    large = stretched(np.asarray(given), 192, 128)
    edges = cv2.Canny(large, 60, 120)
    wanted = np.repeat(edges[..., None], 3, axis=2)[:, 32:160]  # 192 x 128 covers 128 x 128
    params = {"low_threshold": 60, "high_threshold": 120}
    found = shown(inputs("canny", 128, given, params=params), 128, 128)
    assert (found != wanted).mean() < 0.01, "the border of Canny's gradients sees the padding"
    assert wanted.max() == 255


def test_a_shrunk_tile_is_enlarged_once() -> None:
    small = stretched(np.asarray(WIDE), 38, 25, cv2.INTER_AREA)
    unit: dict[str, Any] = {"params": {"factor": 2.5}, "resize_mode": "just_resize"}
    assert np.array_equal(shown(inputs("tile_resample", **unit), 80, 80), stretched(small, 80, 80))
    whole = inputs("tile_resample", params={"factor": 1.05}, resize_mode="just_resize")
    assert np.array_equal(shown(whole, 96, 64), np.asarray(WIDE))


@pytest.mark.parametrize(
    ("preprocessor", "space", "channel"),
    [("recolor_luminance", cv2.COLOR_BGR2LAB, 0), ("recolor_intensity", cv2.COLOR_BGR2HSV, 2)],
)
def test_lightness_reads_blue_for_red(preprocessor: str, space: int, channel: int) -> None:
    light = cv2.cvtColor(np.asarray(WIDE), space)[..., channel] / 255.0
    found = shown(inputs(preprocessor, params={"gamma": 1.5}), 96, 64)
    assert np.abs(found[..., 0] - light**1.5 * 255).max() <= 1


def test_shuffle_draws_from_numpys_old_generator() -> None:
    np.random.seed(7)  # noqa: NPY002 - the generator that sd-webui-controlnet uses
    fields = []
    for longest in (96 - 1, 64 - 1):
        coarse = np.random.uniform(low=0, high=1, size=(2, 2, 1))  # noqa: NPY002
        fine = cv2.resize(coarse, (96 + 512, 64 + 512), interpolation=cv2.INTER_CUBIC)[256:320, 256:352]
        fine = (fine - fine.min()) / (fine - fine.min()).max()
        fields.append((fine * longest).astype(np.float32))
    wanted = cv2.remap(np.asarray(WIDE), fields[0], fields[1], cv2.INTER_LINEAR)
    assert np.array_equal(shown(inputs("shuffle", params={"seed": 7}), 96, 64), wanted)


def test_holes_are_fitted_as_greys() -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8)[:48].repeat(2), (64, 1)))
    holed = WIDE.convert("RGB").copy()
    holed.putalpha(ramp)
    holes = soft_holes(holed, None)
    assert holes is not None
    job = inputs("inpaint", resize_mode="just_resize")
    found = np.asarray(fitted_holes(job, holes, 48, 32))[..., 0]
    assert np.array_equal(found[0], np.where(255 - np.arange(0, 192, 4) > 127, 255, 0))
    assert soft_holes(WIDE.convert("RGB"), None) is None
    assert soft_holes(WIDE.convert("RGB"), ramp) is not None


def test_maps_for_inpainting_are_not_clipped() -> None:
    checks = Image.fromarray(np.kron(np.indices((8, 8)).sum(0) % 2 * 255, np.ones((4, 4))).astype(np.uint8))
    noisy = Image.blend(checks.convert("RGB"), picture(32, 32), 0.05)
    found = exact_map_at(inputs("inpaint", given=noisy), 64, 64)
    assert found.dtype == np.float32
    assert found.max() > 255.5 or found.min() < -0.5
