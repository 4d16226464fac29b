"""T2I's style adapter: appends tokens, computed from a reference picture, to the text's tokens.

Mou et al. 2023, T2I-Adapter: Learning Adapters to Dig out More Controllable Ability.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.controls.params import ENCODED, IMAGE_ENCODER
from lib_ctrlgen.errors import ModelError, at_path
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.models.clip_vision import find_encoder, load_tower
from lib_ctrlgen.models.kind import ModelKind, Shapes, bare_shapes, strip_prefix
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.family import Family, require_family

from .base import Target, UnitInputs, require_picture_unit

HEADS = 8  # attention heads; they cannot be read from the tensors' shapes
ADVICE = ", and never acts on unconditional rows"
# "layes" is the spelling of the published files.
LAYER = re.compile(r"transformer_layes\.(\d+)\.(attn|ln_1|ln_2|mlp\.c_fc|mlp\.c_proj)\.(.+)")
PARTS = {
    "attn": "self_attn",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "mlp.c_fc": "linear1",
    "mlp.c_proj": "linear2",
}


class StyleNetwork(nn.Module):
    """A small transformer over the vision encoder's tokens and learned tokens, which it returns."""

    def __init__(self, width: int, context: int, tokens: int, layers: int, inner: int) -> None:
        super().__init__()
        self.style_embedding = nn.Parameter(torch.empty(1, tokens, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, HEADS, inner, 0.0, quick_gelu, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.proj = nn.Parameter(torch.empty(width, context))

    def forward(self, seen: Tensor) -> Tensor:
        """Return tokens [1, T, context] for the encoder's last hidden state [1, N, width]."""
        hidden = self.ln_pre(torch.cat((seen, self.style_embedding), dim=1))
        for layer in self.layers:
            hidden = layer(hidden)
        own = self.ln_post(hidden[:, -self.style_embedding.shape[1] :])
        found: Tensor = own @ self.proj
        return found


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


@dataclass(frozen=True, kw_only=True)
class T2IStyle:
    """A loaded style adapter. `layers` is the number of the checkpoint's cross attentions (16 on SD1.5)."""

    name: ClassVar[str] = "t2i_style"
    title: ClassVar[str] = "T2I style adapter"
    params: ClassVar[tuple[Param, ...]] = ENCODED

    network: Any
    path: Path
    layers: int
    weights: Weights

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of a style adapter's file, None for other files. Raises ModelError for a broken one."""
        bare = bare_shapes(shapes)
        if "style_embedding" not in bare:
            return None
        shape = bare.get("proj", ())
        if len(shape) != 2:
            raise ModelError(
                "looks like a T2I style adapter, but its proj is missing: the file is incomplete"
            )
        return ModelKind(control=cls.name, layout="ldm", family=Family.of(shape[1]))

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> T2IStyle:
        """Load an adapter for the target's U-Net, or return it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)

        def load_t2i_style(path: Path) -> tuple[StyleNetwork, Weights]:
            network = load_network(path, placement.home, placement.dtype)
            return network, placed([network], placement, path.stem)

        placement = target.placement
        network, weights = target.store.get(path, load_t2i_style, placement)
        layers = len(target.shape.attention_hidden)
        return cls(network=network, path=path, layers=layers, weights=weights)

    def prepare(self, job: UnitInputs, target: Target) -> PreparedT2IStyle:
        """Return the control of one unit; its picture is encoded once, as the store caches the tokens.

        Raises RequestError at the unit's fields.
        """
        require_picture_unit(job, "a style adapter", "control maps", ADVICE)
        like, encoder = self.weights.like, str(job.params["image_encoder"])
        with at_path(f"{job.path}.params.image_encoder" if encoder else f"{job.path}.model"):
            folder = find_encoder(target.store, "last", int(self.network.proj.shape[0]), encoder)
            tower = load_tower(target.store, folder, target.placement)

        def computed() -> Tensor:
            seen = tower.feature(tower.pixels(job.picture), "last")
            with self.weights.present():
                found: Tensor = self.network(seen.to(like))
            return found

        key = ("style", *stamp(self.path), folder.weights, target.placement, image_hash(job.picture))
        tokens = target.store.cached(key, computed)
        loaded = {IMAGE_ENCODER.name: folder.label(target.store)}
        return PreparedT2IStyle(tokens=tokens, seen=tower.square(job.picture), loaded=loaded)


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedT2IStyle:
    """The tokens [1, T, X] of one unit.

    seen    the picture as the vision encoder sees it
    loaded  `name [hash]` of the encoder, by the parameter that names it
    """

    tokens: Tensor
    seen: Image.Image
    loaded: Mapping[str, str] = field(default_factory=dict)

    def extra_tokens(self) -> Tensor:
        """The tokens [1, T, X] that are appended to the text's."""
        return self.tokens

    def control_map(self, width: int, height: int) -> Image.Image:
        """The picture as the vision encoder sees it, always at the encoder's input size."""
        del width, height
        return self.seen


def load_network(path: Path, device: torch.device, dtype: torch.dtype) -> StyleNetwork:
    """The network of a file, in evaluation mode. Raises ModelError if the file is broken."""
    tensors = style_tensors(read_tensors(path))
    try:
        width, context = tensors["proj"].shape
        tokens, inner = tensors["style_embedding"].shape[1], tensors["layers.0.linear1.weight"].shape[0]
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(f"'{path.stem}' is an incomplete T2I style adapter: {error}") from error
    if width % HEADS:
        raise ModelError(f"'{path.stem}' looks like a T2I style adapter, but its width is {width}")
    layers = len({key.split(".")[1] for key in tensors if key.startswith("layers.")})
    with torch.device("meta"):
        network = StyleNetwork(width, context, tokens, layers, inner)
    fill(network, tensors, path.stem, device, dtype)
    return network


def style_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapter's tensors under the names of `StyleNetwork`."""
    prefix = strip_prefix(tensors)
    return {
        LAYER.sub(_inner_name, key.removeprefix(prefix)): value
        for key, value in tensors.items()
        if key.startswith(prefix)
    }


def _inner_name(match: re.Match[str]) -> str:
    return f"layers.{match[1]}.{PARTS[match[2]]}.{match[3]}"
