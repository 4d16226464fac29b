"""A trained IP-Adapter in the real WebUI: the same picture as headless, and nothing is left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.live.conftest import PLAIN, WebUI, close, encoded, scene

pytest.importorskip("diffusers")

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.bundled import NAME, tiny_folder
from lib_ctrlgen.train.methods.ip_adapter import IPAdapterMethod
from tests.support import adapter_training as trainings
from tests.support.live_checkpoints import Checkpoint, checkpoint_of

pytestmark = pytest.mark.live
PARTS = ("tokens", "low-rank", "whole")


def trained(part: str) -> Any:
    """The tensors of the tiny model's IP-Adapter after a training that went anywhere."""

    def make(_networks: Any) -> dict[str, torch.Tensor]:
        folder = tiny_folder()
        place = Place(device=trainings.CPU, dtype=torch.float32, tokenizer=folder / "text")
        base = trainings.base_of(Engine([folder], 1 << 30, place), NAME)
        method = IPAdapterMethod.create(trainings.spec(f"{NAME}-ip", part), base)
        method.learn(method.references([scene()]), None)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in method.module().parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        return method.adapter.tensors()

    return make


@pytest.fixture(scope="module")
def tiny(webui: WebUI, webui_root: Path) -> Iterator[Checkpoint]:
    makes = {f"trained-{part}": trained(part) for part in PARTS}
    yield from checkpoint_of(webui, webui_root, "ctrlgen-tiny.safetensors", makes, PLAIN)


@pytest.mark.parametrize("part", PARTS)
def test_a_trained_adapter_acts_as_headless(tiny: Checkpoint, part: str) -> None:
    unit = {"image": encoded(scene()), "weight": "1>0.4"}
    ours = {**unit, "model": tiny.files[f"trained-{part}"]}
    made = tiny.made(ours)
    assert not made.same(tiny.made({**unit, "model": f"{NAME}-ip"}))
    assert close(made.images[0], tiny.headless(ours)[0])
    assert tiny.made().same(tiny.plain)
