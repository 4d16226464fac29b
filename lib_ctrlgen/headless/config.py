"""A checkpoint's ldm configuration: the yaml beside it, or SD1.5's published one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib_ctrlgen.errors import ModelError

PUBLISHED = Path(__file__).parent / "sd15.yaml"
CLIP = "openai/clip-vit-large-patch14"


@dataclass(frozen=True, kw_only=True)
class Config:
    """An ldm configuration. `text` is the folder that it names for the text tower, if any."""

    raw: Mapping[str, Any]
    text: Path | None

    @property
    def noise(self) -> dict[str, Any]:
        """The arguments of diffusers schedulers: betas linear in their roots, and their number."""
        params = self.raw["model"]["params"]
        return {
            "num_train_timesteps": int(params["timesteps"]),
            "beta_start": float(params["linear_start"]),
            "beta_end": float(params["linear_end"]),
            "beta_schedule": "scaled_linear",
            "prediction_type": "epsilon",
        }


def config_path(checkpoint: Path) -> Path:
    """The yaml of a checkpoint: `name.yaml` beside it, or the published one."""
    beside = checkpoint.with_suffix(".yaml")
    return beside if beside.is_file() else PUBLISHED


def read_config(path: Path) -> Config:
    """Read an ldm configuration.

    Raises ModelError when it is broken, or describes a model that is not supported yet.
    """
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
        params = raw["model"]["params"]
        inner = {part: params[part] for part in ("unet_config", "first_stage_config", "cond_stage_config")}
        channels = int(inner["unet_config"]["params"]["in_channels"])
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path.name} is no ldm configuration: {type(error).__name__} {reason}") from error
    if params.get("parameterization", "eps") != "eps":
        raise ModelError(f"{path.name} describes a v-prediction model, not supported without the WebUI yet")
    if channels != 4:
        raise ModelError(f"{path.name} describes a {channels}-channel (inpainting) U-Net, not supported yet")
    return Config(raw=raw, text=_text_folder(path, inner["cond_stage_config"] or {}))


def _text_folder(path: Path, stage: Mapping[str, Any]) -> Path | None:
    """The folder of `FrozenCLIPEmbedder.version`, relative to the yaml; None for CLIP's own name."""
    target = str(stage.get("target", ""))
    if not target.endswith(".FrozenCLIPEmbedder"):
        raise ModelError(f"{path.name} asks for the text encoder {target or '(none)'}, not supported yet")
    version = str((stage.get("params") or {}).get("version", CLIP))
    if version == CLIP:
        return None
    folder = path.parent / version
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{path.name} names the text folder '{version}', and there is no {folder / 'config.json'}: "
            "put config.json, vocab.json and merges.txt there"
        )
    return folder
