"""Controls for SD2 and SDXL without the WebUI, against diffusers' own pipelines."""

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
from tests.controls import test_lllite as lllite
from tests.support import checkpoint_models as families
from tests.support import control_files as files
from tests.support.checkpoint_engine import (
    FAMILIES,
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


@pytest.mark.parametrize("name", FAMILIES)
def test_a_controlnet_is_diffusers_own(family_engine: Engine, tmp_path: Path, name: str) -> None:
    wanted = request({"model": f"{name}-edges", "weight": 0.7}, model=name)
    network = controlnet(name)
    if name == "sdxl":
        parts = families.sdxl_parts(families.sdxl(), tmp_path)
        pipeline: Any = StableDiffusionXLControlNetPipeline(
            **parts, controlnet=network, scheduler=families.scheduler()
        )
    else:
        base = families.sd2_pipeline(families.sd2(), tmp_path)
        pipeline = StableDiffusionControlNetPipeline(
            **base.components, controlnet=network, requires_safety_checker=False
        )
    pipeline.set_progress_bar_config(disable=True)
    picture = files.picture(64, 96)
    other = theirs(pipeline, wanted, image=picture, controlnet_conditioning_scale=0.7)
    mine = latents_of(family_engine, wanted)
    assert off(mine, other) < TOLERANCE
    assert off(mine, latents_of(family_engine, request(model=name))) > 1e-2
    assert hooks_of(family_engine.load(name).unet) == 0


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


def test_lllite_is_its_formula_in_diffusers_own_pipeline(family_engine: Engine, tmp_path: Path) -> None:
    source = families.sdxl()
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
    mine = latents_of(family_engine, wanted)
    assert off(mine, theirs(families.sdxl_pipeline(source, tmp_path), wanted)) < TOLERANCE
    assert off(mine, latents_of(family_engine, request())) > 1e-3


def test_a_t2i_adapter_is_diffusers_own(family_engine: Engine, tmp_path: Path) -> None:
    parts = families.sdxl_parts(families.sdxl(), tmp_path)
    del parts["add_watermarker"]
    pipeline = StableDiffusionXLAdapterPipeline(**parts, adapter=t2i(), scheduler=families.scheduler())
    pipeline.set_progress_bar_config(disable=True)
    wanted = request({"model": "sdxl-sketch", "weight": 0.7})
    picture = files.picture(64, 96)
    other = theirs(pipeline, wanted, image=picture, adapter_conditioning_scale=0.7)
    mine = latents_of(family_engine, wanted)
    assert off(mine, other) < TOLERANCE
    assert off(mine, latents_of(family_engine, request())) > 1e-3


@pytest.mark.parametrize("unit", [{"model": "sdxl-ip"}, {"model": "sdxl-lora"}])
def test_other_controls_act_and_leave_nothing(family_engine: Engine, unit: dict[str, Any]) -> None:
    before = latents_of(family_engine, request())
    assert off(latents_of(family_engine, request(unit)), before) > 1e-3
    assert off(latents_of(family_engine, request({**unit, "weight": 0})), before) == 0
    assert hooks_of(family_engine.load("sdxl").unet) == 0


def test_a_control_of_another_family_is_refused(family_engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"^\$\.units\[0\]\.model: .*context 64.*context 96"):
        family_engine.generate(request({"model": "sd2-edges"}))
