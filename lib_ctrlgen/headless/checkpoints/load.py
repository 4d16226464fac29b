"""Loads Stable Diffusion from a single file or a diffusers folder, without any download."""

from __future__ import annotations

from collections.abc import Hashable
from copy import deepcopy
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from lib_ctrlgen.models.loading import working_dtype
from lib_ctrlgen.models.store import ModelStore

from .folder import read_folder
from .networks import Networks, Place
from .single_file import read_checkpoint, yaml_time

__all__ = ["Networks", "Place", "load_networks", "load_pipeline", "new_pipeline"]


def load_networks(path: Path, store: ModelStore, place: Place | None = None) -> Networks:
    """Load the networks of a single-file checkpoint or a diffusers folder, or get them from the cache.

    Raises ModelError that says what is wrong with the file and what to do.
    """
    place = place or Place.best()
    dtype = working_dtype(place.dtype, place.device)

    def load_checkpoint(path: Path) -> Networks:
        return read_checkpoint(path, place, dtype)

    def load_folder(path: Path) -> Networks:
        return read_folder(path, place, dtype)

    variant: tuple[Hashable, ...] = (place, dtype)
    if path.is_dir():
        index = path / "model_index.json"
        return store.get(path, load_folder, *variant, index.stat().st_mtime_ns if index.is_file() else 0)
    return store.get(path, load_checkpoint, *variant, yaml_time(path))


def load_pipeline(path: Path, store: ModelStore, place: Place | None = None) -> Any:
    """A diffusers pipeline on cached networks, with a DDIM scheduler. Raises ModelError."""
    networks = load_networks(path, store, place)
    own = {"timestep_spacing": "leading", "steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False}
    return new_pipeline(networks, DDIMScheduler(**own, **networks.noise))


def new_pipeline(networks: Networks, scheduler: Any) -> Any:
    """A diffusers pipeline on existing networks, without progress bar, safety checker or watermark."""
    parts: dict[str, Any] = {"vae": networks.vae, "unet": networks.unet, "scheduler": scheduler}
    for name, tower in zip(("", "_2"), networks.text_encoders, strict=False):
        parts[f"text_encoder{name}"] = tower.encoder
        parts[f"tokenizer{name}"] = _padding(tower.tokenizer, tower.pad)
    if networks.sized:
        pipeline = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = StableDiffusionPipeline(**parts, **nothing)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _padding(tokenizer: Any, pad: int) -> Any:
    """A tokenizer that pads with the token `pad`, as diffusers expects."""
    if tokenizer.pad_token_id == pad:
        return tokenizer
    own = deepcopy(tokenizer)
    own.pad_token = own.convert_ids_to_tokens(pad)
    return own
