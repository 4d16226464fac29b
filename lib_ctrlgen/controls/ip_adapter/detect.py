"""Recognises IP-Adapters by the names and shapes of their tensors, and refuses the face variants."""

from __future__ import annotations

from lib_ctrlgen.controls.unsupported import NO_FACES
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes, first_size, unsupported
from lib_ctrlgen.unet.call import Family


def ip_adapter_kind(shapes: Shapes) -> ModelKind | None:
    """The kind of an IP-Adapter's file, None for other files. Raises ModelError for a broken one."""
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
        raise unsupported("an IP-Adapter FaceID-plus", NO_FACES)
    width = image.get("proj_in.weight", ())
    if "latents" in image and len(width) == 2 and width[1] == 512:
        raise ModelError(
            "recognised as an IP-Adapter Portrait or InstantID, not supported as a unit yet; InstantID's "
            "ControlNet reads it as params.face_adapter"
        )
    face = {"proj.0.weight", "proj.2.weight"} <= image.keys() and "proj.3.weight" not in image
    if face:
        tokens = first_size(image, "proj.2.weight") // max(1, first_size(image, "norm.weight"))
        raise unsupported("an IP-Adapter FaceID" if tokens <= 4 else "an IP-Adapter Portrait", NO_FACES)
    if any("_lora." in key for key in shapes):
        raise unsupported("an IP-Adapter with LoRA layers", NO_FACES)


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
