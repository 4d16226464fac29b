"""Files as training tools and downloads leave them are loaded, or refused with the real reason."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.registry import identify
from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.headless.checkpoints.components import read_network
from lib_ctrlgen.models.clip_vision import find_encoder
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_header, read_tensors
from lib_ctrlgen.models.weight_keys import usual_names
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files

Tensors = dict[str, Tensor]


@functools.cache
def controlnet() -> Tensors:
    return {key: value.contiguous() for key, value in files.controlnet_tensors().items()}


def loaded(folder: Path, unet: Any, name: str = "net") -> Any:
    request = parse_request({"units": [{"model": name, "image": files.data_url()}]})
    (unit,) = load_units(
        request.units, Target(store=ModelStore([folder], 1 << 30), shape=DiffusersUNet(unet).shape, unet=unet)
    )
    return unit


def residuals(unit: Any) -> list[Tensor]:
    found = unit.control.residuals(files.call())
    return [*found.down, found.mid]


def safetensors(path: Path, tensors: Tensors) -> None:
    save_file(tensors, path.with_name("net.safetensors"))


def misnamed_pickle(path: Path, tensors: Tensors) -> None:
    torch.save(tensors, path.with_name("net.safetensors"))


def misnamed_safetensors(path: Path, tensors: Tensors) -> None:
    save_file(tensors, path.with_name("net.pth"))


def nested(path: Path, tensors: Tensors) -> None:
    whole = {"epoch": 3, "global_step": torch.tensor(9), "optimizer": {"exp_avg": torch.ones(2)}}
    torch.save({**whole, "state_dict": {"module": tensors}}, path.with_name("net.ckpt"))


def sharded(path: Path, tensors: Tensors) -> None:
    """As diffusers writes a large network: a folder with two files and an index."""
    folder, keys = path.with_name("net"), sorted(tensors)
    folder.mkdir()
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    shares = dict(zip(names, (keys[::2], keys[1::2]), strict=True))
    for name, share in shares.items():
        save_file({key: tensors[key] for key in share}, folder / name)
    weight_map = {key: name for name, share in shares.items() for key in share}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")


def sharded_without_index(path: Path, tensors: Tensors) -> None:
    sharded(path, tensors)
    (path.with_name("net") / "diffusion_pytorch_model.safetensors.index.json").unlink()


def prefixed(prefix: str, **more: Tensor) -> Callable[[Path, Tensors], None]:
    def write(path: Path, tensors: Tensors) -> None:
        save_file(
            {f"{prefix}{key}": value for key, value in tensors.items()} | more,
            path.with_suffix(".safetensors"),
        )

    return write


WAYS = {
    "plain": safetensors,
    "pickle named safetensors": misnamed_pickle,
    "safetensors named pth": misnamed_safetensors,
    "training state": nested,
    "sharded": sharded,
    "sharded without index": sharded_without_index,
    "parallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "both": prefixed("module._orig_mod."),
    "owned": prefixed("controlnet.", **{"unet.conv_in.weight": torch.ones(2)}),
    "owned and compiled": prefixed("controlnet._orig_mod."),
    "counter": prefixed("", global_step=torch.tensor(7)),
}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, unet: Any) -> list[Tensor]:
    """The residuals of the network as diffusers saves it."""
    folder = tmp_path_factory.mktemp("plain")
    WAYS["plain"](folder / "net", controlnet())
    return residuals(loaded(folder, unet))


@pytest.mark.parametrize("way", WAYS)
def test_a_controlnet_acts_however_it_was_saved(
    tmp_path: Path, unet: Any, wanted: list[Tensor], way: str
) -> None:
    WAYS[way](tmp_path / "net", controlnet())
    assert ModelStore([tmp_path], 0).names() == ["net"]
    found = loaded(tmp_path, unet)
    assert found.loaded["model"].startswith("net [")
    for one, other in zip(residuals(found), wanted, strict=True):
        # a file's weights lie anywhere in memory, and kernels round by that
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def trained(unet: Any, projection: Tensors, layers: Tensors, *, deduplicated: bool) -> Tensors:
    """What `accelerator.save_state` leaves of IP-Adapter's training: the U-Net, the projection, the layers.

    To safetensors it keeps shared tensors under their first name: in the U-Net's attention processors.
    """
    names = [name for name in unet.attn_processors if ".attn2." in name]
    found = {f"unet.{key}": value for key, value in unet.state_dict().items()}
    found |= {f"image_proj_model.{key}": value for key, value in projection.items()}
    for i, name in enumerate(names):
        for part in "kv":
            value = layers[f"ip_adapter.{2 * i + 1}.to_{part}_ip.weight"]
            found[f"unet.{name}.to_{part}_ip.weight"] = value
            if not deduplicated:
                found[f"adapter_modules.{2 * i + 1}.to_{part}_ip.weight"] = value
    return {key: value.contiguous() for key, value in found.items()}


@pytest.mark.parametrize("deduplicated", [True, False])
def test_an_adapter_from_its_training_is_the_exported_one(
    tmp_path: Path, unet: Any, deduplicated: bool
) -> None:
    files.save_vision(tmp_path / "vision")
    _, projection = files.plain_projection()
    widths = DiffusersUNet(unet).shape.attention_hidden
    layers = files.save_adapter(tmp_path / "exported.safetensors", projection, widths)
    state = trained(unet, projection, layers, deduplicated=deduplicated)
    (tmp_path / "checkpoint-50").mkdir()
    if deduplicated:
        save_file(state, tmp_path / "checkpoint-50" / "model.safetensors")
    else:
        torch.save(state, tmp_path / "checkpoint-50" / "pytorch_model.bin")
    mine = loaded(tmp_path, unet, "checkpoint-50/" + ("model" if deduplicated else "pytorch_model"))
    theirs = loaded(tmp_path, unet, "exported")
    sites = DiffusersUNet(unet).attention_sites()
    for one, other in zip(
        mine.control.terms(sites, torch.float32, torch.device("cpu")),
        theirs.control.terms(sites, torch.float32, torch.device("cpu")),
        strict=True,
    ):
        torch.testing.assert_close(one.keys, other.keys, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one.values, other.values, rtol=1e-4, atol=1e-6)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 1445157120\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (POINTER, r"Git LFS pointer.*1\.35 GB.*git lfs pull"),
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b'{"error": "Repository not found"}', "message"),
        (b"Entry not found", "message"),
        (b"Invalid username or password.", "message"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
def test_a_download_that_went_wrong_says_so(
    tmp_path: Path, unet: Any, content: bytes, reason: str, suffix: str
) -> None:
    (tmp_path / f"net{suffix}").write_bytes(content)
    with pytest.raises(RequestError, match=reason) as caught:
        loaded(tmp_path, unet)
    assert caught.value.path == "$.units[0].model"


def test_a_pointer_in_a_diffusers_folder_says_so_too(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(POINTER)
    with pytest.raises(ModelError, match="git lfs pull"):
        read_network(type(files.unet()), tmp_path / "unet", torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["pulid_encoder.latents", "pulid_ca.0.norm1.weight"], "PuLID for Flux"),
        (["state.0.exp_avg"], "optimizer"),
        (["controlnet_x_embedder.weight", "controlnet_blocks.0.weight"], "Flux"),
    ],
)
def test_what_is_known_and_not_supported_has_its_name(keys: list[str], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        identify(dict.fromkeys(keys, (4, 4)))


def test_missing_shards_and_wrong_indexes_are_named(tmp_path: Path) -> None:
    sharded(tmp_path / "net", {"a": torch.ones(1), "b": torch.ones(1)})
    index = tmp_path / "net" / "diffusion_pytorch_model.safetensors.index.json"
    (tmp_path / "net" / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"1 of its 2 shards are missing.*00002-of-00002"):
        read_tensors(index)
    for broken in ('{"weight_map": {"a": "../outside.safetensors"}}', "{}", "[]", '{"weight_map": {}}', "no"):
        index.write_text(broken)
        with pytest.raises(ModelError, match="no index of shards"):
            read_tensors(index)


def test_a_changed_shard_is_read_again(tmp_path: Path) -> None:
    sharded(tmp_path / "net", {"a": torch.zeros(1), "b": torch.zeros(1)})
    store = ModelStore([tmp_path], 1 << 20)
    path = store.resolve("net")
    before = store.files.hash(path)
    assert store.get(path, read_tensors)["b"] == 0
    save_file({"b": torch.ones(3)}, tmp_path / "net" / "diffusion_pytorch_model-00002-of-00002.safetensors")
    assert store.get(path, read_tensors)["b"].sum() == 3
    assert store.files.hash(path) != before


def test_a_sharded_encoder_is_found(tmp_path: Path) -> None:
    network = files.save_vision(tmp_path / "tower")
    (tmp_path / "tower" / "model.safetensors").unlink()
    keys = sorted(network.state_dict())
    weight_map = {key: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(keys)}
    for name in set(weight_map.values()):
        part = {key: network.state_dict()[key] for key in keys if weight_map[key] == name}
        save_file(part, tmp_path / "tower" / name)
    (tmp_path / "tower" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    store = ModelStore([tmp_path], 1 << 30)
    assert store.names() == []
    found = find_encoder(store, "pooled", 40)
    assert len(read_tensors(found.weights)) == len(keys)


def test_a_program_is_refused_as_one(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "net.pth"))
    with pytest.raises(ModelError, match="TorchScript"):
        read_header(tmp_path / "net.pth")


def test_a_pickle_that_holds_itself_ends(tmp_path: Path) -> None:
    endless: dict[str, Any] = {"a": torch.ones(1)}
    endless["model"] = endless
    endless["more"] = endless
    torch.save(endless, tmp_path / "net.pth")
    assert "a" in read_tensors(tmp_path / "net.pth")


PARTS = st.lists(st.sampled_from(["module", "_orig_mod", "controlnet", "unet", "weight", "global_step", "0"]))


@given(st.dictionaries(PARTS.map(".".join), st.sampled_from([(), (1,), (4, 4)])))
def test_usual_names_come_from_the_file_and_are_stable(shapes: dict[str, tuple[int, ...]]) -> None:
    found = usual_names(shapes)
    assert set(found.values()) <= set(shapes)
    again = usual_names({name: shapes[key] for name, key in found.items()})
    assert set(again) == set(found)
