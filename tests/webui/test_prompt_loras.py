"""A FaceID LoRA that the prompt has loaded too acts once."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.ip_adapter.face_adapter import FaceIDUnit
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.faces.embeddings import encoded
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files
from tests.support import face_adapters as adapters
from tests.support.fake_webui import FakeWebUI, fresh

SHAPE = files.shape()
FIRST = "ip_adapter.0.to_q_lora.down.weight"


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    shapes = adapters.whole("faceid", files.CONTEXT, SHAPE.attention_hidden, rank=2)
    return adapters.random_tensors(shapes)


@pytest.fixture
def units(tmp_path: Path, tensors: dict[str, Tensor]) -> tuple[ActiveUnit, ...]:
    adapters.write(tmp_path / "faceid.safetensors", tensors)
    face = {"face": encoded([tuple(torch.ones(512).tolist())])}
    body = {"units": [{"model": "faceid", "params": face}]}
    return load_units(parse_request(body).units, Target(store=ModelStore([tmp_path], 1 << 30), shape=SHAPE))


def network(name: str, down: Tensor | None, multiplier: float = 1.0) -> Any:
    """A network as the extension Lora holds it, in half precision."""
    modules = {}
    if down is not None:
        layer = nn.Linear(down.shape[1], down.shape[0], bias=False).half()
        layer.weight.data.copy_(down)
        modules["diffusion_model_input_blocks_1_1_transformer_blocks_0_attn1_to_q"] = SimpleNamespace(
            down_model=layer
        )
    return SimpleNamespace(name=name, modules=modules, unet_multiplier=multiplier)


def checked(
    units: tuple[ActiveUnit, ...], monkeypatch: pytest.MonkeyPatch, *loaded: Any
) -> tuple[bool, tuple[str, ...]]:
    """Whether the unit keeps its LoRA, and the warnings."""
    monkeypatch.setitem(sys.modules, "networks", SimpleNamespace(loaded_networks=list(loaded)))
    notices = Notices()
    (unit,) = fresh("sampling.prompt_loras").each_lora_once(units, notices)
    return isinstance(unit.control, FaceIDUnit), notices.of()


def test_the_same_lora_in_the_prompt_acts_alone(
    host: FakeWebUI,
    units: tuple[ActiveUnit, ...],
    tensors: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del host
    companion = network("anything", tensors[FIRST])
    kept, warnings = checked(units, monkeypatch, companion)
    assert not kept
    assert "$.units[0].params.lora_weight: the prompt's <lora:anything>" in warnings[0]
    named = network("ip-adapter-faceid_sd15_lora", None)
    assert not checked(units, monkeypatch, named)[0], "by its name where it shows no tensors"


def test_other_loras_stay_beside_it(
    host: FakeWebUI,
    units: tuple[ActiveUnit, ...],
    tensors: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del host
    other = network("ip-adapter-faceid-plusv2_sd15_lora", tensors[FIRST] + 1)
    off = network("ip-adapter-faceid_sd15_lora", tensors[FIRST], multiplier=0.0)
    assert checked(units, monkeypatch, other, off) == (True, ())
    assert checked(units, monkeypatch) == (True, ())
    monkeypatch.delitem(sys.modules, "networks")
    (unit,) = fresh("sampling.prompt_loras").each_lora_once(units, Notices())
    assert isinstance(unit.control, FaceIDUnit)
