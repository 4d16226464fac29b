"""ControlNets are loaded from every published layout, and wrong units are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.controlnet.controlnet import ControlNet
from lib_ctrlgen.controls.controlnet.prepared import PreparedControlNet
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.registry import family_params
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.ldm_keys import ldm_names
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.catalogue import CONTROLS
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.unet.call import UNetShape
from lib_ctrlgen.unet.family import Family
from tests.support import control_files as files
from tests.support.controlnet_layouts import (
    VARIANTS,
    assert_equal,
    assert_same_weights,
    expected,
)

SHAPE = files.shape()


def unit(model: str = "net", **fields: Any) -> ControlUnit:
    payload = {"model": model, "image": files.data_url(), **fields}
    return parse_request({"units": [payload]}).units[0]


def prepared(store: ModelStore, item: ControlUnit, shape: UNetShape = SHAPE, **where: Any) -> Any:
    (active,) = load_units([item], Target(store=store, shape=shape, **where))
    return active.control


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    save_file(files.controlnet_tensors(), tmp_path / "net.safetensors")
    return ModelStore([tmp_path], 1 << 30)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        *((name, layout) for name in VARIANTS for layout in ("diffusers", "ldm")),
        *(("tiny", layout) for layout in ("control_model.", "pickle", "float16")),
    ],
)
def test_every_layout_equals_diffusers(tmp_path: Path, name: str, layout: str) -> None:
    config = VARIANTS[name]
    network = files.controlnet(**config)
    if layout == "float16":
        network.half().float()
    tensors: dict[str, Tensor] = network.state_dict()
    if layout not in {"diffusers", "float16"}:
        tensors = files.to_ldm(tensors, config.get("layers_per_block", 2))
    if layout == "control_model.":
        tensors = {f"control_model.{key}": value for key, value in tensors.items()}
        tensors["model.diffusion_model.out.2.bias"] = torch.zeros(1)
    if layout == "float16":
        tensors = {key: value.half() for key, value in tensors.items()}
    if layout == "pickle":
        torch.save({"state_dict": tensors}, tmp_path / "net.pth")
    else:
        save_file(tensors, tmp_path / "net.safetensors")
    control = prepared(ModelStore([tmp_path], 1 << 30), unit(), files.shape(**config))
    loaded = control.model.network
    assert_same_weights(loaded, control.model.hint_encoder, network)
    call = files.call(3, 8, 16)
    assert_equal(control.residuals(call), expected(network, call, control))


def test_names_agree_with_diffusers_converter() -> None:
    tensors = files.to_ldm(files.controlnet_tensors())
    theirs = convert_controlnet_checkpoint(dict(tensors), {"layers_per_block": 2})
    names = ldm_names(tensors)
    assert {names[key]: value.data_ptr() for key, value in tensors.items()} == {
        key: value.data_ptr() for key, value in theirs.items()
    }


def test_folder_with_config(tmp_path: Path) -> None:
    network = files.controlnet()
    network.save_pretrained(tmp_path / "canny-folder")
    store = ModelStore([tmp_path], 1 << 30)
    assert store.names() == ["canny-folder"]
    control = prepared(store, unit("canny"))
    assert_equal(control.residuals(files.call()), expected(network, files.call(), control))


def test_half_precision_is_kept_off_the_cpu_only(store: ModelStore) -> None:
    half = prepared(store, unit(), dtype=torch.float16)
    assert half.model.network.dtype == torch.float32
    brain = prepared(store, unit(), dtype=torch.bfloat16)
    assert brain.model.network.dtype == torch.bfloat16
    # torch's own attention in bfloat16 fails on CPUs with AMX if ATEN_CPU_CAPABILITY is "default".
    brain.model.network.set_attn_processor(AttnProcessor())
    found = brain.residuals(files.call())
    exact = half.residuals(files.call())
    assert (found.mid.float() - exact.mid).abs().max() < 0.1 * exact.mid.abs().max()


def test_loading_copies_nothing(store: ModelStore) -> None:
    network = prepared(store, unit()).model.network
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in network.parameters())
    assert not network.training


def test_hint_is_embedded_once_per_size(store: ModelStore) -> None:
    control = prepared(store, unit(preprocessor="canny"))
    calls: list[tuple[int, ...]] = []
    control.model.hint_encoder.register_forward_hook(lambda _m, args, _o: calls.append(tuple(args[0].shape)))
    for size in (8, 8, 16, 8):
        for rows in (1, 4):
            control.residuals(files.call(rows, size, size))
    assert calls == [(1, 3, 64, 64), (1, 3, 128, 128)]


def test_two_units_share_a_network_but_not_their_hints(store: ModelStore) -> None:
    items = [unit(), unit(image=files.data_url(seed=9))]
    first, second = (active.control for active in load_units(items, Target(store=store, shape=SHAPE)))
    assert isinstance(first, PreparedControlNet)
    assert isinstance(second, PreparedControlNet)
    assert first.model.network is second.model.network
    assert not torch.equal(first.residuals(files.call()).mid, second.residuals(files.call()).mid)


def test_second_generation_reads_nothing(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        save_file(files.controlnet_tensors(seed), tmp_path / f"{name}.safetensors")
    store = ModelStore([tmp_path], 1 << 30)
    items = [unit(name) for name in "abc"]
    load_units(items, Target(store=store, shape=SHAPE))
    reads = store.reads
    load_units(items, Target(store=store, shape=SHAPE))
    assert reads == store.reads == 6, "a header and a network per file"


def test_rows_are_independent(store: ModelStore) -> None:
    control, call = prepared(store, unit()), files.call(4)
    whole = control.residuals(call)
    part = control.residuals(call.select([1, 3]))
    for all_rows, some in zip(whole.layers, part.layers, strict=True):
        assert torch.allclose(all_rows[[1, 3]], some, atol=1e-5)


def test_extra_latent_channels_are_cut(tmp_path: Path, store: ModelStore) -> None:
    inpainting = files.shape(in_channels=9)
    control = prepared(store, unit(), inpainting)
    call = files.call()
    wide = torch.cat((call.inputs.x, torch.ones(2, 5, 8, 8)), dim=1)
    wide_call = replace(call, inputs=replace(call.inputs, x=wide))
    assert torch.equal(control.residuals(wide_call).mid, control.residuals(call).mid)


def refused(items: list[ControlUnit], store: ModelStore, shape: UNetShape = SHAPE) -> RequestError:
    with pytest.raises(RequestError) as raised:
        load_units(items, Target(store=store, shape=shape))
    return raised.value


def test_wrong_family_names_both(store: ModelStore) -> None:
    error = refused([unit()], store, UNetShape(**{**_fields(SHAPE), "family": Family.of(768)}))
    assert error.path == "$.units[0].model"
    assert "custom (context 64)" in error.message
    assert "SD1.5 (context 768)" in error.message


def test_same_family_of_another_width(store: ModelStore) -> None:
    error = refused([unit()], store, files.shape(block_out_channels=(32, 32, 32, 32)))
    assert error.path == "$.units[0].model"
    assert "32-32-32-32-64" in error.message
    assert "the loaded checkpoint takes 32-32-32-32-32" in error.message


def _fields(shape: UNetShape) -> dict[str, Any]:
    return {name: getattr(shape, name) for name in shape.__dataclass_fields__}


def test_disabled_units_keep_the_place_of_the_others(store: ModelStore) -> None:
    items = [unit("missing", enabled=False, image=""), unit(), unit("zzz")]
    assert [active.index for active in load_units(items[:2], Target(store=store, shape=SHAPE))] == [1]
    error = refused(items, store)
    assert error.path == "$.units[2].model"
    assert "known: net" in error.message


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"image": ""}, "image", "needs a picture"),
        ({"image": "/etc/passwd"}, "image", "paths on the server"),
        ({"mask": "nonsense"}, "mask", "base64"),
        ({"model": "mot"}, "model", "net"),
        (
            {"control": "ip_adapter"},
            "control",
            "'net' is of the family ControlNet: use 'auto' or 'controlnet'",
        ),
        ({"params": {"low_treshold": 1}}, "params.low_treshold", "unknown parameter"),
        ({"preprocessor": "canny", "params": {"low_treshold": 1}}, "params.low_treshold", "low_threshold"),
        ({"preprocessor": "canny", "params": {"low_threshold": 0}}, "params.low_threshold", "1..255"),
        ({"layer_weights": [1, 1]}, "layer_weights", "expected 13 weights"),
    ],
)
def test_wrong_units_say_where_and_what(
    store: ModelStore, fields: dict[str, Any], path: str, message: str
) -> None:
    error = refused([unit(**fields)], store)
    assert error.path == f"$.units[0].{path}"
    assert message in error.message


def test_masks_are_decoded(store: ModelStore) -> None:
    (active,) = load_units([unit(mask=files.data_url(20, 10))], Target(store=store, shape=SHAPE))
    assert active.mask is not None
    assert active.mask.size == (20, 10)


def test_layer_weights_of_the_right_length(store: ModelStore) -> None:
    assert prepared(store, unit(layer_weights=[0.5] * 13))


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_incomplete_networks_name_the_keys(tmp_path: Path, damage: str) -> None:
    tensors = dict(files.controlnet_tensors())
    key = "down_blocks.0.resnets.0.conv2.weight"
    if damage == "missing":
        del tensors[key]
    elif damage == "extra":
        tensors["surprise.weight"] = torch.zeros(1)
    else:
        tensors[key] = torch.zeros(1, 2, 3, 3)
    save_file(tensors, tmp_path / "net.safetensors")
    error = refused([unit()], ModelStore([tmp_path], 1 << 30))
    assert error.path == "$.units[0].model"
    assert {"missing": key, "extra": "unknown surprise.weight", "shape": "(1, 2, 3, 3)"}[
        damage
    ] in error.message


@pytest.mark.parametrize("keep", ["controlnet_cond_embedding", "down_blocks", "conv_in", "attn2"])
def test_fragments_are_request_errors(tmp_path: Path, keep: str) -> None:
    tensors = {key: value for key, value in files.controlnet_tensors().items() if keep in key}
    save_file(tensors, tmp_path / "net.safetensors")
    assert refused([unit()], ModelStore([tmp_path], 1 << 30)).path == "$.units[0].model"


@pytest.mark.parametrize("name", ["shuffle", "pooled"])
def test_shuffle_pools_and_is_told_by_name_or_config(tmp_path: Path, name: str) -> None:
    network = files.controlnet()
    save_file(network.state_dict(), tmp_path / "control_v11e_sd15_shuffle.safetensors")
    network.save_pretrained(tmp_path / "pooled")
    config = json.loads((tmp_path / "pooled" / "config.json").read_text())
    (tmp_path / "pooled" / "config.json").write_text(json.dumps({**config, "global_pool_conditions": True}))
    control = prepared(ModelStore([tmp_path], 1 << 30), unit(name))
    pooled = ControlNetModel.from_pretrained(tmp_path / "pooled").eval()
    call = files.call(2, 8, 16)
    wanted = expected(pooled, call, control)
    assert all(layer.shape[2:] == (1, 1) for layer in wanted)
    found = control.residuals(call)
    assert_equal(found, [w.expand_as(f) for w, f in zip(wanted, found.layers, strict=True)])
    assert control.cond_only


def test_control_map_is_what_the_network_sees(store: ModelStore) -> None:
    control = prepared(store, unit(preprocessor="invert", resize_mode="just_resize"))
    seen = control.control_map(40, 24)
    plain = prepared(store, unit(resize_mode="just_resize")).control_map(40, 24)
    assert seen.size == (40, 24)
    assert seen.getpixel((0, 0)) == tuple(255 - value for value in plain.getpixel((0, 0)))
    assert control.control_map(40, 24) is seen


def test_parameters_of_a_unit() -> None:
    names = {param.name for param in family_params(unit(preprocessor="canny"))}
    assert {"transparent", "union_type", "image_encoder", "face"} < names
    assert [param.name for param in family_params(unit(control="controlnet"))] == ["transparent"]
    assert CONTROLS[1].load() is ControlNet
