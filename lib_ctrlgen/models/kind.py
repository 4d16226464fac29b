"""Which control a file holds, told by its keys and never by its name.

Only shapes are read here (see `weights.read_header`); no tensor is loaded.
The order of the checks matters: some families contain the keys of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.request.spec import ControlFamily
from lib_ctrlgen.unet.call import Family

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class ModelKind:
    """What a file holds.

    `variant` is an IP-Adapter's (plain, plus, full), a T2I-Adapter's (full, light), a Union's
    (`promax`), or `difference` for a ControlNet that is stored as the difference to its checkpoint.
    """

    control: ControlFamily
    layout: Literal["ldm", "diffusers"]
    family: Family
    variant: str = ""


def identify(shapes: Shapes) -> ModelKind:
    """Tell the control by the keys' shapes.

    Raises ModelError for a family that is not supported yet, naming it, and for
    anything that is no control, naming some of its keys.
    """
    for recognise in _RECOGNISERS:
        kind = recognise(shapes)
        if kind is not None:
            return kind
    some = ", ".join(sorted(shapes)[:4]) or "none"
    raise ModelError(f"not a control model that is known here; the file's first keys: {some}")


def strip_prefix(keys: Mapping[str, object]) -> str:
    """The prefix of a control's keys in a file: `control_model.`, `adapter.` or none."""
    prefixes = ("control_model.", "adapter.")
    return next((prefix for prefix in prefixes if any(key.startswith(prefix) for key in keys)), "")


def _unsupported(name: str, instead: str = "") -> ModelError:
    return ModelError(f"recognised as {name}, not supported yet{instead}")


_FACE = "; for a face, InstantID's ControlNet and the IP-Adapters plus-face and full-face work"


def _control_lora(shapes: Shapes) -> ModelKind | None:
    bare = _bare(shapes)
    if "lora_controlnet" not in bare:
        return None
    family = _controlnet_family(bare, "input_blocks.", ("label_emb.0.0.down", "label_emb.0.0.weight"))
    return ModelKind(control="control_lora", layout="ldm", family=family)


def _sparse_control(shapes: Shapes) -> ModelKind | None:
    if not any(key.endswith(_MOTION) for key in shapes):
        return None
    kind = "RGB" if "input_hint_block.0.weight" in shapes else "scribble"
    raise ModelError(
        f"recognised as SparseCtrl ({kind}): it steers the frames of an animation together with an animation "
        "host such as AnimateDiff, with which CtrlGen does not work yet"
    )


_MOTION = "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"


def _diffusers_controlnet(shapes: Shapes) -> ModelKind | None:
    if "controlnet_cond_embedding.conv_in.weight" not in shapes:
        return None
    family = _controlnet_family(shapes, "down_blocks.", ("add_embedding.linear_1.weight",))
    return _controlnet_kind(shapes, "diffusers", family)


def _ldm_controlnet(shapes: Shapes) -> ModelKind | None:
    bare = _bare(shapes)
    if "input_hint_block.0.weight" not in bare:
        return None
    family = _controlnet_family(bare, "input_blocks.", ("label_emb.0.0.weight",))
    return _controlnet_kind({**shapes, **bare}, "ldm", family)


def _controlnet_kind(shapes: Shapes, layout: Literal["ldm", "diffusers"], family: Family) -> ModelKind:
    """An ordinary ControlNet, one stored as a difference, or a Union: `promax` has two more types."""
    difference = "difference" in shapes
    if not any(key in shapes for key in _UNION):
        variant = "difference" if difference else ""
        return ModelKind(control="controlnet", layout=layout, family=family, variant=variant)
    if difference:
        raise _unsupported("a ControlNet Union stored as the difference to its checkpoint")
    variant = "promax" if _rows(shapes, "task_embedding") > _UNION_TYPES else ""
    return ModelKind(control="controlnet_union", layout=layout, family=family, variant=variant)


_UNION = ("control_add_embedding.linear_1.bias", "task_embedding")
_UNION_TYPES = 6


def _controlnet_family(shapes: Shapes, blocks: str, labels: Sequence[str]) -> Family:
    """The width of the text features tells it; a network without attention is SDXL's small one."""
    for key, shape in shapes.items():
        if key.startswith(blocks) and key.endswith(_TEXT_READERS) and len(shape) == 2:
            return Family.of(shape[1])
    if any(label in shapes for label in labels):
        return Family.of(2048)
    raise ModelError("looks like a ControlNet, but has no cross attention: the file is incomplete")


_TEXT_READERS = ("attn2.to_k.weight", "attn2.to_k.down")


def _t2i_diffusers(shapes: Shapes) -> ModelKind | None:
    if "adapter.body.0.resnets.0.block1.weight" not in shapes:
        return None
    return _t2i_kind(_bare(shapes), "diffusers")


def _t2i_ldm(shapes: Shapes) -> ModelKind | None:
    bare = _bare(shapes)
    if "style_embedding" in bare:
        return _t2i_style(bare)
    full = "conv_in.weight" in bare and any(key.startswith("body.") for key in bare)
    return _t2i_kind(bare, "ldm") if full or "body.0.in_conv.weight" in bare else None


def _t2i_kind(bare: Shapes, layout: Literal["ldm", "diffusers"]) -> ModelKind:
    factor, _, width = t2i_channels(bare)
    family = _T2I_FAMILIES.get((factor, width), Family("custom", 0))
    variant = "full" if "conv_in.weight" in bare else "light"
    return ModelKind(control="t2i_adapter", layout=layout, family=family, variant=variant)


def _t2i_style(bare: Shapes) -> ModelKind:
    shape = bare.get("proj", ())
    if len(shape) != 2:
        raise ModelError("looks like a T2I style adapter, but its proj is missing: the file is incomplete")
    return ModelKind(control="t2i_style", layout="ldm", family=Family.of(shape[1]))


def t2i_channels(bare: Shapes) -> tuple[int, int, int]:
    """Pixels per cell of a T2I-Adapter's input, its channels per pixel, and the first level's width.

    Its first convolution reads whole cells. Raises ModelError when it is none that was published.
    """
    full = "conv_in.weight" in bare
    first, out = ("conv_in.weight",) * 2 if full else ("body.0.in_conv.weight", "body.0.out_conv.weight")
    shape, width = bare.get(first, ()), _rows(bare, out)
    if len(shape) != 4 or shape[1] not in _T2I_INPUTS or not width:
        raise ModelError(f"looks like a T2I-Adapter, but its {first} {tuple(shape)} reads no picture")
    factor, channels = _T2I_INPUTS[shape[1]]
    if factor == 16 and not full:
        raise ModelError("looks like a light T2I-Adapter for SDXL, and there is none")
    return factor, channels, width


# what the first convolution reads: pixels per cell (8 or, SDXL, 16) along a side, channels
_T2I_INPUTS = {64: (8, 1), 192: (8, 3), 256: (16, 1), 768: (16, 3)}
_T2I_FAMILIES = {(8, 320): Family.of(768), (16, 320): Family.of(2048)}


def _lllite(shapes: Shapes) -> ModelKind | None:
    if not any("lllite" in key for key in shapes):
        return None
    return ModelKind(control="lllite", layout="ldm", family=Family.of(2048))


def _no_control(shapes: Shapes) -> ModelKind | None:
    for part, name in _OTHERS.items():
        if any(part in key for key in shapes):
            raise ModelError(f"recognised as {name}: choose a control model")
    return None


_OTHERS = {
    "exp_avg": "an optimizer's state: take the pytorch_model.bin or model.safetensors beside it",
    "controlnet_x_embedder.": "a ControlNet for Flux, which does not fit the U-Nets of SD1.5, SD2 and SDXL",
    "controlnet_blocks.": "a ControlNet for a transformer such as SD3, which does not fit a U-Net",
    "model.diffusion_model.": "a checkpoint, which is no control",
    "lora_unet_": "a LoRA, which is no control",
    "vision_model.": "a CLIP encoder, which is no control",
    "down_blocks.": "a diffusers network, which is no control",
}


def _pulid(shapes: Shapes) -> ModelKind | None:
    """PuLID, as published and as converted to an IP-Adapter's names."""
    if any(key.startswith(_PULID) or key.endswith(".id_to_k.weight") for key in shapes):
        raise _unsupported("PuLID, which needs a face recogniser", _FACE)
    return None


_PULID = (
    "id_adapter.",
    "id_adapter_attn_layers.",
    "image_proj.mapping_0.",
    "image_proj.id_embedding_mapping.",
)


def _ip_adapter(shapes: Shapes) -> ModelKind | None:
    image = {key.removeprefix(_IMAGE): shape for key, shape in shapes.items() if key.startswith(_IMAGE)}
    keys = [
        shape
        for key, shape in shapes.items()
        if key.startswith("ip_adapter.") and key.endswith(".to_k_ip.weight")
    ]
    if not image or not any(key.startswith("ip_adapter.") for key in shapes):
        return None
    _refuse_face(image, shapes)
    widths = {shape[1] for shape in keys if len(shape) == 2}
    if len(widths) != 1:
        raise ModelError(
            "looks like an IP-Adapter, but its ip_adapter.N.to_k_ip.weight are missing or differ in width"
        )
    variant = _variant(image)
    return ModelKind(
        control="ip_adapter", layout="diffusers", family=Family.of(widths.pop()), variant=variant
    )


_IMAGE = "image_proj."


def _refuse_face(image: Shapes, shapes: Shapes) -> None:
    """Raise for the face variants: they need a face recogniser's embedding."""
    if any(key.startswith("perceiver_resampler.") for key in image):
        raise _unsupported("an IP-Adapter FaceID-plus", _FACE)
    width = image.get("proj_in.weight", ())
    if "latents" in image and len(width) == 2 and width[1] == 512:
        raise ModelError(
            "recognised as an IP-Adapter Portrait or InstantID, not supported as a unit yet; InstantID's "
            "ControlNet reads it as params.face_adapter"
        )
    face = {"proj.0.weight", "proj.2.weight"} <= image.keys() and "proj.3.weight" not in image
    if face:
        tokens = _rows(image, "proj.2.weight") // max(1, _rows(image, "norm.weight"))
        raise _unsupported("an IP-Adapter FaceID" if tokens <= 4 else "an IP-Adapter Portrait", _FACE)
    if any("_lora." in key for key in shapes):
        raise _unsupported("an IP-Adapter with LoRA layers", _FACE)


def _rows(shapes: Shapes, key: str) -> int:
    return next(iter(shapes.get(key, ())), 0)


def _variant(image: Shapes) -> str:
    for key, dims, variant in (
        ("proj.weight", 2, "plain"),
        ("latents", 3, "plus"),
        ("proj.3.weight", 1, "full"),
    ):
        if len(image.get(key, ())) == dims:
            return variant
    some = ", ".join(sorted(image)[:4])
    raise ModelError(f"looks like an IP-Adapter, but its projection is unknown: image_proj keys {some}")


def _bare(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of the control alone, without its prefix."""
    prefix = strip_prefix(shapes)
    return {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}


_RECOGNISERS: tuple[Callable[[Shapes], ModelKind | None], ...] = (
    _control_lora,
    _sparse_control,
    _diffusers_controlnet,
    _t2i_diffusers,
    _pulid,
    _ip_adapter,
    _ldm_controlnet,
    _t2i_ldm,
    _lllite,
    _no_control,
)
