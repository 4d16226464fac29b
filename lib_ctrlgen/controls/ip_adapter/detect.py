"""Recognises IP-Adapters by the names and shapes of their tensors; refuses those for Kolors."""

from __future__ import annotations

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes, first_size
from lib_ctrlgen.unet.family import Family

from .variants import FACE_RESAMPLER, FACE_VARIANTS, FACEID_PLUS

IMAGE = "image_proj."
PULID_HEADS = ("mapping_0.", "id_embedding_mapping.")  # begin names in the heads of PuLID
FACE_WIDTH = 512  # numbers in a face's embedding
SDXL_WIDTH = 2048  # of the text features of SDXL, and of Kolors
KOLORS_PLUS, KOLORS_FACEID = 2048, 4096  # widths of the resamplers for Kolors
KOLORS = (
    "recognised as an IP-Adapter for Kolors{kind}: it needs the checkpoint Kolors, which is neither SD1.5 "
    "nor SDXL and does not work with CtrlGen; take one for SDXL"
)


def ip_adapter_kind(shapes: Shapes) -> ModelKind | None:
    """The kind of an IP-Adapter that reads a vision encoder's features; None for other files.

    Raises ModelError for a broken one.
    """
    kind = _kind(shapes, "ip_adapter")
    return None if kind is None or kind.variant in FACE_VARIANTS else kind


def face_adapter_kind(shapes: Shapes) -> ModelKind | None:
    """The kind of an IP-Adapter that reads a face's embedding, None for other files. Raises ModelError."""
    kind = _kind(shapes, "ip_adapter_face")
    return kind if kind is not None and kind.variant in FACE_VARIANTS else None


def _kind(shapes: Shapes, control: str) -> ModelKind | None:
    image = {key.removeprefix(IMAGE): shape for key, shape in shapes.items() if key.startswith(IMAGE)}
    if not image or not any(key.startswith("ip_adapter.") for key in shapes):
        return None
    if any(key.startswith(PULID_HEADS) for key in image):
        return None
    widths = {
        shape[1]
        for key, shape in shapes.items()
        if key.startswith("ip_adapter.") and key.endswith(".to_k_ip.weight") and len(shape) == 2
    }
    if len(widths) != 1:
        raise ModelError(
            "looks like an IP-Adapter, but its ip_adapter.N.to_k_ip.weight are missing or differ in width"
        )
    (width,) = widths
    _refuse_kolors(image, width)
    variant = _variant(image, has_lora=any("_lora." in key for key in shapes))
    return ModelKind(control=control, layout="diffusers", family=Family.of(width), variant=variant)


def _refuse_kolors(image: Shapes, width: int) -> None:
    """Raise ModelError for the adapters of Kwai's Kolors, whose layout is otherwise that of SDXL's."""
    if width == SDXL_WIDTH and first_size(image, "layers.0.0.to_out.weight") == KOLORS_PLUS:
        raise ModelError(KOLORS.format(kind=" (plus)"))
    if first_size(image, "perceiver_resampler.layers.0.0.to_out.weight") == KOLORS_FACEID:
        raise ModelError(KOLORS.format(kind=" (FaceID)"))


def _variant(image: Shapes, *, has_lora: bool) -> str:
    """What the head's keys tell; `a or b` where they fit two variants."""
    if len(image.get("perceiver_resampler.proj_in.weight", ())) == 2:
        return FACEID_PLUS
    if len(image.get("latents", ())) == 3:
        return FACE_RESAMPLER if image.get("proj_in.weight", ())[1:] == (FACE_WIDTH,) else "plus"
    for key, dims, variant in (
        ("proj.weight", 2, "plain"),
        ("proj.3.weight", 1, "full"),
        ("proj.2.weight", 2, "faceid" if has_lora else "portrait"),
    ):
        if len(image.get(key, ())) == dims:
            return variant
    some = ", ".join(sorted(image)[:4])
    raise ModelError(f"looks like an IP-Adapter, but its projection is unknown: image_proj keys {some}")
