"""Stable Diffusion for diffusers, from a single-file checkpoint or a diffusers folder; never the network."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTokenizer

from lib_ctrlgen.calls import Family
from lib_ctrlgen.controls.loading import working_dtype
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.store import ModelStore
from lib_ctrlgen.weights import SUFFIXES, read_tensors

from .config import CLIP, config_path, read_config
from .convert import prefixed_text, require_parts, text_of, unet_of, vae_of
from .samplers import make_scheduler

TOKENIZER_FILES = ("vocab.json", "merges.txt")
CLIP_TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What a pipeline is made of; shared by every pipeline of the same model."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    noise: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where networks live. Half precision on a CPU becomes float32.

    `tokenizer` is a folder with CLIP's, for checkpoints that name no text folder.
    """

    device: torch.device
    dtype: torch.dtype
    tokenizer: Path | None = None

    @staticmethod
    def best(tokenizer: Path | None = None) -> Place:
        """The GPU in half precision if there is one, else the CPU."""
        if torch.cuda.is_available():
            return Place(device=torch.device("cuda"), dtype=torch.float16, tokenizer=tokenizer)
        return Place(device=torch.device("cpu"), dtype=torch.float32, tokenizer=tokenizer)


def load_networks(path: Path, store: ModelStore, place: Place | None = None) -> Networks:
    """The networks of a single-file checkpoint or a diffusers folder, from the store's cache.

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
    return store.get(path, load_checkpoint, *variant, config_path(path).stat().st_mtime_ns)


def load_pipeline(path: Path, store: ModelStore, place: Place | None = None) -> StableDiffusionPipeline:
    """A new pipeline on cached networks, with a DDIM scheduler. Raises ModelError."""
    networks = load_networks(path, store, place)
    return new_pipeline(networks, make_scheduler("DDIM", 50, networks.noise, ()))


def new_pipeline(networks: Networks, scheduler: Any, kind: Any = StableDiffusionPipeline) -> Any:
    """A silent pipeline without safety checker around networks that it does not own."""
    pipeline = kind(
        vae=networks.vae,
        text_encoder=networks.text_encoder,
        tokenizer=networks.tokenizer,
        unet=networks.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def read_checkpoint(path: Path, place: Place, dtype: torch.dtype) -> Networks:
    """Read a single-file checkpoint in ldm's layout, fp16 or fp32. Raises ModelError."""
    tensors = read_tensors(path)
    try:
        require_parts(tensors)
        config = read_config(config_path(path))
        text_config = read_text_config(config.text)
        return Networks(
            unet=unet_of(tensors, config.raw, place.device, dtype),
            vae=vae_of(tensors, config.raw, place.device, dtype),
            text_encoder=text_of(tensors, text_config, place.device, dtype),
            tokenizer=read_tokenizer(config.text or place.tokenizer),
            noise=config.noise,
        )
    except ModelError as error:
        raise ModelError(f"'{path.name}': {error}") from error
    except (KeyError, TypeError) as error:
        yaml = config_path(path).name
        raise ModelError(f"'{path.name}' does not fit {yaml}: {type(error).__name__} {error}") from error


def read_text_config(folder: Path | None) -> CLIPTextConfig:
    """The text tower's architecture: a folder's config.json, or CLIP ViT-L/14's published one."""
    if folder is None:
        return CLIPTextConfig(**CLIP_TEXT)
    content = _read_json(folder / "config.json")
    inner = content.get("text_config") or content
    return CLIPTextConfig(**{key: value for key, value in inner.items() if key in _TEXT_FIELDS})


_TEXT_FIELDS = {
    *CLIP_TEXT,
    "vocab_size",
    "max_position_embeddings",
    "layer_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
}


def read_tokenizer(folder: Path | None) -> Any:
    """CLIP's tokenizer from a folder, or from the local Hugging Face cache. Raises ModelError."""
    if folder is not None:
        return _tokenizer_of(folder)
    with suppress(OSError, ValueError):
        return CLIPTokenizer.from_pretrained(CLIP, local_files_only=True)
    raise ModelError(
        f"the tokenizer of {CLIP} is not on this machine: "
        "give a folder with its vocab.json and merges.txt (--tokenizer FOLDER)"
    )


def _tokenizer_of(folder: Path) -> Any:
    """A folder's tokenizer; transformers 5 writes tokenizer.json alone, and 4 cannot read that."""
    missing = [name for name in TOKENIZER_FILES if not (folder / name).is_file()]
    if missing and not (folder / "tokenizer.json").is_file():
        raise ModelError(f"the text folder {folder} lacks {' and '.join(missing)}")
    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    # transformers raises many kinds of exceptions on broken folders
    except Exception as error:
        wanted = " and ".join(missing or TOKENIZER_FILES)
        raise ModelError(f"the tokenizer in {folder} cannot be read: put CLIP's {wanted} there") from error


def read_folder(path: Path, place: Place, dtype: torch.dtype) -> Networks:
    """Read a diffusers folder (model_index.json). Raises ModelError."""
    name = _read_json(path / "model_index.json").get("_class_name")
    if name != "StableDiffusionPipeline":
        raise ModelError(f"'{path.name}' is a {name}: without the WebUI only SD1.5 is supported yet")
    noise = _read_json(path / "scheduler" / "scheduler_config.json")
    _require_sd15(path, _read_json(path / "unet" / "config.json"), noise)
    text = read_tensors(_weights(path / "text_encoder", "model", "pytorch_model"))
    text_config = read_text_config(path / "text_encoder")
    return Networks(
        unet=_network(UNet2DConditionModel, path / "unet", place, dtype),
        vae=_network(AutoencoderKL, path / "vae", place, dtype),
        text_encoder=text_of(prefixed_text(text), text_config, place.device, dtype),
        tokenizer=read_tokenizer(path / "tokenizer"),
        noise={key: noise[key] for key in _NOISE if key in noise},
    )


_NOISE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")


def _network(kind: Any, folder: Path, place: Place, dtype: torch.dtype) -> Any:
    """A diffusers network from its folder, frozen. Raises ModelError."""
    half = ".fp16" in _weights(folder, "diffusion_pytorch_model").name
    try:
        network = kind.from_pretrained(
            str(folder), local_files_only=True, low_cpu_mem_usage=False, variant="fp16" if half else None
        )
    # diffusers raises many kinds of exceptions on broken folders
    except Exception as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
        raise ModelError(f"'{folder.parent.name}/{folder.name}' cannot be loaded: {reason}") from error
    network.requires_grad_(requires_grad=False)
    return network.eval().to(device=place.device, dtype=dtype)


def _weights(folder: Path, *stems: str) -> Path:
    """The weights of a diffusers component; the full precision's first. Raises ModelError."""
    names = [f"{stem}{part}{end}" for part in ("", ".fp16") for stem in stems for end in SUFFIXES]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"'{folder.parent.name}/{folder.name}' holds no weights such as {names[0]}")
    return found


def _require_sd15(path: Path, unet: Mapping[str, Any], noise: Mapping[str, Any]) -> None:
    family = Family.of(int(unet.get("cross_attention_dim", 0)))
    channels = unet.get("in_channels", 4)
    if family.name not in {"SD1.5", "custom"} or channels != 4:
        raise ModelError(f"'{path.name}' is {family} with {channels} channels: only SD1.5 is supported yet")
    if noise.get("prediction_type", "epsilon") != "epsilon":
        raise ModelError(f"'{path.name}' is a v-prediction model, not supported without the WebUI yet")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object")
    return content
