"""ControlNets for SDXL on sgm's and diffusers' U-Nets compared with hand-written forward passes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.clocks import CountingClock
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from tests.support import control_files as files
from tests.support import networks
from tests.support.block_reference import Reference
from tests.support.networks import Call, Script, random_call
from tests.support.unet_calls import sizes_and_text, with_vector

TOLERANCE = 1e-4
SMALL = ("DownBlock2D",) * 3
SIZES: dict[str, dict[str, Any]] = {
    "full": {},
    "mid": {"transformer_layers_per_block": (1, 1, 1)},
    "small": {"down_block_types": SMALL, "mid_block_type": "UNetMidBlock2D", "cross_attention_dim": 2048},
}
PICTURE = files.data_url(64, 64, 3)


def network_of(size: str) -> Any:
    return networks.sdxl_controlnet(5, **networks.SDXL_VECTOR, **SIZES[size])


def context_of(size: str) -> int:
    """A network without attention does not tell the width of the text; it is SDXL's."""
    return 2048 if size == "small" else networks.CONTEXT


def unit(**fields: Any) -> ControlUnit:
    return parse_request({"units": [{"model": "net", "image": PICTURE, **fields}]}).units[0]


def save(network: Any, folder: Path, layout: str) -> ModelStore:
    tensors: dict[str, Tensor] = network.state_dict()
    save_file(files.to_ldm(tensors) if layout == "ldm" else tensors, folder / "net.safetensors")
    return ModelStore([folder], 1 << 30)


def residuals(
    network: Any, call: Call, sizes: Tensor, text: Tensor, hint: Tensor, scales: Sequence[float]
) -> list[Tensor]:
    """diffusers' residuals of a row, each times its number."""
    down, mid = network(
        call.x,
        call.timestep,
        call.context,
        hint,
        added_cond_kwargs={"text_embeds": text, "time_ids": sizes},
        return_dict=False,
    )
    return [layer * scale for layer, scale in zip((*down, mid), scales, strict=True)]


SOFT = [0.825**k for k in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)]
FIELDS: dict[str, tuple[dict[str, Any], list[float], list[float]]] = {
    "balanced": ({"weight": 0.8}, [0.8] * 10, [0.8] * 10),
    "prompt": ({"control_mode": "prompt"}, SOFT, SOFT),
    "control": ({"control_mode": "control", "weight": 0.5}, [0.5 * s for s in SOFT], [0.0] * 10),
    "layers": ({"layer_weights": [k / 9 for k in range(10)]}, [k / 9 for k in range(10)], []),
}


@pytest.mark.parametrize(
    ("size", "layout", "fields"),
    [
        *((size, layout, "balanced") for size in SIZES for layout in ("diffusers", "ldm")),
        *(("full", "ldm", fields) for fields in ("prompt", "control", "layers")),
    ],
)
def test_on_sgms_unet(tmp_path: Path, size: str, layout: str, fields: str) -> None:
    pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    unet, network = networks.sgm_unet(context=context_of(size)), network_of(size)
    given, cond, uncond = FIELDS[fields]
    loaded = load_units(
        [unit(**given)], Target(store=save(network, tmp_path, layout), shape=LdmUNet(unet).shape)
    )
    sizes, text = sizes_and_text(4)
    call = with_vector(random_call("c0 c1 u0 u1", 2), sizes, text, context_of(size))
    plain, reference = unet(call.x, call.timestep, context=call.context, y=call.vector), Reference(unet, [])
    hint = to_hint(files.picture(64, 64, 3))
    with torch.no_grad():
        with ControlSession(LdmUNet(unet), loaded, Script(1, [(0, call.rows)])):
            found = unet(call.x, call.timestep, context=call.context, y=call.vector)
        for row in range(4):
            one, scales = call.row(row), cond if call.rows.cond[row] else (uncond or cond)
            part = slice(row, row + 1)
            added = residuals(network, one, sizes[part], text[part], hint, scales)
            wanted = reference.blocks(one, added)
            off = (found[part] - wanted).abs().max() / wanted.abs().max().clamp(min=1)
            assert float(off) <= TOLERANCE
        after = unet(call.x, call.timestep, context=call.context, y=call.vector)
    assert float((found - plain).abs().max()) > 1e-2
    assert torch.equal(after, plain)


@pytest.mark.parametrize("size", ["full", "mid"])
def test_on_diffusers_unet(tmp_path: Path, size: str) -> None:
    config = {
        **networks.SDXL,
        **networks.SDXL_VECTOR,
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": networks.CONTEXT,
    }
    unet, network = networks.randomise(UNet2DConditionModel(**config), 3), network_of(size)
    loaded = load_units(
        [unit(weight=0.6)],
        Target(store=save(network, tmp_path, "diffusers"), shape=DiffusersUNet(unet).shape),
    )
    sizes, text = sizes_and_text(2)
    call = random_call("u0 c0", 2)
    added = {"text_embeds": text, "time_ids": sizes}
    with torch.no_grad():
        hint = to_hint(files.picture(64, 64, 3))
        *down, mid = residuals(network, call, sizes, text, hint, [0.6] * 10)
        wanted = unet(
            call.x,
            call.timestep,
            call.context,
            added_cond_kwargs=added,
            down_block_additional_residuals=tuple(down),
            mid_block_additional_residual=mid,
        ).sample
        plain = unet(call.x, call.timestep, call.context, added_cond_kwargs=added).sample
        with ControlSession(DiffusersUNet(unet), loaded, CountingClock(1, 1, guided=True)):
            found = unet(call.x, call.timestep, call.context, added_cond_kwargs=added).sample
        after = unet(call.x, call.timestep, call.context, added_cond_kwargs=added).sample
    assert float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1)) <= TOLERANCE
    assert float((wanted - plain).abs().max()) > 1e-2
    assert torch.equal(after, plain)


def test_a_call_without_the_vector_or_with_another_is_a_host_error(tmp_path: Path) -> None:
    network = network_of("full")
    unet = networks.randomise(
        UNet2DConditionModel(
            **networks.SDXL,
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=networks.CONTEXT,
        ),
        3,
    )
    (loaded,) = load_units(
        [unit()], Target(store=save(network, tmp_path, "diffusers"), shape=DiffusersUNet(unet).shape)
    )
    control: Any = loaded.control
    call = files.call(2, 8, 8, networks.CONTEXT)
    with pytest.raises(HostError, match="without SDXL's vector"):
        control.residuals(call)
    wrong = replace(call, inputs=replace(call.inputs, added={"y": torch.zeros(2, 9)}))
    with pytest.raises(HostError, match=r"9 numbers.*takes 20"):
        control.residuals(wrong)


def test_one_for_sdxl_on_another_checkpoint_names_both(tmp_path: Path) -> None:
    store = save(network_of("small"), tmp_path, "diffusers")
    with pytest.raises(RequestError, match=r"SDXL \(context 2048\).*custom \(context 64\)"):
        load_units([unit()], Target(store=store, shape=files.shape()))
