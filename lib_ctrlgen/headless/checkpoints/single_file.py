"""Loads single-file checkpoints in ldm's (SD1.5, SD2) or sgm's layout (SDXL), with their yaml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.tensor_files import read_tensors

from .config import Config, TextStage, read_config, yaml_beside
from .convert import from_open_clip, inner_of, predicts_v, text_of, unet_of, vae_of
from .kinds import Kind, Tensors, kind_of
from .networks import Networks, Place
from .noise_config import NoiseConfig
from .text_encoder import OPEN_CLIP_PAD, TextEncoder, read_text_config, read_tokenizer


def yaml_time(path: Path) -> int:
    """The modification time of the yaml beside a checkpoint; 0 if there is none."""
    beside = yaml_beside(path)
    return beside.stat().st_mtime_ns if beside else 0


def read_checkpoint(path: Path, place: Place, dtype: torch.dtype) -> Networks:
    """Load a single-file checkpoint, fp16 or fp32. Raises ModelError."""
    tensors = read_tensors(path)
    try:
        kind = kind_of(tensors)
        source = yaml_beside(path) or kind.published
        try:
            return _read(
                tensors, kind, read_config(source, kind), place, dtype, guess=source == kind.published
            )
        except (KeyError, TypeError, AssertionError) as error:
            raise ModelError(f"it does not fit {source.name}: {type(error).__name__} {error}") from error
    except ModelError as error:
        raise ModelError(f"'{path.name}': {error}") from error


def _read(
    tensors: Tensors, kind: Kind, config: Config, place: Place, dtype: torch.dtype, *, guess: bool
) -> Networks:
    unet = unet_of(tensors, config, place.device, dtype, sizes=kind.sized)
    noise = config.noise
    if kind.sized:
        noise = noise_by_keys(tensors, noise)
    elif kind.prediction_unknown and guess and predicts_v(unet):
        noise = replace(noise, prediction="v_prediction")
    text_encoders = zip(kind.text, kind.open_clip, config.stages, strict=True)
    return Networks(
        unet=unet,
        # SDXL's published autoencoder overflows in half precision
        vae=vae_of(tensors, config, place.device, torch.float32 if kind.sized else dtype),
        text_encoders=tuple(
            text_encoder_of(
                inner_of(tensors, prefix), stage, place, dtype, hidden=kind.sized, open_clip=opened
            )
            for prefix, opened, stage in text_encoders
        ),
        noise=noise.arguments,
    )


def noise_by_keys(tensors: Tensors, noise: NoiseConfig) -> NoiseConfig:
    """The noise configuration of an SDXL file, changed by its marker keys `v_pred` and `ztsnr`."""
    prediction = "v_prediction" if "v_pred" in tensors else noise.prediction
    return replace(noise, prediction=prediction, zero_snr="ztsnr" in tensors)


def text_encoder_of(
    tensors: Tensors, stage: TextStage, place: Place, dtype: torch.dtype, *, hidden: bool, open_clip: bool
) -> TextEncoder:
    """Load a text encoder of a checkpoint; `hidden` for SDXL's, which are used without their final norm."""
    unused = int(open_clip and not hidden and stage.layer is not None)
    architecture = read_text_config(stage.folder, stage.name, unused)
    if hidden:
        _require_last_but_one(stage, architecture)
    projected = open_clip and hidden
    if open_clip:
        tensors = from_open_clip(tensors, architecture.num_hidden_layers, projected=projected)
    tokenizer = read_tokenizer(stage.folder or place.tokenizer)
    return TextEncoder(
        tokenizer=tokenizer,
        encoder=text_of(tensors, architecture, place.device, dtype, projected=projected),
        pad=OPEN_CLIP_PAD if open_clip else tokenizer.pad_token_id,
        hidden=hidden,
        whole=not unused,
    )


def _require_last_but_one(stage: TextStage, architecture: Any) -> None:
    layers = architecture.num_hidden_layers
    if stage.layer not in {-2, layers - 1}:
        raise ModelError(
            f"its yaml takes layer {stage.layer} of the text encoder '{stage.name}' with {layers} layers: "
            "only the last but one is supported"
        )
