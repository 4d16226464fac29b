"""What units do to the denoised picture, written out by formula on both hosts' U-Nets."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.postprocess.registry import after_unet_control
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.images.codec import to_hint, transparent
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.request.params import check_params
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import Rows
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from lib_ctrlgen.unet.noise_level import Diffusion, NoiseSchedule
from tests.support import control_files as files
from tests.support import networks
from tests.support.networks import Call, Script, random_call

ALPHAS = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
MIXER = torch.randn(4, 3, generator=torch.Generator().manual_seed(7))


def encode(picture: Image.Image) -> Tensor:
    """A latent that needs no VAE: four mixes of the colours of 8 x 8 pixels."""
    return torch.einsum("kc,bchw->bkhw", MIXER, torch.nn.functional.avg_pool2d(to_hint(picture) * 2 - 1, 8))


def diffusion(*, velocity: bool = False) -> Diffusion:
    schedule = NoiseSchedule(alphas_cumprod=ALPHAS, velocity=velocity)
    return Diffusion(encode=encode, origin=lambda: ("fake",), noise=lambda: schedule)


def holed(width: int = 64, height: int = 64) -> Image.Image:
    """A picture whose pixels 20 to 37 across and 24 to 43 down are transparent."""
    picture = files.picture(width, height, 3).convert("RGBA")
    picture.paste((200, 30, 90, 0), (20, 24, 38, 44))
    return picture


def target(*, velocity: bool = False) -> Target:
    return Target(
        store=ModelStore([], 1 << 30),
        shape=files.shape(),
        device=torch.device("cpu"),
        dtype=torch.float32,
        diffusion=diffusion(velocity=velocity),
    )


def unit(
    name: str, *, control: Any = None, velocity: bool = False, mask: Image.Image | None = None, **spec: Any
) -> ActiveUnit:
    """A unit with this preprocessor and maybe a control: without one it acts on the prediction alone."""
    picture = holed()
    image = encode_image(picture)
    fields = {"model": "m", "image": image, "preprocessor": name, **spec}
    parsed = parse_request({"units": [fields]}).units[0]
    job = UnitInputs(
        unit=parsed,
        path="$.units[0]",
        given=picture.convert("RGB"),
        params=check_params(parsed.params, preprocessor(name).params, ""),
        transparent=transparent(picture),
        colours=picture.convert("RGB"),
    )
    after_unet: Any = after_unet_control(job, target(velocity=velocity))
    if control is None:
        return ActiveUnit(index=0, spec=parsed, control=after_unet, mask=mask)
    return ActiveUnit(index=0, spec=parsed, control=control, after_unet=after_unet, mask=mask)


def ldm() -> Any:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    return networks.ldm_unet()


def inpainting() -> Any:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    return networks.ldm_unet(in_channels=9)


def diffusers() -> Any:
    widths = {"block_out_channels": networks.CHANNELS, "cross_attention_dim": networks.CONTEXT}
    return networks.randomise(UNet2DConditionModel(**widths, attention_head_dim=networks.HEADS), 0)


def port_of(unet: Any) -> Any:
    return LdmUNet(unet) if hasattr(unet, "input_blocks") else DiffusersUNet(unet)


def run(unet: Any, call: Call, *, whole: bool = True) -> Tensor:
    """One call; of diffusers the whole output, or the tuple that pipelines ask for."""
    if hasattr(unet, "input_blocks"):
        return unet(call.x, call.timestep, context=call.context)  # type: ignore[no-any-return]
    text = {"encoder_hidden_states": call.context}
    if whole:
        return unet(call.x, call.timestep[0], **text).sample  # type: ignore[no-any-return]
    return unet(call.x, call.timestep[0], **text, return_dict=False)[0]  # type: ignore[no-any-return]


def controlled(unet: Any, units: list[ActiveUnit], call: Call, step: int = 0, **how: Any) -> Tensor:
    with ControlSession(port_of(unet), units, Script(4, [(step, call.rows)])):
        return run(unet, call, **how)


def levels(call: Call) -> tuple[Tensor, Tensor]:
    """sqrt(abar) and sqrt(1 - abar) of each row by the table, between two entries by log sigma."""
    alphas = ALPHAS.double().numpy()
    logs = np.log(np.sqrt((1 - alphas) / alphas))
    sigma = np.exp(np.interp(call.timestep.double().numpy(), np.arange(1000), logs))
    signal = torch.tensor(1 / np.sqrt(1 + sigma**2)).reshape(-1, 1, 1, 1)
    return signal, torch.tensor(sigma).reshape(-1, 1, 1, 1) * signal


def clean(call: Call, output: Tensor, *, velocity: bool) -> Tensor:
    signal, noise = levels(call)
    x, y = call.x[:, :4].double(), output.double()
    return signal * x - noise * y if velocity else (x - noise * y) / signal


def back(call: Call, latent: Tensor, *, velocity: bool) -> Tensor:
    signal, noise = levels(call)
    x = call.x[:, :4].double()
    return (signal * x - latent) / noise if velocity else (x - signal * latent) / noise


def box(latent: Tensor, reach: int) -> Tensor:
    """Means over squares, pixel by pixel, with the border's cells counted on."""
    wide = np.pad(latent.double().numpy(), ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    side = 2 * reach + 1
    height, width = latent.shape[-2:]
    rows = [
        [wide[:, :, y : y + side, x : x + side].mean((2, 3)) for x in range(width)] for y in range(height)
    ]
    return torch.tensor(np.array(rows)).permute(2, 3, 0, 1)


def fixed(latent: Tensor, rows: Rows, sharpness: float = 0.0, reach: int = 8) -> Tensor:
    origin = encode(holed().convert("RGB"))
    found = latent - box(latent, reach) + box(origin, reach)
    cond = torch.tensor(rows.cond).reshape(-1, 1, 1, 1)
    dull = 0.01 * sharpness * box(found, reach) + (1 - 0.01 * sharpness) * found
    return torch.where(cond, found, dull)


def hole_cells() -> Tensor:
    """The cells of 8 x 8 pixels that a hole touches, or comes as near as one pixel to."""
    cells = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    cells[..., 23 // 8 : 44 // 8 + 1, 19 // 8 : 38 // 8 + 1] = True
    return cells


def restored(latent: Tensor, _rows: Rows) -> Tensor:
    return torch.where(hole_cells(), latent, encode(holed().convert("RGB")).double())


FORMULAS: dict[str, tuple[dict[str, Any], Callable[[Tensor, Rows], Tensor]]] = {
    "tile_colorfix": ({}, fixed),
    "tile_colorfix+sharp": (
        {"params": {"variation": 3, "sharpness": 2}},
        lambda latent, rows: fixed(latent, rows, 2.0, 3),
    ),
    "inpaint_only": ({}, restored),
}


def fractional(kinds: str, seed: int = 0) -> Call:
    """A call between two whole timesteps, as k-diffusion makes them."""
    call = random_call(kinds, seed)
    return replace(call, timestep=torch.full_like(call.timestep, 251.37))
