"""Checkpoints are loaded from a single file or a diffusers folder; errors name what is wrong with others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.headless.checkpoints.load import (
    load_networks,
    load_pipeline,
)
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.store import ModelStore
from tests.support import headless_models as models
from tests.support.tiny_engine import CPU, EDGES, LOOK, request, same


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_single_file_gives_the_networks_it_was_written_from(tmp_path: Path, dtype: torch.dtype) -> None:
    source = models.networks()
    tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in models.checkpoint(source).items()}
    save_file(tensors, tmp_path / "sd.safetensors")
    models.write_yaml(tmp_path / "sd.yaml")
    models.write_text(tmp_path / "text")
    loaded = load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)
    pairs = [
        (loaded.unet, source.unet),
        (loaded.vae, source.vae),
        (loaded.text_encoder, source.text),
    ]
    for mine, theirs in pairs:
        wanted = theirs.state_dict()
        assert mine.state_dict().keys() == wanted.keys()
        for key, value in mine.state_dict().items():
            assert not value.is_floating_point() or value.dtype == torch.float32
            assert torch.equal(value, wanted[key].to(dtype).to(value.dtype)), key
    assert loaded.vae.config.scaling_factor == 0.25
    assert not loaded.unet.training


def test_a_checkpoint_without_a_yaml_is_read_as_sd15(tmp_path: Path, root: Path) -> None:
    shutil.copy(root / "ctrlgen-tiny.safetensors", tmp_path / "sd.safetensors")
    with pytest.raises(
        ModelError, match=r"'sd\.safetensors'.*does not fit its architecture.*, expected \(320"
    ):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


def test_a_diffusers_folder_gives_the_same_pictures(root: Path, tmp_path: Path, engine: Engine) -> None:
    load_pipeline(root / "ctrlgen-tiny.safetensors", engine.store, CPU).save_pretrained(tmp_path / "folder")
    folder = Engine([tmp_path, root], 1 << 30, CPU)
    single = engine.generate(request(EDGES))
    assert same(folder.generate(request(EDGES, model="folder")), single, tolerance=1)
    assert same(folder.generate(request(EDGES, model=str(tmp_path / "folder"))), single, tolerance=1)


def test_a_loaded_model_is_not_read_again(root: Path) -> None:
    engine = Engine([root], 1 << 30, CPU)
    engine.generate(request(EDGES, LOOK))
    reads = engine.store.reads
    engine.generate(request(EDGES, LOOK, seed=5, sampler="DDIM"))
    assert engine.store.reads == reads


def without(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(prefix)}


def with_key(key: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {**tensors, key: torch.zeros(1)}


def with_channels(count: int) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    key = "model.diffusion_model.input_blocks.0.0.weight"
    return lambda tensors: {**tensors, key: torch.zeros(32, count, 3, 3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("first_stage_model."), "it lacks an autoencoder: use a complete checkpoint"),
        (without("cond_stage_model."), "it lacks a CLIP text encoder"),
        (
            with_key("conditioner.embedders.0.model.x"),
            "it is an SDXL refiner: .*only SD1.5, SD2 and SDXL are",
        ),
        (with_key("model.diffusion_model.joint_blocks.0.x"), "it is an SD3 checkpoint"),
        (with_key("model.diffusion_model.double_blocks.0.x"), "it is a Flux checkpoint"),
        (
            with_key("conditioner.embedders.0.x"),
            "it lacks a CLIP text encoder and a second CLIP text encoder",
        ),
        (
            with_key("cond_stage_model.model.x"),
            "uses FrozenCLIPEmbedder for the text encoder: only FrozenOpenCLIPEmbedder",
        ),
        (with_channels(9), "it is an inpainting checkpoint with a 9-channel U-Net"),
        (with_channels(8), "it is an InstructPix2Pix checkpoint with a 8-channel U-Net"),
        (lambda _tensors: {"lora_unet_x": torch.zeros(1)}, "not a Stable Diffusion checkpoint"),
        (without("model.diffusion_model.out.2"), "'the U-Net' does not fit .*missing conv_out"),
    ],
)
def test_what_is_no_whole_sd15_checkpoint_is_named(
    tmp_path: Path, root: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    shutil.copytree(root / "text", tmp_path / "text")
    shutil.copy(root / "ctrlgen-tiny.yaml", tmp_path / "sd.yaml")
    save_file(change(models.checkpoint(models.networks())), tmp_path / "sd.safetensors")
    with pytest.raises(ModelError, match=rf"'sd\.safetensors': .*{message}"):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"parameterization": "x0"}, "the U-Net predicts 'x0': only epsilon and v_prediction are supported"),
        ({"unet_config": {"params": {"in_channels": 9}}}, "9-channel"),
        ({"unet_config": None}, "no SD1 configuration"),
        ({"cond_stage_config": {"target": "x.FrozenOpenCLIPEmbedder"}}, "FrozenOpenCLIPEmbedder"),
        (
            {
                "cond_stage_config": {
                    "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                    "params": {"version": "nowhere"},
                }
            },
            "names the text folder 'nowhere', but there is no .*config.json: put",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(
    tmp_path: Path, root: Path, params: dict[str, Any], message: str
) -> None:
    shutil.copy(root / "ctrlgen-tiny.safetensors", tmp_path / "sd.safetensors")
    models.write_yaml(tmp_path / "sd.yaml", **params)
    with pytest.raises(ModelError, match=rf"sd\.yaml.*{message}"):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


def test_a_broken_yaml_is_named(tmp_path: Path, root: Path) -> None:
    shutil.copy(root / "ctrlgen-tiny.safetensors", tmp_path / "sd.safetensors")
    (tmp_path / "sd.yaml").write_text("model: [")
    with pytest.raises(ModelError, match=r"sd\.yaml is no SD1 configuration"):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


def test_a_missing_tokenizer_says_what_to_do(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(root / "ctrlgen-tiny.safetensors", tmp_path / "sd.safetensors")
    models.write_yaml(tmp_path / "sd.yaml")
    models.write_text(tmp_path / "text")
    (tmp_path / "text" / "merges.txt").unlink()
    with pytest.raises(ModelError, match=r"the text folder .* lacks merges\.txt"):
        load_networks(tmp_path / "sd.safetensors", ModelStore([tmp_path], 1 << 30), CPU)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model_index.json", {"_class_name": "StableDiffusion3Pipeline"}, "is a StableDiffusion3Pipeline"),
        ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}, "takes nothing beside the text"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts 'sample'"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "needs v-prediction"),
        ("unet/config.json", {"in_channels": 9, "cross_attention_dim": 768}, "with a 9-channel U-Net"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "takes text_time beside the text"),
        ("vae/config.json", None, "cannot be "),
        ("vae/diffusion_pytorch_model.safetensors", None, "contains no weights"),
        ("text_encoder/model.safetensors", None, "contains no weights"),
        ("model_index.json", [], "is not a JSON object"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(
    tmp_path: Path, root: Path, engine: Engine, file: str, content: Any, message: str
) -> None:
    folder = tmp_path / "folder"
    load_pipeline(root / "ctrlgen-tiny.safetensors", engine.store, CPU).save_pretrained(folder)
    (folder / file).unlink() if content is None else (folder / file).write_text(json.dumps(content))
    with pytest.raises(RequestError, match=rf"^\$\.model: .*folder.*{message}") as raised:
        Engine([tmp_path], 1 << 30, CPU).generate(request(model="folder"))
    assert "\n" not in str(raised.value)


def test_a_control_is_no_checkpoint(engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"^\$\.model: 'ctrlgen-tiny-edges\.safetensors': it is not"):
        engine.generate(request(model="ctrlgen-tiny-edges"))


def test_an_unknown_model_lists_the_nearest(engine: Engine) -> None:
    with pytest.raises(
        RequestError, match=r"^\$\.model: no model named 'ctrlgen-tony'; nearest: .*ctrlgen-tiny"
    ):
        engine.generate(request(model="ctrlgen-tony"))


@pytest.mark.parametrize("model", ["../tiny", "/etc", "", "a\0b", "x" * 5000])
def test_folders_outside_the_model_folders_are_refused(engine: Engine, model: str) -> None:
    with pytest.raises(RequestError, match=r"^\$\.model"):
        engine.generate(request(model=model))
