"""The layouts of IP-Adapters in published and in small sizes, random files of them, and a stub of faces."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.faces.face import WIDTH, Face

Shapes = dict[str, tuple[int, ...]]
POINTS = ((20.0, 22.0), (44.0, 20.0), (32.0, 34.0), (24.0, 48.0), (42.0, 46.0))
HIDDEN = {
    768: (320,) * 2 + (640,) * 2 + (1280,) * 2 + (1280,) * 3 + (640,) * 3 + (320,) * 3 + (1280,),
    2048: (640,) * 4 + (1280,) * 20 + (1280,) * 30 + (640,) * 6 + (1280,) * 10,
}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def linear(name: str, width: int, out: int) -> Shapes:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def resampler(width: int, features: int, out: int, inner: int, depth: int = 4) -> Shapes:
    """A perceiver resampler without its queries."""
    found = {**linear("proj_in", features, width), **linear("proj_out", width, out), **norm("norm_out", out)}
    for layer in (f"layers.{i}" for i in range(depth)):
        found |= {
            **norm(f"{layer}.0.norm1", width),
            **norm(f"{layer}.0.norm2", width),
            f"{layer}.0.to_q.weight": (inner, width),
            f"{layer}.0.to_kv.weight": (2 * inner, width),
            f"{layer}.0.to_out.weight": (width, inner),
            **norm(f"{layer}.1.0", width),
            f"{layer}.1.1.weight": (4 * width, width),
            f"{layer}.1.3.weight": (width, 4 * width),
        }
    return found


def face_mlp(context: int, tokens: int) -> Shapes:
    return {
        **linear("proj.0", WIDTH, 2 * WIDTH),
        **linear("proj.2", 2 * WIDTH, tokens * context),
        **norm("norm", context),
    }


def head(variant: str, context: int, clip: int = 1280) -> Shapes:
    """The shapes of `image_proj.*`. `clip` is the width of the vision encoder's feature."""
    wide = 1280 if context == 2048 else context
    if variant == "plain":
        return {**linear("proj", clip, 4 * context), **norm("norm", context)}
    if variant == "full":
        return {**linear("proj.0", clip, clip), **linear("proj.2", clip, context), **norm("proj.3", context)}
    if variant in {"plus", "portrait_unnorm", "instant_id"}:
        features = clip if variant == "plus" else WIDTH
        return {"latents": (1, 16, wide), **resampler(wide, features, context, wide)}
    if variant == "portrait":
        return face_mlp(context, 16)
    plus = {f"perceiver_resampler.{k}": v for k, v in resampler(context, clip, context, context).items()}
    return {**face_mlp(context, 4), **(plus if "plus" in variant else {})}


def layers(widths: Sequence[int], context: int) -> Shapes:
    return {
        f"ip_adapter.{2 * i + 1}.to_{part}_ip.weight": (width, context)
        for i, width in enumerate(widths)
        for part in "kv"
    }


def lora(widths: Sequence[int], context: int, rank: int = 128) -> Shapes:
    """The LoRA in a FaceID file: for self attention 2 i and cross attention 2 i + 1 of each width."""
    return dict(lora_shapes(widths, context, rank))


def lora_shapes(widths: Sequence[int], context: int, rank: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for number, width in enumerate(width for each in widths for width in (each, each)):
        for part in ("q", "k", "v", "out"):
            read = context if number % 2 and part in "kv" else width
            yield f"ip_adapter.{number}.to_{part}_lora.down.weight", (rank, read)
            yield f"ip_adapter.{number}.to_{part}_lora.up.weight", (width, rank)


def whole(
    variant: str, context: int, widths: Sequence[int] = (), clip: int = 1280, rank: int = 128
) -> Shapes:
    """All shapes of an adapter's file; the widths of its layers are those of SD1.5 or SDXL by default."""
    widths = widths or HIDDEN[context]
    own = lora(widths, context, rank) if variant.startswith("faceid") else {}
    image = {f"image_proj.{key}": shape for key, shape in head(variant, context, clip).items()}
    return {**image, **layers(widths, context), **own}


def random_tensors(shapes: Shapes, seed: int = 5, scale: float = 1.0) -> dict[str, Tensor]:
    """Random weights: norms around one, matrices by the size of their input, LoRAs small."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for key, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            found[key] = noise * 0.1 + (1.0 if "norm" in key and key.endswith("weight") else 0.0)
        else:
            found[key] = noise * scale * (0.2 if "_lora." in key else 1.0) / max(1, shape[-1]) ** 0.5
    return found


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Save an adapter flat as safetensors, or nested as a .bin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata)
        return path
    nested: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        nested.setdefault(part, {})[rest] = value
    torch.save(nested, path)
    return path


def embedding(picture: Image.Image) -> tuple[float, ...]:
    """A stand-in for a recogniser: numbers that depend on the picture's colours, about 20 long."""
    small = np.asarray(picture.convert("RGB").resize((8, 8)), np.float64).ravel() / 255 - 0.5
    projection = np.random.default_rng(3).standard_normal((small.size, WIDTH))
    return tuple(float(x) for x in small @ projection)


def found_faces(picture: Image.Image, _pack: str, _folders: Any, _store: Any = None) -> tuple[Face, ...]:
    """A stand-in for `find_faces`: one face in each half of a wide picture, else one face."""
    width, height = picture.size
    halves = [(0, 0, width // 2, height), (width // 2, 0, width, height)]
    boxes = halves if width >= 2 * height else [(0, 0, width, height)]
    return tuple(
        Face(
            box=tuple(map(float, box)),  # type: ignore[arg-type]
            points=tuple((box[0] + x, y) for x, y in POINTS),
            embedding=embedding(picture.crop(box)),
            score=0.9,
        )
        for box in boxes
    )
