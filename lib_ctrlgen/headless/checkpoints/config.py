"""The ldm or sgm configuration of a checkpoint: the yaml file beside it, or the published one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib_ctrlgen.errors import ModelError

from .kinds import Kind, require_channels
from .noise_config import NoiseConfig
from .text_encoder import CLIP, PUBLISHED, VIT_H

PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "EpsScaling": "epsilon", "VScaling": "v_prediction"}


@dataclass(frozen=True, kw_only=True)
class TextStage:
    """A text encoder in a configuration: a published architecture's name, or a folder with its config.

    `layer` is the hidden state that the U-Net reads: None for the last layer's, -2 for the one before it.
    """

    name: str
    folder: Path | None = None
    layer: int | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    """An ldm or sgm configuration; `size_dim` is the width of the sinusoidal embedding of SDXL's sizes."""

    raw: Mapping[str, Any]
    stages: tuple[TextStage, ...]
    noise: NoiseConfig
    size_dim: int = 256


def yaml_beside(checkpoint: Path) -> Path | None:
    """The path of `name.yaml` beside a checkpoint, or None."""
    beside = checkpoint.with_suffix(".yaml")
    return beside if beside.is_file() else None


def read_config(path: Path, kind: Kind) -> Config:
    """Read the configuration of a checkpoint of this kind.

    Raises ModelError when it is broken, belongs to another kind, or describes a model that is not supported.
    """
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
        params = raw["model"]["params"]
        inner = params["network_config" if "network_config" in params else "unet_config"]
        require_channels(int(inner["params"]["in_channels"]))
        params["first_stage_config"]["params"]
        return _sgm(path, raw) if kind.sized else _ldm(path, raw, kind)
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}") from error
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{path.name} is no {kind.name} configuration: {type(error).__name__} {reason}"
        ) from error


def _ldm(path: Path, raw: Mapping[str, Any], kind: Kind) -> Config:
    params = raw["model"]["params"]
    noise = NoiseConfig(
        steps=int(params["timesteps"]),
        start=float(params["linear_start"]),
        end=float(params["linear_end"]),
        prediction=_prediction(params.get("parameterization", "eps")),
    )
    stage = params["cond_stage_config"]
    wanted = "FrozenOpenCLIPEmbedder" if kind.open_clip[0] else "FrozenCLIPEmbedder"
    return Config(raw=raw, stages=(_stage(path, stage or {}, wanted),), noise=noise)


def _sgm(path: Path, raw: Mapping[str, Any]) -> Config:
    params = raw["model"]["params"]
    first, second, *sizes = params["conditioner_config"]["params"]["emb_models"]
    stages = (
        _stage(path, first, "FrozenCLIPEmbedder"),
        _stage(path, second, "FrozenOpenCLIPEmbedder2"),
    )
    if any(stage.layer is None for stage in stages):
        raise ModelError(
            "SDXL's text features are those of the last layer but one of both text encoders: this file takes "
            "the last layer"
        )
    names = [str(each.get("input_key")) for each in sizes]
    if names != ["original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple"]:
        raise ModelError(
            f"it needs {', '.join(names) or 'no sizes'} beside the text, perhaps as a refiner: {NOT_YET}"
        )
    size_dim = sorted({int(each["params"]["outdim"]) for each in sizes})
    if len(size_dim) > 1:
        raise ModelError(
            f"its sizes are embedded in {' and '.join(map(str, size_dim))} numbers: they must be equal"
        )
    return Config(
        raw=raw, stages=stages, noise=_denoiser(params["denoiser_config"]["params"]), size_dim=size_dim[0]
    )


NOT_YET = "so far only SDXL's base model is supported"


def _denoiser(params: Mapping[str, Any]) -> NoiseConfig:
    """The noise configuration in sgm's denoiser section (LegacyDDPMDiscretization, epsilon or v)."""
    discretization = params["discretization_config"]
    _require(_class(discretization), "LegacyDDPMDiscretization", "the noise")
    given = discretization.get("params") or {}
    return NoiseConfig(
        steps=int(given.get("num_timesteps", params["num_idx"])),
        start=float(given.get("linear_start", NoiseConfig.start)),
        end=float(given.get("linear_end", NoiseConfig.end)),
        prediction=_prediction(_class(params["scaling_config"])),
    )


def _prediction(name: str) -> str:
    return PREDICTIONS.get(name, name)


def _class(part: Mapping[str, Any]) -> str:
    return str(part.get("target", "")).rpartition(".")[2]


def _require(found: str, wanted: str, what: str) -> None:
    if found != wanted:
        raise ModelError(f"it uses {found or '(none)'} for {what}: only {wanted} is supported")


def _stage(path: Path, stage: Mapping[str, Any], wanted: str) -> TextStage:
    """The text encoder of a configuration's section; a folder is relative to the yaml file.

    transformers' text encoders are named by `version`, OpenCLIP's by `arch`.
    """
    _require(_class(stage), wanted, "the text encoder")
    params = stage.get("params") or {}
    name = str(params.get("arch", VIT_H) if "OpenCLIP" in wanted else params.get("version", CLIP))
    layer = LAYERS.get(params.get("layer", "last"), params.get("layer_idx"))
    if name in PUBLISHED:
        return TextStage(name=name, layer=layer)
    folder = path.parent / name
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"it names the text folder '{name}', but there is no {folder / 'config.json'}: "
            "put config.json, vocab.json and merges.txt there"
        )
    return TextStage(name=name, folder=folder, layer=layer)


LAYERS = {"last": None, "penultimate": -2}
