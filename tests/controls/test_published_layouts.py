"""Published ControlNets are recognised at full size from names and shapes; damaged ones are refused."""

import random
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.controlnet.file import diffusers_tensors, load_parts
from lib_ctrlgen.controls.controlnet.union_mixer import UnionMixer, load_mixer, union_tensors
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.registry import identify
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.unet.call import UNetShape
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files
from tests.support.control_files import damaged

SD1: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}
SD2: dict[str, Any] = {
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
SDXL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
MID: dict[str, Any] = {"transformer_layers_per_block": (1, 1, 1)}
SMALL: dict[str, Any] = {"down_block_types": ("DownBlock2D",) * 3, "mid_block_type": "UNetMidBlock2D"}
WIDE: dict[str, Any] = {"conditioning_embedding_out_channels": (48, 96, 192, 384)}

PUBLISHED: dict[str, tuple[str, dict[str, Any], int]] = {
    # the checkpoint, the network, and the types of a Union
    "SD1.5": ("SD1.5", SD1, 0),
    "SD2.1": ("SD2", SD2, 0),
    "SDXL": ("SDXL", SDXL, 0),
    "SDXL mid": ("SDXL", SDXL | MID, 0),
    "SDXL small": ("SDXL", SDXL | SMALL, 0),
    "Union": ("SDXL", SDXL | WIDE, 6),
    "ProMax": ("SDXL", SDXL | WIDE, 8),
}
LAYOUTS = ("diffusers", "ldm", "control_model.")


@lru_cache(maxsize=8)
def unet_shape(family: str) -> UNetShape:
    config = {"SD1.5": SD1, "SD2": SD2, "SDXL": SDXL}[family]
    if family == "SDXL":
        config = {**config, "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")}
    with torch.device("meta"):
        return DiffusersUNet(UNet2DConditionModel(**config)).shape


@lru_cache(maxsize=8)
def published(name: str) -> dict[str, Tensor]:
    _, config, types = PUBLISHED[name]
    with torch.device("meta"):
        tensors = dict(ControlNetModel(**config).state_dict())
        mixer = UnionMixer(types, 320, 1280, 1, 256).state_dict() if types else {}
    return {**tensors, **mixer}


def in_layout(tensors: dict[str, Tensor], layout: str) -> dict[str, Tensor]:
    if layout == "diffusers":
        return tensors
    prefix = "" if layout == "ldm" else layout
    return {f"{prefix}{key}": value for key, value in files.to_ldm(tensors).items()}


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in tensors.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_layout_is_recognised_and_fits_its_checkpoint(name: str, layout: str) -> None:
    family, _, types = PUBLISHED[name]
    whole = in_layout(published(name), layout)
    kind = identify(shapes(whole))
    assert kind.control == ("controlnet_union" if types else "controlnet")
    assert kind.layout == ("diffusers" if layout == "diffusers" else "ldm")
    assert (kind.family.name, kind.variant) == (family, "promax" if types == 8 else "")
    assert kind.family == unet_shape(family).family
    device, store = torch.device("meta"), ModelStore([], 1)
    target = Target(store=store, shape=unet_shape(family), device=device, dtype=torch.float16)
    own, plain = union_tensors(diffusers_tensors(whole))
    parts = load_parts(plain, Path(__file__), target)
    assert len(parts["network"].controlnet_down_blocks) == (9 if family == "SDXL" else 12)
    assert (parts["vector_embedding"] is not None) == (family == "SDXL")
    if types:
        mixer = load_mixer(own, parts["network"], Path(__file__), target)
        assert (mixer.count, mixer.waves, len(mixer.transformer_layes)) == (types, 256, 1)


def test_heads_are_the_checkpoints_whatever_the_depth() -> None:
    target = Target(
        store=ModelStore([], 1),
        shape=unet_shape("SDXL"),
        device=torch.device("meta"),
        dtype=torch.float16,
    )
    for name in ("SDXL", "SDXL mid"):
        network = load_parts(published(name), Path(__file__), target)["network"]
        heads = [block.attentions[0].transformer_blocks[0].attn2.heads for block in network.down_blocks[1:]]
        assert heads == [10, 20]
        assert network.mid_block.attentions[0].transformer_blocks[0].attn2.heads == 20


@pytest.fixture(scope="module")
def small() -> dict[str, dict[str, Tensor]]:
    network = files.controlnet(layers_per_block=1)
    mixer = files.random_weights(UnionMixer(6, 32, 128, 1, 2))
    plain = dict(network.state_dict())
    return {"controlnet": plain, "union": {**plain, **mixer.state_dict()}}


@pytest.mark.parametrize("layout", ["diffusers", "ldm"])
@pytest.mark.parametrize("name", ["controlnet", "union"])
def test_damaged_networks_are_request_errors(
    tmp_path: Path, small: dict[str, dict[str, Tensor]], name: str, layout: str
) -> None:
    chance, shape = random.Random(f"{name} {layout}"), files.shape(layers_per_block=1)
    whole = small[name] if layout == "diffusers" else files.to_ldm(small[name], 1)
    payload = {"model": "net", "image": files.data_url(), "preprocessor": "canny"}
    items = parse_request({"units": [payload]}).units
    refused = 0
    for _ in range(15):
        save_file(damaged(whole, chance), tmp_path / "net.safetensors")
        try:
            load_units(items, Target(store=ModelStore([tmp_path], 1 << 30), shape=shape))
        except RequestError as error:
            assert error.path.startswith("$.units[0].")  # noqa: PT017
            refused += 1
    assert refused == 15


def test_truncated_files_are_request_errors(tmp_path: Path, small: dict[str, dict[str, Tensor]]) -> None:
    path = tmp_path / "net.safetensors"
    save_file(small["union"], path)
    content = path.read_bytes()
    items = parse_request(
        {"units": [{"model": "net", "image": files.data_url(), "preprocessor": "canny"}]}
    ).units
    for share in (0, 0.001, 0.3, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(RequestError):
            load_units(
                items, Target(store=ModelStore([tmp_path], 1 << 30), shape=files.shape(layers_per_block=1))
            )
