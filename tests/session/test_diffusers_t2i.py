"""T2I-Adapters in a session compared with diffusers' own T2I-Adapter pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    MultiAdapter,
    StableDiffusionAdapterPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.clocks import CountingClock
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files
from tests.support.diffusers_pipeline import (
    IMAGES,
    PICTURES,
    SDXL,
    Sample,
    controlled,
    require_equal,
)
from tests.support.networks import randomise


def features(kind: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    return {"model": f"t2i-{kind}", "image": files.encode_image(PICTURES[number]), **fields}


@pytest.mark.parametrize("kind", ["full", "light"])
def test_one_t2i_adapter(
    kind: str, sample: Sample, pipeline_unet: Any, t2i: dict[str, Any], folder: Path, plain: Tensor
) -> None:
    theirs = sample(
        StableDiffusionAdapterPipeline,
        pipeline_unet,
        adapter=t2i[kind],
        image=[PICTURES[0]] * IMAGES,
        adapter_conditioning_scale=0.7,
    )
    ours = controlled(sample, pipeline_unet, folder, features(kind, weight=0.7))
    require_equal(ours, theirs, plain)


def test_two_t2i_adapters(
    sample: Sample, pipeline_unet: Any, t2i: dict[str, Any], folder: Path, plain: Tensor
) -> None:
    theirs = sample(
        StableDiffusionAdapterPipeline,
        pipeline_unet,
        adapter=MultiAdapter([t2i["full"], t2i["full"]]),
        image=[[picture] * IMAGES for picture in PICTURES[:2]],
        adapter_conditioning_scale=[0.7, 0.4],
    )
    ours = controlled(
        sample, pipeline_unet, folder, features("full", weight=0.7), features("full", 1, weight=0.4)
    )
    require_equal(ours, theirs, plain)


def test_on_top_of_the_hosts_own_t2i_adapter(
    sample: Sample, pipeline_unet: Any, t2i: dict[str, Any], folder: Path
) -> None:
    host = {"adapter": t2i["light"], "image": [PICTURES[0]] * IMAGES}
    ours = controlled(sample, pipeline_unet, folder, features("full", 1), **host)
    theirs = controlled(sample, pipeline_unet, folder, features("full", 1), features("light"))
    require_equal(ours, theirs, sample(StableDiffusionAdapterPipeline, pipeline_unet, **host))


@pytest.mark.parametrize("size", [(8, 8), (6, 10)])
def test_a_t2i_adapter_for_sdxl_against_diffusers_own_argument(
    size: tuple[int, int], t2i: dict[str, Any], folder: Path
) -> None:
    network = randomise(UNet2DConditionModel(**SDXL), 3)
    port, pixels = DiffusersUNet(network), tuple(8 * side for side in size)
    inputs = {
        "sample": torch.randn(2, 4, *size),
        "timestep": 7,
        "encoder_hidden_states": torch.randn(2, 5, 48),
        "added_cond_kwargs": {"text_embeds": torch.randn(2, 32), "time_ids": torch.randn(2, 6)},
    }
    settings = {"control_mode": "control", "resize_mode": "just_resize", "weight": 0.6}
    request = parse_request({"units": [features("xl", **settings)]})
    units = load_units(request.units, Target(store=ModelStore([folder], 1 << 30), shape=port.shape))
    with torch.no_grad(), ControlSession(port, units, CountingClock(1, 1, guided=True)):
        ours = network(**inputs).sample
    shown = units[0].control.control_map(pixels[1], pixels[0])  # type: ignore[union-attr]
    hint = torch.from_numpy(np.array(shown, np.float32)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        raw = t2i["xl"](nn.functional.pad(hint, (0, -pixels[1] % 16, 0, -pixels[0] % 16), mode="replicate"))
        scaled = [0.6 * s * f for s, f in zip((0.25, 0.62, 0.825, 1.0), raw, strict=True)]
        both = [torch.cat([torch.zeros_like(f), f]) for f in scaled]
        theirs = network(**inputs, down_intrablock_additional_residuals=both).sample
        plain = network(**inputs).sample
    require_equal(ours, theirs, plain)
    assert torch.equal(ours[:1], plain[:1])
