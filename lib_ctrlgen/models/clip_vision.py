"""Loads CLIP vision encoders from transformers folders and computes the features that IP-Adapters use.

Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.request.names import listed

from .hub_cache import in_hub_cache
from .loading import fill
from .offload import Weights, placed
from .scan import ModelFile
from .storage import Placement
from .store import ModelStore
from .tensor_files import read_json, read_tensors
from .weight_files import weights_in

Feature: TypeAlias = Literal["pooled", "penultimate", "last"]

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
FIELDS = (
    "hidden_size",
    "intermediate_size",
    "projection_dim",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
)


@dataclass(frozen=True, kw_only=True)
class EncoderFolder:
    """A folder with a CLIP vision encoder; its widths and its input size are read from config.json alone."""

    name: str
    path: Path
    weights: Path
    hidden: int
    projection: int
    size: int

    def width(self, feature: Feature) -> int:
        """The number of channels of a feature: P of pooled [1, P], H of penultimate or last [1, N, H]."""
        return self.projection if feature == "pooled" else self.hidden

    def __str__(self) -> str:
        return f"{self.name} (hidden {self.hidden}, projection {self.projection})"

    @property
    def file(self) -> ModelFile:
        """Its weights, as a model that can be named."""
        return ModelFile(self.name, self.weights, shared=in_hub_cache(self.path))

    def label(self, store: ModelStore) -> str:
        """Its name and hash, `name [hash]`, as infotexts record it."""
        return f"{self.name} [{store.files.hash(self.weights)}]"


def encoders(store: ModelStore) -> tuple[EncoderFolder, ...]:
    """All CLIP vision encoders in the store's folders, sorted by name."""
    found = (_folder(name, path) for name, path in sorted(store.folders().items()))
    return tuple(encoder for encoder in found if encoder is not None)


def _folder(name: str, path: Path) -> EncoderFolder | None:
    try:
        config, weights = vision_config(path), weights_in(path, "model", "pytorch_model")
    except ModelError:
        return None
    return EncoderFolder(
        name=name,
        path=path,
        weights=weights,
        hidden=int(config["hidden_size"]),
        projection=int(config["projection_dim"]),
        size=int(config["image_size"]),
    )


def vision_config(folder: Path) -> dict[str, Any]:
    """The architecture of a vision encoder, from its own or a whole CLIP's config.json. Raises ModelError."""
    content = read_json(folder / "config.json")
    if content.get("model_type") not in {"clip", "clip_vision_model"}:
        raise ModelError(f"{folder.name} is no CLIP vision encoder")
    inner = content.get("vision_config") or {}
    merged = {**CLIPVisionConfig().to_dict(), **content, **inner}
    if "projection_dim" in content:
        merged["projection_dim"] = content["projection_dim"]
    return {name: merged[name] for name in FIELDS}


def find_encoder(store: ModelStore, feature: Feature, width: int, name: str = "") -> EncoderFolder:
    """The encoder whose feature has this width; with a name, which may end with a `[hash]`, the one it names.

    Raises ModelError with a list of encoders if none fits, or if several fit whose weights differ.
    """
    known = encoders(store)
    fitting = [encoder for encoder in known if encoder.width(feature) == width]
    if name:
        return _named(name, fitting, f"{_WORDS[feature]} {width}", store)
    fitting = [encoder for encoder in fitting if not in_hub_cache(encoder.path)] or fitting
    if not fitting:
        have = ", ".join(map(str, known)) or "none"
        raise ModelError(
            f"it needs a CLIP vision encoder with {_WORDS[feature]} {width}, and there is none "
            f"(found: {have}); put the encoder's transformers folder (config.json, model.safetensors) "
            "into a model folder, for example models/clip_vision"
        )
    if len({store.files.hash(encoder.weights) for encoder in fitting}) > 1:
        names = listed([encoder.name for encoder in fitting])
        raise ModelError(f"several image encoders fit: {names}; name one in params.image_encoder")
    return fitting[0]


def encoder_named(store: ModelStore, name: str) -> EncoderFolder:
    """The encoder of this name, which may end with a `[hash]`, whatever its widths. Raises ModelError."""
    known = encoders(store)
    file = store.files.choose(name, [each.file for each in known], "image encoder")
    return next(each for each in known if each.weights == file)


_WORDS = {"pooled": "projection", "penultimate": "hidden size", "last": "hidden size"}


def _named(name: str, fitting: list[EncoderFolder], wanted: str, store: ModelStore) -> EncoderFolder:
    found = encoder_named(store, name)
    if found not in fitting:
        raise ModelError(f"the image encoder {found} does not fit: the adapter needs {wanted}")
    return found


@dataclass(frozen=True, kw_only=True)
class VisionTower:
    """A loaded CLIP vision encoder with the preprocessing that it was trained with."""

    network: Any
    weights: Weights
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the encoder computes."""
        return self.weights.like.dtype

    def square(self, image: Image.Image) -> Image.Image:
        """The centre square of a picture at the encoder's input size, RGB."""
        return centre_square(image, self.size)

    def pixels(self, image: Image.Image) -> Tensor:
        """The encoder's input [1, 3, S, S]: the centre square, normalised."""
        square = np.array(self.square(image), np.float32) / 255.0
        normal = (square - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(normal).permute(2, 0, 1)[None]

    def feature(self, pixels: Tensor, feature: Feature) -> Tensor:
        """A feature of an input: `image_embeds` [1, P], or the penultimate or last hidden state [1, N, H]."""
        pixels, hidden = pixels.to(self.weights.like), feature == "penultimate"
        with self.weights.present():
            output = self.network(pixel_values=pixels, output_hidden_states=hidden)
        found = {"pooled": output.image_embeds, "last": output.last_hidden_state}
        chosen: Tensor = output.hidden_states[-2] if feature == "penultimate" else found[feature]
        return chosen

    def zeros(self) -> Tensor:
        """An input of zeros after normalisation: IP-Adapter's unconditional image (tencent-ailab)."""
        return torch.zeros(1, 3, self.size, self.size)


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """The centre square of a picture: the shorter side is resized to `size` pixels (bicubic), then cropped.

    The ends of a long picture are lost, as in other tools.
    """
    rgb = to_rgb(image)
    short = min(rgb.size)
    width, height = (size * side // short for side in rgb.size)
    resized = rgb.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return resized.crop((left, top, left + size, top + size))


def load_tower(store: ModelStore, folder: EncoderFolder, placement: Placement) -> VisionTower:
    """Load the encoder of a folder, or take it from the store. Raises ModelError.

    On a GPU its weights are in the CPU's memory between uses: it is not needed while a picture is sampled.
    """
    placement = replace(placement, away=placement.away or placement.device.type != "cpu")

    def load_vision_tower(path: Path) -> VisionTower:
        config = vision_config(path.parent)
        with torch.device("meta"):
            network: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
        tensors = _tower_tensors(read_tensors(path), network)
        fill(network, tensors, folder.name, placement.home, placement.dtype)
        _restore_positions(network, placement.home)
        weights, seen = placed([network], placement, folder.name), int(config["image_size"])
        return VisionTower(network=network, weights=weights, size=seen, **_normalisation(path.parent))

    return store.get(folder.weights, load_vision_tower, placement)


def _tower_tensors(tensors: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The vision encoder's tensors of a CLIP file; `vision_model.` is added where transformers 5 drops it."""
    wanted = network.state_dict()
    named = {key if key in wanted else f"vision_model.{key}": value for key, value in tensors.items()}
    mine = {key: value for key, value in named.items() if key in wanted}
    for key, value in wanted.items():
        if key.endswith("position_ids"):
            mine[key] = torch.arange(value.shape[-1])[None]
    return mine


def _restore_positions(network: nn.Module, device: torch.device) -> None:
    """Set `position_ids` if it is a buffer that is not in the state dict."""
    for module in network.modules():
        positions = getattr(module, "position_ids", None)
        if isinstance(positions, Tensor) and positions.is_meta:
            values = torch.arange(positions.shape[-1], device=device)[None]
            module.register_buffer("position_ids", values, persistent=False)


def _normalisation(folder: Path) -> dict[str, Any]:
    """Mean and standard deviation from preprocessor_config.json, or CLIP's if there is no such file."""
    path = folder / "preprocessor_config.json"
    content = read_json(path) if path.is_file() else {}
    return {"mean": tuple(content.get("image_mean", MEAN)), "std": tuple(content.get("image_std", STD))}
