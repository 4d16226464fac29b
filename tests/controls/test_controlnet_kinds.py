"""ControlNets that need special treatment: for inpainting, and stored as differences."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.controlnet.difference import base_mark
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.codec import to_hint, transparent
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from tests.support import control_files as files
from tests.support import networks
from tests.support.block_reference import Reference
from tests.support.networks import Script, random_call


def unit(model: str, image: Image.Image, **fields: Any) -> ControlUnit:
    return parse_request({"units": [{"model": model, "image": encode_image(image), **fields}]}).units[0]


def with_hole() -> Image.Image:
    """A picture whose left half is to be painted; a little of it is half transparent on either side."""
    picture = files.picture(64, 64, 3).convert("RGBA")
    picture.paste((255, 255, 255, 0), (0, 0, 32, 64))
    picture.putpixel((40, 7), (9, 9, 9, 127))
    picture.putpixel((41, 7), (9, 9, 9, 128))
    return picture


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    for name in ("control_v11p_sd15_inpaint", "net"):
        save_file(files.controlnet_tensors(), tmp_path / f"{name}.safetensors")
    return ModelStore([tmp_path], 1 << 30)


def seen(store: ModelStore, item: ControlUnit) -> Tensor:
    (loaded,) = load_units([item], Target(store=store, shape=files.shape()))
    control: Any = loaded.control
    pixels: Tensor = control.map.pixels(64, 64)
    assert torch.equal(pixels.clamp(min=0), to_hint(control.control_map(64, 64)))
    assert control.residuals(files.call()).mid.isfinite().all()
    return pixels


@pytest.mark.parametrize(
    ("model", "fields", "holes"),
    [
        ("inpaint", {}, True),
        ("inpaint", {"params": {"transparent": "white"}}, False),
        ("net", {}, False),
        ("net", {"params": {"transparent": "holes"}}, True),
    ],
)
def test_holes_are_minus_one_for_inpainting(
    store: ModelStore, model: str, fields: dict[str, Any], holes: bool
) -> None:
    found = seen(store, unit(model, with_hole(), resize_mode="just_resize", **fields))
    left = found[:, :, :, :32]
    assert torch.equal(left, torch.full_like(left, -1.0 if holes else 1.0))
    assert bool((found[:, :, 7, 40] == -1).all()) == holes
    kept = to_hint(files.picture(64, 64, 3))[:, :, 8:, 32:]
    assert torch.equal(found[:, :, 8:, 32:], kept)
    assert (found[:, :, 7, 41] >= 0).all()


def test_a_picture_without_transparency_has_no_holes(store: ModelStore) -> None:
    solid = files.picture(64, 64, 3)
    assert transparent(solid) is None
    assert transparent(solid.convert("RGBA")) is None
    assert torch.equal(seen(store, unit("inpaint", solid)), to_hint(solid))


def test_hints_of_pictures_that_differ_in_their_holes_are_kept_apart(store: ModelStore) -> None:
    image = with_hole()
    items = [unit("inpaint", image), unit("inpaint", image, params={"transparent": "white"})]
    one, other = (each.control for each in load_units(items, Target(store=store, shape=files.shape())))
    call = files.call()
    assert isinstance(one, type(other))
    assert not torch.equal(one.residuals(call).mid, other.residuals(call).mid)  # type: ignore[union-attr]


def test_a_unet_for_inpainting_with_nine_channels(tmp_path: Path) -> None:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    unet, network = networks.ldm_unet(in_channels=9), networks.controlnet(1)
    save_file(files.to_ldm(network.state_dict()), tmp_path / "net.safetensors")
    picture = files.picture(64, 64, 3)
    loaded = load_units(
        [unit("net", picture)], Target(store=ModelStore([tmp_path], 1 << 30), shape=LdmUNet(unet).shape)
    )
    narrow = random_call("c0 u0", 3)
    call = replace(narrow, x=torch.cat((narrow.x, torch.randn(2, 5, 8, 8)), dim=1))
    reference = Reference(unet, [])
    with torch.no_grad():
        plain = unet(call.x, call.timestep, context=call.context)
        with ControlSession(LdmUNet(unet), loaded, Script(1, [(0, call.rows)])):
            found = unet(call.x, call.timestep, context=call.context)
        for row in range(2):
            one = call.row(row)
            down, mid = network(one.x[:, :4], one.timestep, one.context, to_hint(picture), return_dict=False)
            wanted = reference.blocks(one, [*down, mid])
            assert float((found[row] - wanted[0]).abs().max() / wanted.abs().max().clamp(min=1)) <= 1e-4
        assert torch.equal(unet(call.x, call.timestep, context=call.context), plain)


def ldm_difference(network: Any, unet: Any) -> dict[str, Tensor]:
    """A ControlNet's file with the U-Net's weights taken away, as such files were made."""
    base = unet.state_dict()
    whole = files.to_ldm(network.state_dict())
    found = {key: value - cut(base[key], value) if key in base else value for key, value in whole.items()}
    assert sum(key in base for key in whole) > 100
    return {**{f"control_model.{key}": value for key, value in found.items()}, "difference": torch.zeros(1)}


def cut(base: Tensor, like: Tensor) -> Tensor:
    return base[:, : like.shape[1]] if base.ndim == 4 else base


@pytest.mark.parametrize("channels", [4, 9])
def test_a_difference_is_added_to_an_ldm_unet(tmp_path: Path, channels: int) -> None:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    unet, network = networks.ldm_unet(in_channels=channels), networks.controlnet(1)
    save_file(ldm_difference(network, unet), tmp_path / "net.safetensors")
    require_loaded(tmp_path, unet, network)


def test_a_difference_is_added_to_a_diffusers_unet(tmp_path: Path) -> None:
    unet, network = files.unet(), files.controlnet(2)
    base = unet.state_dict()
    tensors = {key: value - base.get(key, 0) for key, value in network.state_dict().items()}
    ldm = files.to_ldm(tensors)
    save_file({**ldm, "difference": torch.zeros(1)}, tmp_path / "net.safetensors")
    shape = files.shape()
    (loaded,) = load_units([item()], Target(store=ModelStore([tmp_path], 1 << 30), shape=shape, unet=unet))
    require_weights(loaded.control, network)


def item() -> ControlUnit:
    return unit("net", files.picture())


def require_loaded(folder: Path, unet: Any, network: Any) -> None:
    """The whole weights for this U-Net, others for another one, and the first again."""
    store, shape = ModelStore([folder], 1 << 30), LdmUNet(unet).shape
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    (loaded,) = load_units([item()], Target(store=store, shape=shape, unet=unet))
    require_weights(loaded.control, network)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.mul_(1.5)
    (other,) = load_units([item()], Target(store=store, shape=shape, unet=unet))
    control: Any = other.control
    assert not torch.allclose(control.model.network.conv_in.weight, network.conv_in.weight)
    unet.load_state_dict(before)
    (again,) = load_units([item()], Target(store=store, shape=shape, unet=unet))
    first: Any = loaded.control
    assert again.control.model is first.model  # type: ignore[union-attr]


def require_weights(control: Any, network: Any) -> None:
    found, wanted = control.model.network.state_dict(), network.state_dict()
    for key, value in found.items():
        assert float((value - wanted[key]).abs().max()) <= 1e-6


def test_a_difference_without_its_unet_or_with_another_is_refused(tmp_path: Path) -> None:
    unet, network = files.unet(), files.controlnet(2)
    tensors = files.to_ldm(network.state_dict())
    save_file({**tensors, "difference": torch.zeros(1)}, tmp_path / "net.safetensors")
    store = ModelStore([tmp_path], 1 << 30)
    with pytest.raises(RequestError, match="and no U-Net is loaded"):
        load_units([item()], Target(store=store, shape=files.shape()))
    wider = files.unet(block_out_channels=(64, 64, 96, 96))
    with pytest.raises(RequestError, match="choose the checkpoint it was made for"):
        load_units([item()], Target(store=store, shape=files.shape(), unet=wider))
    with pytest.raises(RequestError, match="shares no tensor name"):
        load_units([item()], Target(store=store, shape=files.shape(), unet=torch.nn.Linear(2, 2)))
    assert base_mark(unet) != base_mark(wider)
    assert base_mark(None) == ""
