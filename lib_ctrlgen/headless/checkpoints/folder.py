"""Loads diffusers folders (model_index.json) of SD1.5, SD2 and SDXL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.tensor_files import read_json, read_tensors
from lib_ctrlgen.models.weight_files import weights_in

from .components import read_network
from .convert import text_of
from .kinds import SUPPORTED, require_channels
from .networks import Networks, Place
from .noise_config import NoiseConfig
from .text_encoder import TextEncoder, read_padded, read_text_config

PIPELINES = {"StableDiffusionPipeline": False, "StableDiffusionXLPipeline": True}

OTHER_NOISE = ("EDM", "FlowMatch")  # in the names of the schedulers of Playground and SD3


def read_folder(path: Path, place: Place, dtype: torch.dtype) -> Networks:
    """Read a diffusers folder. Raises ModelError."""
    index = read_json(path / "model_index.json")
    name = index.get("_class_name")
    if name not in PIPELINES:
        raise ModelError(f"'{path.name}' is a {name}: {SUPPORTED}")
    try:
        return _read(path, place, dtype, sdxl=PIPELINES[name])
    except ModelError as error:
        raise ModelError(f"'{path.name}': {error}") from error


def _read(path: Path, place: Place, dtype: torch.dtype, *, sdxl: bool) -> Networks:
    noise = noise_of(read_json(path / "scheduler" / "scheduler_config.json"))
    _require_base(read_json(path / "unet" / "config.json"), sdxl=sdxl)
    vae = path / "vae"
    upcast = sdxl and bool(read_json(vae / "config.json").get("force_upcast", True))
    parts = ("", "_2") if sdxl else ("",)
    return Networks(
        unet=read_network(UNet2DConditionModel, path / "unet", place.device, dtype),
        # SDXL's published autoencoder overflows in half precision
        vae=read_network(AutoencoderKL, vae, place.device, torch.float32 if upcast else dtype),
        text_encoders=_one_tokenizer(
            [_text_encoder(path, part, place, dtype, hidden=sdxl) for part in parts]
        ),
        noise=noise.arguments,
    )


def noise_of(config: Mapping[str, Any]) -> NoiseConfig:
    """The noise configuration in a scheduler's config file. Raises ModelError if it is not supported."""
    name = str(config.get("_class_name", ""))
    if name.startswith(OTHER_NOISE):
        raise ModelError(f"it is sampled with {name}: only Stable Diffusion's noise schedules are supported")
    return NoiseConfig(
        steps=int(config.get("num_train_timesteps", 1000)),
        start=float(config.get("beta_start", 0.0001)),
        end=float(config.get("beta_end", 0.02)),
        betas=str(config.get("beta_schedule", "linear")),
        prediction=str(config.get("prediction_type", "epsilon")),
        zero_snr=bool(config.get("rescale_betas_zero_snr")),
    )


def _require_base(unet: Mapping[str, Any], *, sdxl: bool) -> None:
    require_channels(int(unet.get("in_channels", 4)))
    added = unet.get("addition_embed_type")
    if sdxl != (added == "text_time"):
        raise ModelError(
            f"its U-Net takes {added or 'nothing'} beside the text, which does not fit its pipeline"
        )


def _one_tokenizer(text_encoders: list[TextEncoder]) -> tuple[TextEncoder, ...]:
    """Give both of SDXL's text encoders the first tokenizer: the second may split a text at every "!"."""
    first = text_encoders[0].tokenizer
    words = first.get_vocab()
    alike = (tower.tokenizer.get_vocab() == words for tower in text_encoders)
    return tuple(
        replace(t, tokenizer=first) if same else t for t, same in zip(text_encoders, alike, strict=True)
    )


def _text_encoder(path: Path, part: str, place: Place, dtype: torch.dtype, *, hidden: bool) -> TextEncoder:
    folder = path / f"text_encoder{part}"
    tensors = read_tensors(weights_in(folder, "model", "pytorch_model"))
    projected = part == "_2"
    tokenizer, pad = read_padded(path / f"tokenizer{part}")
    if not projected:
        tensors = {key: value for key, value in tensors.items() if key != "text_projection.weight"}
    return TextEncoder(
        tokenizer=tokenizer,
        encoder=text_of(tensors, read_text_config(folder), place.device, dtype, projected=projected),
        pad=pad,
        hidden=hidden,
        whole=hidden or pad == tokenizer.eos_token_id,
    )
