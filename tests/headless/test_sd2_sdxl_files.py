"""What is read from single files of SD2 and SDXL, and which files are refused."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.headless.checkpoints import kinds
from lib_ctrlgen.headless.checkpoints.load import load_networks
from lib_ctrlgen.models.store import ModelStore
from tests.support import headless_models as models
from tests.support.checkpoint_engine import CPU, Change, changed

pytest_plugins = ["tests.support.checkpoint_engine"]


@pytest.mark.parametrize("v", [False, True])
def test_what_a_bare_sd2_file_predicts_is_found_out(
    checkpoint_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, v: bool
) -> None:
    def bias(tensors: dict[str, Tensor], _params: Any) -> None:
        tensors["model.diffusion_model.out.2.bias"] += -3.0 if v else 0.0

    path = changed(checkpoint_root, tmp_path, "sd2", bias)
    published = path.with_suffix(".yaml").rename(tmp_path / "published.yaml")
    kind = dataclasses.replace(kinds.SD2, published=published)
    monkeypatch.setattr("lib_ctrlgen.headless.checkpoints.single_file.kind_of", lambda _tensors: kind)
    networks = load_networks(path, ModelStore([tmp_path], 1 << 30), CPU)
    assert networks.noise["prediction_type"] == ("v_prediction" if v else "epsilon")


def drop(key: str) -> Change:
    return lambda tensors, _params: tensors.pop(key)


def put(key: str, value: Tensor | None = None) -> Change:
    return lambda tensors, _params: tensors.update({key: torch.zeros(1) if value is None else value})


def stage(number: int, **params: Any) -> Change:
    def change(_tensors: Any, yaml: dict[str, Any]) -> None:
        yaml["conditioner_config"]["params"]["emb_models"][number]["params"].update(params)

    return change


FIRST = "model.diffusion_model.input_blocks.0.0.weight"
SECOND = "conditioner.embedders.1.model."


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "sd2",
            put("depth_model.x"),
            "it is an SD2 depth checkpoint: .*only SD1.5, SD2 and SDXL are supported",
        ),
        ("sd2", put(FIRST, torch.zeros(32, 9, 3, 3)), "an inpainting checkpoint with a 9-channel U-Net"),
        ("sdxl", put(FIRST, torch.zeros(32, 8, 3, 3)), "an InstructPix2Pix checkpoint"),
        ("sdxl", put("edm_mean"), "it is a Playground checkpoint"),
        ("sdxl", put("ztsnr"), "zero terminal SNR needs v-prediction"),
        ("sdxl", drop(f"{SECOND}text_projection"), "the text encoder.*missing text_projection"),
        ("sdxl", drop(f"{SECOND}ln_final.bias"), "the text encoder.*missing .*final_layer_norm"),
        (
            "sd2",
            drop("cond_stage_model.model.token_embedding.weight"),
            "the text encoder.*missing .*token_emb",
        ),
        ("sdxl", stage(0, layer_idx=2), "takes layer 2 of the text encoder 'text' with 2"),
        ("sdxl", stage(1, layer="last"), "SDXL's text features are those of the last layer but one"),
        ("sdxl", stage(1, arch="nowhere"), "names the text folder 'nowhere', but there is no .*config.json"),
        ("sdxl", stage(4, outdim=16), "embedded in 8 and 16 numbers"),
        ("sdxl", put(f"{SECOND}text_projection", torch.zeros(32, 23)), "text_projection.* has shape"),
        (
            "sdxl",
            lambda _t, yaml: [stage(k, outdim=4)(_t, yaml) for k in (2, 3, 4)],
            "takes a vector of 72 numbers",
        ),
        (
            "sd2",
            lambda _t, yaml: yaml.update(cond_stage_config=models.CONFIG["cond_stage_config"]),
            "FrozenCLIP",
        ),
        (
            "sdxl",
            lambda _t, yaml: yaml["denoiser_config"]["params"]["scaling_config"].update(
                target="x.EDMScaling"
            ),
            "predicts 'EDMScaling'",
        ),
        (
            "sdxl",
            lambda _t, yaml: yaml["denoiser_config"]["params"]["discretization_config"].update(
                target="x.EDM"
            ),
            "uses EDM for the noise: only LegacyDDPMDiscretization is supported",
        ),
    ],
)
def test_what_cannot_be_used_is_named(
    checkpoint_root: Path, tmp_path: Path, name: str, change: Change, message: str
) -> None:
    path = changed(checkpoint_root, tmp_path, name, change)
    with pytest.raises(ModelError, match=rf"'{name}\.safetensors': .*({message})"):
        load_networks(path, ModelStore([tmp_path], 1 << 30), CPU)


def test_a_folder_with_other_noise_is_refused(checkpoint_root: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint_root / "sdxl-folder", tmp_path / "folder")
    path = tmp_path / "folder" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "EDMEulerScheduler"}))
    with pytest.raises(ModelError, match="'folder': it is sampled with EDMEulerScheduler"):
        load_networks(tmp_path / "folder", ModelStore([tmp_path], 1 << 30), CPU)


def test_a_refiner_is_named(checkpoint_root: Path, tmp_path: Path) -> None:
    def refine(tensors: dict[str, Tensor], _params: Any) -> None:
        for key in [key for key in tensors if key.startswith("conditioner.")]:
            value = tensors.pop(key)
            if key.startswith(SECOND):
                tensors[key.replace("embedders.1", "embedders.0")] = value

    with pytest.raises(ModelError, match="it is an SDXL refiner: "):
        load_networks(
            changed(checkpoint_root, tmp_path, "sdxl", refine), ModelStore([tmp_path], 1 << 30), CPU
        )
