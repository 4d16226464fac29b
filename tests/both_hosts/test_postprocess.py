"""Preprocessors that change the prediction or the finished pictures, in whole headless generations."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling import run as sampling
from lib_ctrlgen.headless.sampling.batch import PromptBatch
from lib_ctrlgen.images.composite import hole_share, lightness, mixed, pixels_of, with_lightness
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload
from tests.support import control_files as files
from tests.support.holed_requests import request
from tests.support.pictures import FAR, HOLE, holed, outside


def pixels(engine: Engine, *args: Any, **fields: Any) -> np.ndarray:
    return np.asarray(engine.generate(request(*args, **fields)).images[0])


# Finished pictures


@pytest.mark.parametrize("sampler", ["DDIM", "Euler", "DPM++ 2M", "Heun"])
def test_outside_the_border_the_original_is_exact(engine: Engine, sampler: str) -> None:
    original = np.asarray(holed().convert("RGB"))
    made = pixels(engine, "inpaint_only", sampler=sampler)
    assert np.array_equal(made[outside(FAR)], original[outside(FAR)])
    hard = pixels(engine, "inpaint_only", sampler=sampler, params={"border": 0})
    assert np.array_equal(hard[outside(0)], original[outside(0)])
    assert np.array_equal(hard[~outside(0)], made[~outside(0)])
    assert (made[~outside(0)] != original[~outside(0)]).mean() > 0.9


def test_the_last_latents_are_the_originals_outside_the_hole(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents: list[Any] = []

    def pictures(_pipeline: Any, found: Any) -> list[Image.Image]:
        latents.append(found)
        return [Image.new("RGB", (64, 64))] * len(found)

    monkeypatch.setattr(sampling, "pictures", pictures)
    engine.generate(request("inpaint_only", sampler="DPM++ 2M", control_mode="control"))
    vae = engine.load("ctrlgen-tiny").vae
    picture = torch.tensor(np.asarray(holed().convert("RGB"))).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        wanted = vae.encode(picture).latent_dist.mode() * vae.config.scaling_factor
    cells = torch.ones(8, 8, dtype=torch.bool)
    cells[2:6, 2:5] = False
    assert (latents[0][0, :, cells] - wanted[0, :, cells]).abs().max() < 1e-4
    assert (latents[0][0, :, ~cells] - wanted[0, :, ~cells]).abs().max() > 0.1


def test_a_unit_that_has_stopped_before_the_end_leaves_the_picture(engine: Engine) -> None:
    """Its window ends, so the last steps may change the whole picture, and nothing is pasted."""
    original = np.asarray(holed().convert("RGB"))
    for ended in ({"guidance_end": 0.6}, {"weight": "1@0, 0@0.6"}):
        made = pixels(engine, "inpaint_only", **ended)
        assert (made[outside(FAR)] != original[outside(FAR)]).mean() > 0.5
    late = pixels(engine, "inpaint_only", guidance_start=0.6)
    assert np.array_equal(late[outside(FAR)], original[outside(FAR)])


def test_a_mask_restricts_what_is_pasted(engine: Engine) -> None:
    area = Image.new("RGB", (64, 64))
    area.paste((255, 255, 255), (0, 0, 64, 16))
    original = np.asarray(holed().convert("RGB"))
    made = pixels(engine, "inpaint_only", mask=encode_image(area))
    assert np.array_equal(made[:16], original[:16])
    assert (made[16:][outside(FAR)[16:]] != original[16:][outside(FAR)[16:]]).mean() > 0.5


@pytest.mark.parametrize("space", ["luminance", "intensity"])
def test_recolouring_keeps_the_lightness(engine: Engine, space: Any) -> None:
    name = f"recolor_{space}"
    original = files.picture(seed=4)
    made = pixels(engine, name, original, params={"gamma": 0.8})
    wanted = lightness(pixels_of(original), space, 0.8)
    if space == "intensity":  # the strongest channel, whatever the colours
        assert np.array_equal(made.max(2), wanted)
    plain = pixels(engine, "none", preprocessor(name)(original, gamma=0.8))
    assert np.array_equal(made, with_lightness(plain, wanted, space))
    soft = (made // 4 + 96).astype(np.uint8)  # colours so weak that every lightness is possible
    light = np.full((64, 64), 120, np.uint8)
    assert np.abs(lightness(with_lightness(soft, light, space), space).astype(int) - 120).max() <= 1


def test_the_map_of_recolouring_is_the_lightness() -> None:
    picture = files.picture(seed=4)
    grey = np.asarray(preprocessor("recolor_luminance")(picture, gamma=1.0))[..., 0]
    rgb = np.asarray(picture).astype(np.float32) / 255
    assert np.abs(grey - cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[..., 0] * 2.55).max() < 1.5
    bright = np.asarray(preprocessor("recolor_intensity")(picture, gamma=2.0))
    wanted = np.rint((np.asarray(picture).max(2) / 255) ** 2 * 255)
    assert np.array_equal(bright, np.repeat(wanted[..., None], 3, 2))


def test_a_coarser_tile() -> None:
    tile = preprocessor("tile_resample")
    picture = Image.fromarray(np.random.default_rng(0).integers(60, 200, (64, 64, 3), dtype=np.uint8))
    assert tile(picture, factor=1.0) is picture
    coarse = np.asarray(tile(picture, factor=4.0)).astype(float)
    blocks = np.asarray(picture).reshape(16, 4, 16, 4, 3).mean((1, 3))
    small = cv2.resize(coarse.astype(np.uint8), (16, 16), interpolation=cv2.INTER_AREA)
    assert np.abs(small - blocks).mean() < 8
    assert coarse.std() < np.asarray(picture).std() / 2


def test_shares_of_a_hole() -> None:
    hole = ~outside(0)
    share = hole_share(hole, 7)
    assert (share[hole] == 1).all()
    assert (share[outside(6)] == 0).all()
    ours, theirs = np.full((64, 64, 3), 200, np.uint8), np.full((64, 64, 3), 100, np.uint8)
    row = mixed(ours, theirs, share)[34, : HOLE[0] + 1, 0]
    assert (np.diff(row.astype(int)) >= 0).all()
    assert (row[HOLE[0]], row[HOLE[0] - 7]) == (200, 100)


# Requests


@pytest.mark.parametrize("name", ["inpaint", "inpaint_only", "inpaint_only+lama"])
def test_a_picture_without_a_hole_is_refused(engine: Engine, name: str) -> None:
    with pytest.raises(RequestError, match="no hole to paint: send a PNG that is transparent") as caught:
        engine.generate(request(name, files.picture()))
    assert caught.value.path == "$.units[0].image"


def test_a_picture_that_fills_its_frame_has_no_border_to_paint(engine: Engine) -> None:
    with pytest.raises(RequestError, match="no hole to paint"):
        engine.generate(request("inpaint_only", files.picture(), resize_mode="resize_and_fill"))
    made = pixels(engine, "inpaint_only", files.picture(64, 32), resize_mode="resize_and_fill")
    assert np.array_equal(made[24:40], np.asarray(files.picture(64, 32))[8:24])


def test_the_network_sees_holes_around_a_picture_too(engine: Engine) -> None:
    networks = engine.load("ctrlgen-tiny")
    made = request("inpaint", files.picture(64, 32), resize_mode="resize_and_fill")
    control: Any = engine.units(PromptBatch.of([made]), networks)[0].control
    pixels = control.map.pixels(64, 64)[0].permute(1, 2, 0).numpy()
    assert (np.delete(pixels, slice(16, 48), 0) == -1).all()
    assert np.allclose(pixels[16:48] * 255, np.asarray(files.picture(64, 32)), atol=1e-4)
    assert (np.asarray(control.control_map(64, 64))[:16] == 0).all()


@pytest.mark.parametrize(("params", "field"), [({"variation": 2}, "variation"), ({"border": 3}, "border")])
def test_wrong_parameters_are_refused(engine: Engine, params: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        engine.generate(request("tile_colorfix", params=params))
    assert caught.value.path == f"$.units[0].params.{field}"


@pytest.mark.parametrize("name", ["tile_colorfix+sharp", "inpaint_only", "recolor_luminance"])
def test_cells_in_one_batch_are_as_they_are_alone(engine: Engine, name: str) -> None:
    weights: list[Any] = [1, 0.5, "1 in 0..0.5", 0]
    cells = [request(name, weight=weight) for weight in weights]
    found = engine.together(cells)
    alone = [engine.generate(cell) for cell in cells]
    for one, other in zip(found, alone, strict=True):
        apart = np.abs(np.asarray(one.images[0]).astype(int) - np.asarray(other.images[0]))
        # One step of an 8-bit Lab picture is up to eight steps of a channel in RGB.
        assert apart.max() <= (16 if name.startswith("recolor") else 1)
        assert (apart > 1).mean() < 0.01
        assert apart.mean() < 0.05
    pictures = {np.asarray(each.images[0]).tobytes() for each in found}
    assert len(pictures) == len(weights)


def test_a_picture_is_encoded_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = engine.load("ctrlgen-tiny").vae
    engine.store.clear()
    networks = engine.load("ctrlgen-tiny")
    assert networks.vae is not vae
    calls: list[int] = []
    original = networks.vae.encode
    monkeypatch.setattr(networks.vae, "encode", lambda x: calls.append(1) or original(x))
    for weight in (1, 0.5):
        engine.generate(request("tile_colorfix", weight=weight))
    assert len(calls) == 1


def test_names_with_a_plus_survive_a_payload() -> None:
    made = request("tile_colorfix+sharp", params={"variation": 4, "sharpness": 0.5})
    assert parse_request(to_payload(made), GenerationRequest) == made


def test_pictures_keep_their_colours_under_transparency(engine: Engine) -> None:
    """What stands in a hole is what the VAE sees there, not white."""
    networks = engine.load("ctrlgen-tiny")
    (unit,) = engine.units(PromptBatch.of([request("inpaint_only")]), networks)
    shown: Any = getattr(unit.after_unet, "source", None)
    assert shown.colours(64, 64).getpixel((30, 30)) == (200, 30, 90)
    assert decode_image(unit.spec.image, "").getpixel((30, 30)) == (200, 30, 90, 0)
