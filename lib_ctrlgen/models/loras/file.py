"""Reads LoRA files of all layouts into one form: tensors by network, layer and piece.

kohya's layout:      lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight, .lora_up.weight, .alpha
diffusers and peft:  unet.down_blocks.0.attentions.0.proj_in.lora_A.weight, .lora_B.weight
                     unet.mid_block...attn1.processor.to_q_lora.down.weight (diffusers before 0.22)
                     text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, TypeAlias, cast

import torch
from torch import Tensor

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.tensor_files import format_of, read_header, read_metadata, read_tensors
from lib_ctrlgen.models.weight_files import sha256

from .names import Part, flat

Layer: TypeAlias = tuple[Part, str]
Layout: TypeAlias = Literal["kohya", "diffusers"]

KOHYA = re.compile(r"(?:lora|lycoris)_(?P<part>unet|te|te1|te2)_(?P<layer>[^.]+)\.(?P<piece>.+)")
OTHERS = re.compile(r"(?:lora_te3_|lora_transformer_|transformer\.|lora_unet_(?:double|single|joint)_blocks)")
PREFIX = re.compile(r"(?:base_model\.model\.)?(?:(?P<part>unet|text_encoder_2|text_encoder)\.)?(?P<rest>.+)")
PIECE = re.compile(
    r"(?P<layer>.+?)(?:\.lora_(?P<letter>A|B)(?:\.default)?|(?:\.lora_linear_layer|\.lora|_lora)\.(?P<half>up|down)"
    r"|\.lora_magnitude_vector(?:\.default)?)(?:\.weight)?"
)
PROCESSOR = re.compile(r"(?P<attention>.+)\.processor\.to_(?P<part>q|k|v|out)")
PEFT = MappingProxyType({"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"})
BUNDLED = "bundle_emb."
HASH = 12  # digits of a hash in an infotext
HEADER = 8  # bytes with the length of a safetensors file's header
METADATA = "lora_adapter_metadata"  # peft's config in the header of diffusers' files


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraFile:
    """The tensors of a LoRA file, on the CPU.

    `layers` has for each network and flat name of a layer its pieces, named as in kohya's layout.
    """

    layers: Mapping[Layer, Mapping[str, Tensor]]
    layout: Layout

    def of(self, part: Part) -> dict[str, Mapping[str, Tensor]]:
        """The layers of one network by name; `te1` is `te` in files that were made for SD1.5."""
        return {name: pieces for (own, name), pieces in self.layers.items() if own == part}


def load_lora(path: Path) -> LoraFile:
    """Read a LoRA file. Raises ModelError for a file of another kind, or a broken one."""
    tensors = read_tensors(path)
    layout = layout_of(tensors)
    if layout is None:
        raise ModelError(f"{path.name} is no LoRA: {_other(tensors)}")
    if any(key.startswith(BUNDLED) for key in tensors):
        raise ModelError(
            f"{path.name} contains embeddings (bundle_emb), which are not supported: save them as files of "
            "their own in the folder embeddings"
        )
    layers: dict[Layer, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layer, piece = _placed(key, layout, path.name)
        layers.setdefault(layer, {})[piece] = tensor
    if layout == "diffusers":
        _add_alphas(layers, read_metadata(path))
    return LoraFile(layers=layers, layout=layout)


def layout_of(keys: Mapping[str, object]) -> Layout | None:
    """The layout of a LoRA file by its keys; None for another kind of file, or a LoRA of another network."""
    if any(OTHERS.match(key) for key in keys):
        return None
    if any(KOHYA.fullmatch(key) for key in keys):
        return "kohya"
    return "diffusers" if any(PIECE.fullmatch(key) for key in keys) else None


def is_lora(path: Path) -> bool:
    """Whether a file's keys are those of a LoRA for Stable Diffusion. Raises ModelError for a broken file."""
    return layout_of(read_header(path)) is not None


def alias_of(path: Path) -> str:
    """The name by which prompts may call a file: kohya's `ss_output_name`, or the file's name."""
    return read_metadata(path).get("ss_output_name") or path.stem


def lora_hash(path: Path) -> str:
    """The hash of a LoRA in infotexts, 12 digits: kohya's, of the tensors alone, for a safetensors file.

    It is kohya's own entry `sshs_model_hash` where the file has it.
    """
    if format_of(path) != "safetensors":
        return sha256(path)[:HASH]
    return (read_metadata(path).get("sshs_model_hash") or hash_of_tensors(path))[:HASH]


def hash_of_tensors(path: Path) -> str:
    """The SHA-256 of a safetensors file behind its header, 64 hex digits."""
    with path.open("rb") as file:
        return hash_behind_header(file)


def hash_behind_header(file: BinaryIO) -> str:
    """The SHA-256 of what follows the header of an open safetensors file, as kohya's tools compute it."""
    digest = hashlib.sha256()
    file.seek(HEADER + int.from_bytes(file.read(HEADER), "little"))
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _placed(key: str, layout: Layout, file: str) -> tuple[Layer, str]:
    """The network, the layer and the piece of a key. Raises ModelError for a key of another layout."""
    if layout == "kohya":
        found = KOHYA.fullmatch(key)
        if found:
            written = str(found["piece"])
            return (cast("Part", found["part"]), found["layer"]), PEFT.get(written, written)
    elif found := PREFIX.fullmatch(key):
        name, piece = _named(found["rest"])
        if piece:
            return (_part(found["part"], name), flat(name)), piece
    raise ModelError(f"{file}: the key {key!r} is not of {layout}'s layout, in which the file's others are")


def _named(rest: str) -> tuple[str, str]:
    """A layer's path and the piece in kohya's words, from a key of diffusers; an empty piece for another."""
    if rest.endswith(".alpha"):
        layer, piece = rest.removesuffix(".alpha"), "alpha"
    elif found := PIECE.fullmatch(rest):
        half = {"A": "down", "B": "up"}.get(found["letter"], found["half"])
        layer, piece = found["layer"], f"lora_{half}.weight" if half else "lora_magnitude_vector"
    else:
        return rest, ""
    if old := PROCESSOR.fullmatch(layer):
        layer = f"{old['attention']}.to_{old['part']}{'.0' if old['part'] == 'out' else ''}"
    return layer, piece


def _part(written: str | None, name: str) -> Part:
    if written == "text_encoder_2":
        return "te2"
    return "te" if written == "text_encoder" or name.startswith("text_model.") else "unet"


def _add_alphas(layers: dict[Layer, dict[str, Tensor]], metadata: Mapping[str, str]) -> None:
    """Add the alphas of peft's config in a file's metadata to layers that have none."""
    try:
        config: Any = json.loads(metadata.get(METADATA, "{}"))
    except ValueError as error:
        raise ModelError(f"the metadata {METADATA} is no JSON: {error}") from error
    for (part, name), pieces in layers.items():
        own = {"unet": "unet", "te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2"}[part]
        alpha = _pattern(config.get(f"{own}.alpha_pattern"), name) or config.get(f"{own}.lora_alpha")
        if alpha is not None and "alpha" not in pieces and "lora_down.weight" in pieces:
            root = len(pieces["lora_down.weight"]) ** 0.5 if config.get(f"{own}.use_rslora") else 1.0
            pieces["alpha"] = torch.tensor(float(alpha) * root)


def _pattern(patterns: Any, name: str) -> Any:
    """The value of the pattern that a layer's name ends with."""
    found = (value for key, value in (patterns or {}).items() if f"_{name}".endswith(f"_{flat(key)}"))
    return next(found, None)


def _other(keys: Mapping[str, object]) -> str:
    if found := next((key for key in keys if OTHERS.match(key)), None):
        return f"it is for another architecture than Stable Diffusion 1, 2 or XL ({found})"
    return f"its first tensors are {', '.join(_first(keys))}"


def _first(keys: Mapping[str, object]) -> Iterator[str]:
    for key, _ in zip(keys, range(3), strict=False):
        yield key
