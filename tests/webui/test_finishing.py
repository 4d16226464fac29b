"""Units that change the prediction or the finished pictures, in the fake WebUI."""

import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.postprocess.registry import after_unet_control
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.forms import unit_fields
from lib_ctrlgen.images.codec import to_hint, transparent
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.request.params import check_params
from tests.support import control_files as files
from tests.support.constant_control import Pushes, hooks
from tests.support.fake_webui import FakeWebUI, Processing, fresh
from tests.support.pictures import FAR, holed, outside
from tests.support.unit_values import all_params, with_params


@pytest.fixture
def script(host: FakeWebUI, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, with the real preprocessors and a control that needs no file."""
    made = fresh("script").CtrlGenScript()

    def load_units(units: Any, target: Target) -> tuple[ActiveUnit, ...]:
        target = replace(target, store=ModelStore([], 1 << 30))
        return tuple(ready(index, unit, target) for index, unit in enumerate(units))

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)
    return made


def fresh_generation() -> Any:
    return __import__("lib_ctrlgen.webui.sampling.generation", fromlist=["load_units"])


def ready(index: int, unit: Any, target: Target) -> ActiveUnit:
    picture = decode_image(unit.image, "")
    params = check_params(unit.params, preprocessor(unit.preprocessor).params, "")
    job = UnitInputs(
        unit=unit,
        path=f"$.units[{index}]",
        given=picture.convert("RGB"),
        params=params,
        transparent=transparent(picture),
        colours=picture.convert("RGB"),
    )
    after_unet = after_unet_control(job, target)
    return ActiveUnit(index=index, spec=unit, control=Pushes(), after_unet=after_unet)


def request(name: str = "inpaint_only", image: Image.Image | None = None, **unit: Any) -> dict[str, Any]:
    picture = encode_image(holed() if image is None else image)
    return {"units": [{"model": "m", "image": picture, "preprocessor": name, **unit}]}


def as_the_host_saves(decoded: torch.Tensor) -> np.ndarray:
    """[H, W, 3], with the fractions cut off."""
    pixels = torch.clamp((decoded.float() + 1.0) / 2.0, min=0.0, max=1.0)
    return (255.0 * np.moveaxis(pixels.numpy(), 0, 2)).astype(np.uint8)


@pytest.mark.parametrize("split", [False, True])
def test_the_finished_pictures_are_the_originals_outside_the_hole(
    host: FakeWebUI, script: Any, split: bool
) -> None:
    p = Processing(host, prompts=[["a"], ["b"]], split=split)
    made, _ = host.process_images(script, p, request())
    original = np.asarray(holed().convert("RGB"))
    assert made.already_decoded
    assert len(made) == 2
    for each in made:
        pixels = as_the_host_saves(each)
        assert np.array_equal(pixels[outside(FAR)], original[outside(FAR)])
        assert (pixels[~outside(0)] != original[~outside(0)]).mean() > 0.9
    assert hooks(host.unet) == 0
    assert not host.model.first_stage_model.quant_conv._forward_hooks


def test_every_byte_comes_back(host: FakeWebUI, script: Any) -> None:
    finishing = import_module("lib_ctrlgen.webui.sampling.finishing")
    picture = Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3))
    decoded = finishing.from_picture(picture)
    assert np.array_equal(as_the_host_saves(decoded), np.asarray(picture))
    assert np.array_equal(np.asarray(finishing.to_picture(decoded)), np.asarray(picture))
    halves = ((decoded + 1) / 2 * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(halves, np.asarray(picture))


def test_a_unit_that_has_stopped_leaves_the_latents(host: FakeWebUI, script: Any) -> None:
    made, _ = host.process_images(script, Processing(host), request(guidance_end=0.5))
    assert isinstance(made, torch.Tensor)
    p = Processing(host, passes=[(64, 64), (128, 128)])
    made, _ = host.process_images(script, p, request(hires="1 in 0.5..1", weight=0))
    assert as_the_host_saves(made[0]).shape == (128, 128, 3)


def test_the_mean_is_encoded_once_for_each_size_and_random_numbers_stay(host: FakeWebUI, script: Any) -> None:
    vae = host.model.first_stage_model
    before = torch.random.get_rng_state()
    p = Processing(host, passes=[(64, 64), (128, 96)])
    host.process_images(script, p, request("tile_colorfix"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert vae.calls == 2
    diffusion = sys.modules["lib_ctrlgen.webui.sampling.diffusion"]
    picture = files.picture()
    mean = vae.quant_conv(torch.nn.functional.avg_pool2d(to_hint(picture) * 2 - 1, 8))[:, :4]
    assert torch.allclose(diffusion.encode(picture), 0.5 * mean, atol=1e-5)
    host.model.parameterization = "v"
    assert diffusion.loaded_diffusion().noise().velocity


def test_the_vae_is_asked_before_the_unet_runs(host: FakeWebUI, script: Any) -> None:
    """Under --medvram it would push the U-Net off the GPU."""
    order: list[str] = []
    draw = host.model.encode_first_stage

    def encode(pixels: Any) -> Any:
        order.append("vae")
        return draw(pixels)

    host.model.encode_first_stage = encode
    handle = host.unet.register_forward_pre_hook(lambda *_: order.append("unet"))
    host.process_images(script, Processing(host, steps=2), request())
    handle.remove()
    assert order == ["vae", "unet", "unet"]


def test_a_vae_without_numbers_makes_no_picture(host: FakeWebUI, script: Any) -> None:
    host.model.first_stage_model.quant_conv.weight.data.fill_(float("nan"))
    with pytest.raises(HostError, match="--no-half-vae"):
        host.process_images(script, Processing(host), request())
    assert (hooks(host.unet), host.callbacks.count) == (0, 0)


def test_a_picture_without_a_hole_makes_no_picture(host: FakeWebUI, script: Any) -> None:
    with pytest.raises(RequestError, match="no hole to paint"):
        host.process_images(script, Processing(host), request(image=files.picture()))
    made = request(image=files.picture(), resize_mode="resize_and_fill")
    with pytest.raises(RequestError, match="no hole to paint"):  # told at the generation's size
        host.process_images(script, Processing(host), made)


def test_a_failure_while_finishing_stops_the_request(
    host: FakeWebUI, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    finishing = import_module("lib_ctrlgen.webui.sampling.finishing")

    def broken(_decoded: Any) -> Any:
        raise ValueError("no picture")

    monkeypatch.setattr(finishing, "to_picture", broken)
    with pytest.raises(ValueError, match="no picture"):
        host.process_images(script, Processing(host), request())
    assert (hooks(host.unet), host.callbacks.count) == (0, 0)


def test_field_names_are_ids_and_values_come_back(host: FakeWebUI, script: Any) -> None:
    names = unit_fields.unit_fields().keys() | all_params().keys()
    assert not [name for name in names if not name.isidentifier()]
    unit = {
        "model": "m",
        "preprocessor": "tile_colorfix+sharp",
        "params": {"variation": 4, "sharpness": 0.5},
    }
    values = unit_fields.unit_fields() | unit_fields.panel_values(unit)
    assert values["preprocessor"] == "tile_colorfix+sharp"
    shown = with_params(values)
    assert (shown["tile_colorfix_sharp_variation"], shown["tile_colorfix_sharp_sharpness"]) == (4, 0.5)
    assert unit_fields.unit_settings(values, "$")["params"] == unit["params"]
