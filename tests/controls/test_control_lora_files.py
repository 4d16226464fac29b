"""Published ControlLoRA files are loaded, and damaged ones are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from torch import Tensor

from lib_ctrlgen.controls.controlnet.control_lora import names_in_unet
from lib_ctrlgen.controls.controlnet.control_lora_file import build_network, network_tensors
from lib_ctrlgen.controls.registry import identify
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.unet.residuals import Residuals
from tests.support import lora_files as lora
from tests.support import networks
from tests.support import unet_calls as calls
from tests.support.control_lora_reference import (
    control_call,
    control_of,
    tensors_for,
)
from tests.support.properties import examples
from tests.support.unet_calls import port_of

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")


def test_a_checkpoint_of_other_shapes_is_named(tmp_path: Path) -> None:
    """Same skips and text, another vector: what differs is said, of both."""
    base = networks.sgm_unet()
    tensors = tensors_for(base)
    tensors["label_emb.0.0.down"] = torch.zeros(lora.RANK, networks.VECTOR + 1)
    lora.save(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(
        RequestError, match=r"class_embedding.linear_1.weight has shape \(128, 21\)"
    ) as raised:
        control_of(tmp_path, base)
    assert "(128, 20)" in raised.value.message
    assert raised.value.path == "$.units[0].model"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("input_blocks.2.0.in_layers.2.down"), "input_blocks|down"),
        (
            lambda t: t.pop("input_hint_block.4.weight"),
            "incomplete.*controlnet_cond_embedding.blocks.1.weight",
        ),
        (lambda t: t.pop("zero_convs.3.0.bias"), "missing controlnet_down_blocks.3.bias"),
        (lambda t: t.update(surprise=torch.zeros(1)), "unknown surprise"),
        (
            lambda t: t.update({"surprise.up": torch.zeros(2, 1), "surprise.down": torch.zeros(1, 2)}),
            "surprise",
        ),
        (lambda t: t.update({"input_blocks.1.0.emb_layers.1.up": torch.zeros(3)}), "factors of shapes"),
        (lambda t: t.update({"middle_block_out.0.weight": torch.zeros(3, 3, 1, 1)}), "channels"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path: Path, damage: Callable[..., Any], message: str) -> None:
    base = networks.ldm_unet()
    tensors = tensors_for(base)
    damage(tensors)
    lora.save(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(RequestError, match=message):
        control_of(tmp_path, base)


@pytest.fixture(scope="module")
def small() -> tuple[Any, dict[str, Tensor]]:
    base = networks.ldm_unet()
    return base, tensors_for(base)


@examples(12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_tensors_are_refused_or_load(
    small: tuple[Any, dict[str, Tensor]], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is cut, renamed or reshaped: a request error, or a network of the right shapes."""
    base, tensors = small
    tensors = dict(tensors)
    for key in data.draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=3, unique=True)):
        value, kind = tensors.pop(key), data.draw(st.sampled_from(["cut", "rename", "shape", "flat"]))
        if kind == "rename":
            tensors[key.replace("0", "1", 1)] = value
        elif kind == "shape":
            tensors[key] = torch.zeros(data.draw(st.lists(st.integers(0, 70), max_size=4)))
        elif kind == "flat":
            tensors[key] = value.flatten()
    folder = tmp_path_factory.mktemp("damaged")
    lora.save(tensors, folder / "lora.safetensors")
    try:
        control = control_of(folder, base)
    except RequestError:
        return
    with torch.no_grad():
        assert isinstance(control.residuals(control_call(base)), Residuals)


REAL: dict[str, dict[str, Any]] = {
    "SD1.5": {"cross_attention_dim": 768, "attention_head_dim": 8},
    "SDXL": {
        **calls.SDXL,
        "up_block_types": calls.UP,
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        **lora.VECTOR_CONFIG,
        "projection_class_embeddings_input_dim": 2816,
    },
}


@pytest.mark.parametrize(("family", "layers"), [("SD1.5", 13), ("SDXL", 10)])
def test_the_published_layouts_at_their_size(family: str, layers: int) -> None:
    """Names and shapes of Stability's files (rank 64), against the real checkpoint's; no memory is used."""
    with torch.device("meta"):
        base = lora.files.UNet2DConditionModel(**REAL[family])
        whole: Any = ControlNetModel.from_unet(base, load_weights_from_unet=False)
        file = {"lora_controlnet": torch.empty(0)}
        for name, value in whole.named_parameters():
            key = lora.ldm_name(name)
            if value.ndim < 2 or name.startswith("controlnet_"):
                file[key] = value
            else:
                stem, ones = key.removesuffix(".weight"), [1] * (value.ndim - 2)
                rank = min(64, *value.shape[:2])
                file[f"{stem}.up"] = torch.empty(value.shape[0], rank, *ones)
                file[f"{stem}.down"] = torch.empty(rank, *value.shape[1:])
    kind = identify({key: tuple(value.shape) for key, value in file.items()})
    assert (kind.control, kind.family.name) == ("control_lora", family)
    tensors = network_tensors(file)
    network = build_network(tensors, port_of(base).shape, "file")
    parameters = dict(network.named_parameters())
    assert all(parameters[name].shape == value.shape for name, value in tensors.items())
    lacking = {name: tuple(v.shape) for name, v in parameters.items() if name not in tensors}
    assert len(network.controlnet_down_blocks) + 1 == layers
    assert len(lacking) == sum(key.endswith(".up") for key in file)
    assert names_in_unet(lacking, base, "file").keys() == lacking.keys()
