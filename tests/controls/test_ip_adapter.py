"""IP-Adapters: their tokens, keys and values, and the CLIP vision encoders that they need."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import IPAdapterFullImageProjection
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.clip_vision import MEAN, STD, centre_square
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files
from tests.support.ip_adapter_units import SHAPE, prepared, refused, unit, write

SITES = DiffusersUNet(files.unet()).attention_sites()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    files.save_vision(tmp_path / "clip_vision" / "tower")
    return ModelStore([tmp_path], 1 << 30)


def pixels() -> torch.Tensor:
    square = np.asarray(centre_square(decode_image(files.data_url(50, 40), ""), 32), np.float32) / 255
    return torch.from_numpy((square - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)[None]


def tower(path: Path) -> Any:
    """The fixture's tower, built anew."""
    return files.save_vision(path / "again")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_plain_tokens(store: ModelStore, tmp_path: Path, suffix: str) -> None:
    projection = write(tmp_path, "plain", suffix)
    cond, uncond = prepared(store, unit()).tokens()
    embeds = tower(tmp_path)(pixels()).image_embeds
    assert torch.allclose(cond, projection(embeds), atol=1e-6)
    assert torch.equal(uncond, projection(torch.zeros_like(embeds)))
    assert cond.shape == (1, 4, files.CONTEXT)
    assert uncond.abs().max() > 0.01, "the layer norm's bias"


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_plus_tokens(store: ModelStore, tmp_path: Path, suffix: str) -> None:
    projection = write(tmp_path, "plus", suffix)
    cond, uncond = prepared(store, unit()).tokens()
    network = tower(tmp_path)
    hidden = network(pixels(), output_hidden_states=True).hidden_states[-2]
    zeros = network(torch.zeros(1, 3, 32, 32), output_hidden_states=True).hidden_states[-2]
    assert torch.allclose(cond, projection(hidden), atol=1e-5)
    assert torch.allclose(uncond, projection(zeros), atol=1e-5)
    assert cond.shape == (1, 6, files.CONTEXT)


def test_full_tokens(store: ModelStore, tmp_path: Path) -> None:
    module = files.random_weights(IPAdapterFullImageProjection(48, files.CONTEXT), 7)
    names = {"ff.net.0.proj": "proj.0", "ff.net.2": "proj.2", "norm": "proj.3"}
    tensors = {}
    for key, value in module.state_dict().items():
        name, _, leaf = key.rpartition(".")
        tensors[f"{names[name]}.{leaf}"] = value
    files.save_adapter(tmp_path / "adapter.safetensors", tensors, SHAPE.attention_hidden)
    cond, _ = prepared(store, unit()).tokens()
    hidden = tower(tmp_path)(pixels(), output_hidden_states=True).hidden_states[-2]
    assert torch.allclose(cond, module(hidden), atol=1e-5)
    assert cond.shape == (1, 17, files.CONTEXT)


def test_keys_and_values_in_checkpoint_order(store: ModelStore, tmp_path: Path) -> None:
    projection = write(tmp_path, "plain")
    control = prepared(store, unit())
    layers = load_file(tmp_path / "adapter.safetensors")
    pairs = control.terms(SITES, torch.float32, torch.device("cpu"))
    assert len(pairs) == len(SITES) == 16
    cond, uncond = control.tokens()
    for i, (pair, site) in enumerate(zip(pairs, SITES, strict=True)):
        weight = layers[f"ip_adapter.{2 * i + 1}.to_k_ip.weight"]
        assert pair.keys.shape == (2, 4, site.hidden)
        assert torch.allclose(pair.keys[0], functional.linear(uncond[0], weight), atol=1e-5)
        assert torch.allclose(pair.keys[1], functional.linear(cond[0], weight), atol=1e-5)
        weight = layers[f"ip_adapter.{2 * i + 1}.to_v_ip.weight"]
        assert torch.allclose(pair.values[1], functional.linear(cond[0], weight), atol=1e-5)
    assert projection is not None
    half = control.terms(SITES, torch.float16, torch.device("cpu"))
    assert half[0].keys.dtype == torch.float16


def test_layer_numbers_are_numbers_not_text(store: ModelStore, tmp_path: Path) -> None:
    """`ip_adapter.11` follows 9, although it sorts before it as text."""
    write(tmp_path, "plain")
    widths = [keys.shape[0] for keys, _ in prepared(store, unit()).weights.layers]
    assert tuple(widths) == SHAPE.attention_hidden


def test_other_sites_are_a_model_error(store: ModelStore, tmp_path: Path) -> None:
    write(tmp_path, "plain")
    with pytest.raises(ModelError, match="16 attention layers"):
        prepared(store, unit()).terms(SITES[:-1], torch.float32, torch.device("cpu"))


def test_adapter_for_another_layout_is_refused(store: ModelStore, tmp_path: Path) -> None:
    _, tensors = files.plain_projection()
    files.save_adapter(tmp_path / "adapter.safetensors", tensors, (32,) * 5)
    error = refused(unit(), store)
    assert error.path == "$.units[0].model"
    assert "has 5 attention layers of widths 32" in error.message


@pytest.mark.parametrize("kind", ["plain", "plus"])
def test_the_tower_runs_once_per_picture(store: ModelStore, tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind)
    prepared(store, unit())
    runs: list[int] = []
    towers = [each.value for each in store._cache.values() if hasattr(each.value, "network")]
    towers[0].network.register_forward_hook(lambda *_: runs.append(1))
    reads = store.reads
    prepared(store, unit())
    assert not runs
    prepared(store, unit(image=files.data_url(30, 30, seed=5)))
    assert runs == [1]
    assert store.reads == reads


def test_encoder_is_chosen_by_width(store: ModelStore, tmp_path: Path) -> None:
    files.save_vision(tmp_path / "clip_vision" / "another", hidden=64, projection=24, seed=8)
    write(tmp_path, "plus")
    cond, _ = prepared(store, unit()).tokens()
    named, _ = prepared(store, unit(params={"image_encoder": "tower"})).tokens()
    assert torch.equal(cond, named)


def test_of_several_encoders_one_must_be_named(store: ModelStore, tmp_path: Path) -> None:
    write(tmp_path, "plain")
    files.save_vision(tmp_path / "hub" / "models--own--er" / "snapshots" / "abc", seed=9)
    alone = prepared(store, unit())
    assert alone.loaded["image_encoder"].startswith("clip_vision/tower ["), "before the Hub's cache"
    files.save_vision(tmp_path / "clip_vision" / "a-twin", seed=9)
    error = refused(unit(), store)
    assert "clip_vision/a-twin, clip_vision/tower" in error.message
    other = prepared(store, unit(params={"image_encoder": "a-twin"}))
    assert not torch.equal(alone.tokens()[0], other.tokens()[0])
    recorded = alone.loaded["image_encoder"]
    assert recorded.startswith("clip_vision/tower [")
    again = prepared(store, unit(params={"image_encoder": recorded}))
    assert torch.equal(alone.tokens()[0], again.tokens()[0])
    wrong = refused(unit(params={"image_encoder": "clip_vision/tower [01234567]"}), store)
    assert wrong.path == "$.units[0].params.image_encoder"
    assert recorded in wrong.message


def test_equal_encoders_under_two_names_are_one(store: ModelStore, tmp_path: Path) -> None:
    files.save_vision(tmp_path / "copy")
    write(tmp_path, "plain")
    assert prepared(store, unit()).loaded["image_encoder"].startswith("clip_vision/tower [")


@pytest.mark.parametrize(("name", "message"), [("towr", "tower"), ("small", "adapter needs projection 40")])
def test_wrong_named_encoder(store: ModelStore, tmp_path: Path, name: str, message: str) -> None:
    files.save_vision(tmp_path / "small", hidden=64, projection=24)
    write(tmp_path, "plain")
    error = refused(unit(params={"image_encoder": name}), store)
    assert error.path == "$.units[0].params.image_encoder"
    assert message in error.message


def test_missing_encoder_says_which_and_where(tmp_path: Path) -> None:
    files.save_vision(tmp_path / "small", hidden=64, projection=24)
    write(tmp_path, "plain")
    error = refused(unit(), ModelStore([tmp_path], 1 << 30))
    assert error.path == "$.units[0].model"
    assert "projection 40" in error.message
    assert "small (hidden 64, projection 24)" in error.message
    assert "models/clip_vision" in error.message


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"control_mode": "prompt"}, "control_mode", "'balanced'"),
        ({"control_mode": "control"}, "control_mode", "lower its weight"),
        ({"preprocessor": "canny"}, "preprocessor", "set 'none'"),
        ({"layer_weights": [1] * 13}, "layer_weights", "expected 16 weights"),
        ({"params": {"image_encodr": "x"}}, "params.image_encodr", "nearest: image_encoder"),
        ({"image": ""}, "image", "needs a picture"),
        ({"control": "controlnet"}, "control", "is of the family IP-Adapter"),
    ],
)
def test_wrong_units(
    store: ModelStore, tmp_path: Path, fields: dict[str, Any], path: str, message: str
) -> None:
    write(tmp_path, "plain")
    error = refused(unit(**fields), store)
    assert error.path == f"$.units[0].{path}"
    assert message in error.message


def save_again(folder: Path, tensors: dict[str, torch.Tensor], name: str = "model.safetensors") -> None:
    (folder / "model.safetensors").unlink()
    if name.endswith("bin"):
        torch.save(tensors, folder / name)
    else:
        save_file(tensors, folder / name)


@pytest.mark.parametrize("form", ["bin", "with text tower", "without prefix", "position ids", "float16"])
def test_towers_in_every_form(store: ModelStore, tmp_path: Path, form: str) -> None:
    write(tmp_path, "plain")
    wanted, _ = prepared(store, unit()).tokens()
    folder = tmp_path / "clip_vision" / "tower"
    tensors = {key: value.clone() for key, value in load_file(folder / "model.safetensors").items()}
    if form == "with text tower":
        config = json.loads((folder / "config.json").read_text())
        whole = {
            "model_type": "clip",
            "projection_dim": config.pop("projection_dim"),
            "vision_config": config,
        }
        (folder / "config.json").write_text(json.dumps(whole))
        tensors |= {"text_model.final_layer_norm.bias": torch.zeros(3), "logit_scale": torch.ones(())}
    if form == "without prefix":
        tensors = {key.removeprefix("vision_model."): value for key, value in tensors.items()}
    if form == "position ids":
        tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    if form == "float16":
        tensors = {key: value.half() for key, value in tensors.items()}
    save_again(folder, tensors, "pytorch_model.bin" if form == "bin" else "model.safetensors")
    found, _ = prepared(ModelStore([tmp_path], 1 << 30), unit()).tokens()
    assert torch.allclose(found, wanted, atol=0.02 if form == "float16" else 1e-6)


def test_broken_tower_is_a_request_error(store: ModelStore, tmp_path: Path) -> None:
    write(tmp_path, "plain")
    folder = tmp_path / "clip_vision" / "tower"
    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_again(folder, {key: value.clone() for key, value in tensors.items()})
    assert "missing visual_projection.weight" in refused(unit(), store).message
    (folder / "config.json").write_text("{")
    assert "there is none" in refused(unit(), store).message


def test_normalisation_beside_the_tower_is_used(store: ModelStore, tmp_path: Path) -> None:
    write(tmp_path, "plain")
    before, _ = prepared(store, unit()).tokens()
    beside = tmp_path / "clip_vision" / "tower" / "preprocessor_config.json"
    beside.write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    after, _ = prepared(ModelStore([tmp_path], 1 << 30), unit()).tokens()
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("damage", ["no norm", "no values", "odd values", "resampler"])
def test_incomplete_adapters(store: ModelStore, tmp_path: Path, damage: str) -> None:
    write(tmp_path, "plus" if damage == "resampler" else "plain")
    path = tmp_path / "adapter.safetensors"
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    if damage == "no norm":
        del tensors["image_proj.norm.weight"]
    if damage == "no values":
        del tensors["ip_adapter.31.to_v_ip.weight"]
    if damage == "odd values":
        tensors["ip_adapter.31.to_v_ip.weight"] = torch.zeros(3, 4)
    if damage == "resampler":
        del tensors["image_proj.layers.2.0.to_q.weight"]
    save_file(tensors, path)
    error = refused(unit(), store)
    assert error.path == "$.units[0].model"
    missing = "missing layers.2.0.to_q.weight" if damage == "resampler" else "not a complete IP-Adapter"
    assert error.message.startswith("'adapter' ")
    assert missing in error.message


@pytest.mark.parametrize("size", [(100, 40), (40, 100), (32, 32), (7, 9), (33, 32)])
def test_square_is_the_middle(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (9, 9, 9))
    square = centre_square(image, 32)
    assert square.size == (32, 32)
    assert square.getcolors() == [(32 * 32, (9, 9, 9))]


def test_control_map_is_the_square_that_the_tower_sees(store: ModelStore, tmp_path: Path) -> None:
    write(tmp_path, "plain")
    assert prepared(store, unit()).control_map(512, 512).size == (32, 32)
