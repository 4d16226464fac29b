"""T2I's style adapter: its file, its tokens, and their effect on a U-Net."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.registry import family_params, identify
from lib_ctrlgen.controls.t2i_style import PreparedT2IStyle
from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.models.clip_vision import centre_square
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlUnit
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.clocks import CountingClock
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files
from tests.support.style_adapter import HEADS, SHAPE, TOKENS, WIDTH, tensors, unit


def dense(named: Mapping[str, Tensor], seen: Tensor) -> Tensor:
    """The network by its published keys, head by head, for one picture. [N, W] -> [T, X]."""

    def norm(h: Tensor, name: str) -> Tensor:
        return functional.layer_norm(h, (WIDTH,), named[f"{name}.weight"], named[f"{name}.bias"])

    def linear(h: Tensor, name: str) -> Tensor:
        return h @ named[f"{name}.weight"].T + named[f"{name}.bias"]

    h = norm(torch.cat([seen, named["style_embedding"][0]]), "ln_pre")
    for layer in (f"transformer_layes.{i}" for i in range(files.STYLE_LAYERS)):
        joined = norm(h, f"{layer}.ln_1") @ named[f"{layer}.attn.in_proj_weight"].T
        q, k, v = (joined + named[f"{layer}.attn.in_proj_bias"]).chunk(3, dim=1)
        parts = zip(*(part.chunk(HEADS, dim=1) for part in (q, k, v)), strict=True)
        mixed = [torch.softmax(a @ b.T / (WIDTH // HEADS) ** 0.5, dim=1) @ c for a, b, c in parts]
        h = h + linear(torch.cat(mixed, dim=1), f"{layer}.attn.out_proj")
        inner = linear(norm(h, f"{layer}.ln_2"), f"{layer}.mlp.c_fc")
        h = h + linear(inner / (1 + torch.exp(-1.702 * inner)), f"{layer}.mlp.c_proj")
    return norm(h[-TOKENS:], "ln_post") @ named["proj"]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    files.save_vision(tmp_path / "tower", hidden=WIDTH)
    save_file(tensors(), tmp_path / "style.safetensors")
    return ModelStore([tmp_path], 1 << 30)


def prepared(store: ModelStore, item: ControlUnit) -> PreparedT2IStyle:
    (active,) = load_units([item], Target(store=store, shape=SHAPE))
    assert isinstance(active.control, PreparedT2IStyle)
    return active.control


def test_the_published_layout_is_recognised() -> None:
    found = identify(files.style_adapter_shapes(1024, 768, 8))
    assert (found.control, found.family.name) == ("t2i_style", "SD1.5")
    with pytest.raises(ModelError, match="a T2I style adapter, but its proj is missing"):
        identify({"style_embedding": (1, 8, 1024)})


@pytest.mark.parametrize("prefix", ["", "adapter."])
def test_tokens_are_those_of_the_published_network(tmp_path: Path, prefix: str) -> None:
    tower = files.save_vision(tmp_path / "tower", hidden=WIDTH)
    save_file({prefix + key: value for key, value in tensors().items()}, tmp_path / "style.safetensors")
    control = prepared(ModelStore([tmp_path], 1 << 30), unit())
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1)
    square = torch.from_numpy(np.array(centre_square(files.picture(40, 32), 32), np.float32)) / 255
    pixels = (square.permute(2, 0, 1) - mean) / std
    with torch.no_grad():
        seen = tower(pixel_values=pixels[None]).last_hidden_state
    assert control.extra_tokens().shape == (1, TOKENS, files.CONTEXT)
    torch.testing.assert_close(control.extra_tokens()[0], dense(tensors(), seen[0]), atol=1e-4, rtol=1e-4)
    assert control.control_map(512, 512).size == (32, 32)


@pytest.mark.parametrize("weight", [1.0, 0.6, -0.5])
def test_conditional_rows_are_as_with_a_longer_context_and_others_as_without(
    store: ModelStore, weight: float
) -> None:
    unet, call = files.unet(), files.call(2)
    units = load_units([unit(weight=weight)], Target(store=store, shape=SHAPE))
    x, context = call.inputs.x, call.inputs.context
    tokens = units[0].control.extra_tokens()  # type: ignore[union-attr]
    with torch.no_grad():
        plain = unet(x, 7, context).sample
        longer = unet(x[1:], 7, torch.cat([context[1:], weight * tokens], dim=1)).sample
        with ControlSession(DiffusersUNet(unet), units, CountingClock(1, 1, guided=True)):
            found = unet(x, 7, context).sample
        assert torch.equal(unet(x, 7, context).sample, plain)
    assert float((longer - plain[1:]).abs().max()) > 0.01
    torch.testing.assert_close(found[1:], longer, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:1], plain[:1], atol=1e-5, rtol=0)


def test_tokens_are_computed_once_also_for_later_generations(store: ModelStore) -> None:
    first = prepared(store, unit())
    reads = store.reads
    assert prepared(store, unit(weight=0.3)).extra_tokens() is first.extra_tokens()
    assert not torch.equal(
        prepared(store, unit(image=files.data_url(seed=8))).extra_tokens(), first.extra_tokens()
    )
    assert store.reads == reads


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"control_mode": "prompt"}, "control_mode", "takes 'balanced'"),
        ({"preprocessor": "canny"}, "preprocessor", "sees the picture itself"),
        ({"layer_weights": [1, 1]}, "layer_weights", "expected 16 weights"),
        ({"params": {"image_encoder": "toner"}}, "params.image_encoder", "no image encoder named"),
        ({"control": "t2i_adapter"}, "control", "T2I style adapter: use 'auto' or 't2i_style'"),
    ],
)
def test_wrong_units_say_where_and_what(
    store: ModelStore, fields: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(RequestError) as raised:
        load_units([unit(**fields)], Target(store=store, shape=SHAPE))
    assert raised.value.path == f"$.units[0].{path}"
    assert message in raised.value.message


def test_without_its_tower_it_says_which(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "style.safetensors")
    with pytest.raises(RequestError, match="CLIP vision encoder with hidden size 48"):
        load_units([unit()], Target(store=ModelStore([tmp_path], 1 << 30), shape=SHAPE))


@pytest.mark.parametrize("key", sorted(tensors()))
def test_incomplete_files_are_refused(tmp_path: Path, key: str) -> None:
    files.save_vision(tmp_path / "tower", hidden=WIDTH)
    whole = tensors()
    for name, damaged in (
        ("gone", {k: v for k, v in whole.items() if k != key}),
        ("flat", {**whole, key: whole[key].flatten()[:7].clone()}),
    ):
        save_file(damaged, tmp_path / f"{name}.safetensors")
        with pytest.raises(RequestError) as raised:
            load_units([unit(name)], Target(store=ModelStore([tmp_path], 1 << 30), shape=SHAPE))
        assert raised.value.path == "$.units[0].model"


def test_a_parameter_that_two_families_have_is_one() -> None:
    names = [param.name for param in family_params(unit())]
    assert names.count("image_encoder") == 1
    assert len(set(names)) == len(names)
