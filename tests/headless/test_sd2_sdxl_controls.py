"""Controls for SD2 and SDXL in the headless engine compared with diffusers' own pipelines."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    StableDiffusionControlNetPipeline,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPipeline,
)
from torch import Tensor, nn

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.images.codec import to_hint
from tests.support import checkpoint_models as checkpoints
from tests.support import control_files as files
from tests.support import lllite_reference as lllite
from tests.support.checkpoint_engine import (
    CHECKPOINTS,
    TOLERANCE,
    controlnet,
    hooks_of,
    latents_of,
    lllite_file,
    off,
    request,
    t2i,
    theirs,
)

pytest_plugins = ["tests.support.checkpoint_engine"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_controlnet_is_diffusers_own(checkpoint_engine: Engine, tmp_path: Path, name: str) -> None:
    wanted = request({"model": f"{name}-edges", "weight": 0.7}, model=name)
    network = controlnet(name)
    if name == "sdxl":
        parts = checkpoints.sdxl_parts(checkpoints.sdxl(), tmp_path)
        pipeline: Any = StableDiffusionXLControlNetPipeline(
            **parts, controlnet=network, scheduler=checkpoints.scheduler()
        )
    else:
        base = checkpoints.sd2_pipeline(checkpoints.sd2(), tmp_path)
        pipeline = StableDiffusionControlNetPipeline(
            **base.components, controlnet=network, requires_safety_checker=False
        )
    pipeline.set_progress_bar_config(disable=True)
    picture = files.picture(64, 96)
    other = theirs(pipeline, wanted, image=picture, controlnet_conditioning_scale=0.7)
    mine = latents_of(checkpoint_engine, wanted)
    assert off(mine, other) < TOLERANCE
    assert off(mine, latents_of(checkpoint_engine, request(model=name))) > 1e-2
    assert hooks_of(checkpoint_engine.load(name).unet) == 0


class Written(nn.Module):
    """A linear layer that reads x + 0.8 up(relu(mid([embedding, relu(down(x))])))."""

    def __init__(self, linear: nn.Module, weights: dict[str, Tensor], hint: Tensor) -> None:
        super().__init__()
        self.linear, self.weights, self.embedding = linear, weights, lllite.embedding_of(weights, hint)

    def forward(self, x: Tensor) -> Tensor:
        low = lllite.affine(self.weights, "down.0", x).relu()
        both = torch.cat([self.embedding.expand(len(x), -1, -1), low], 2)
        middle = lllite.affine(self.weights, "mid.0", both).relu()
        return self.linear(x + 0.8 * lllite.affine(self.weights, "up.0", middle))  # type: ignore[no-any-return]


def test_lllite_is_its_formula_in_diffusers_own_pipeline(checkpoint_engine: Engine, tmp_path: Path) -> None:
    source = checkpoints.sdxl()
    tensors, sites = lllite_file()
    hint = to_hint(files.picture(64, 96)) * 2 - 1
    names = {ldm: ours for ldm, ours, *_ in lllite.BLOCKS}
    for name in sites:
        block, _, rest = name.partition(".transformer_blocks")
        path = f"{names[block]}.transformer_blocks{rest}"
        parent, _, leaf = path.rpartition(".")
        stem = f"lllite_unet_{name.replace('.', '_')}."
        own = {key.removeprefix(stem): value for key, value in tensors.items() if key.startswith(stem)}
        setattr(source.unet.get_submodule(parent), leaf, Written(source.unet.get_submodule(path), own, hint))
    wanted = request({"model": "sdxl-lines", "weight": 0.8})
    mine = latents_of(checkpoint_engine, wanted)
    assert off(mine, theirs(checkpoints.sdxl_pipeline(source, tmp_path), wanted)) < TOLERANCE
    assert off(mine, latents_of(checkpoint_engine, request())) > 1e-3


def test_a_t2i_adapter_is_diffusers_own(checkpoint_engine: Engine, tmp_path: Path) -> None:
    parts = checkpoints.sdxl_parts(checkpoints.sdxl(), tmp_path)
    del parts["add_watermarker"]
    pipeline = StableDiffusionXLAdapterPipeline(**parts, adapter=t2i(), scheduler=checkpoints.scheduler())
    pipeline.set_progress_bar_config(disable=True)
    wanted = request({"model": "sdxl-sketch", "weight": 0.7})
    picture = files.picture(64, 96)
    other = theirs(pipeline, wanted, image=picture, adapter_conditioning_scale=0.7)
    mine = latents_of(checkpoint_engine, wanted)
    assert off(mine, other) < TOLERANCE
    assert off(mine, latents_of(checkpoint_engine, request())) > 1e-3


@pytest.mark.parametrize("unit", [{"model": "sdxl-ip"}, {"model": "sdxl-lora"}])
def test_other_controls_act_and_leave_nothing(checkpoint_engine: Engine, unit: dict[str, Any]) -> None:
    before = latents_of(checkpoint_engine, request())
    assert off(latents_of(checkpoint_engine, request(unit)), before) > 1e-3
    assert off(latents_of(checkpoint_engine, request({**unit, "weight": 0})), before) == 0
    assert hooks_of(checkpoint_engine.load("sdxl").unet) == 0


def test_a_control_for_another_checkpoint_family_is_refused(checkpoint_engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"^\$\.units\[0\]\.model: .*context 64.*context 96"):
        checkpoint_engine.generate(request({"model": "sd2-edges"}))
