"""Reads the masks of a blend's concepts and applies them to combinations, noises and latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.codec import require_visible
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.images.masks import by_area, require_white
from lib_ctrlgen.request.blend import ROW_MODES, Blend
from lib_ctrlgen.unet.call import LATENT_FACTOR

from .formulas import Combination, mixed_latents, mixed_noises


def combination_of(blend: Blend | None, width: int, height: int) -> Combination:
    """The combination of a blend's predictions for a picture of this size in pixels. Raises RequestError."""
    if blend is None or blend.mode not in ROW_MODES:
        return Combination(mode="prediction")
    masks = concept_masks(blend, width, height)
    return Combination(mode=blend.mode, normalise=blend.normalise and blend.has_masks, masks=masks)


def concept_masks(blend: Blend, width: int, height: int) -> Tensor | None:
    """The concepts' masks [K, 1, h, w] at the latent's size (1 for no mask); None without any mask."""
    if not blend.has_masks:
        return None
    found = [torch.ones(1, 1, height // LATENT_FACTOR, width // LATENT_FACTOR) for _ in blend.concepts]
    for index, concept in enumerate(blend.concepts):
        if concept.mask:
            values = Frame("just_resize").mask(concept_mask(blend, index), width, height)
            found[index] = by_area(values, (height // LATENT_FACTOR, width // LATENT_FACTOR))
    return torch.cat(found)


def concept_mask(blend: Blend, index: int) -> Image.Image:
    """A concept's mask. Raises RequestError, also for a mask that is black everywhere at full strength."""
    concept, path = blend.concepts[index], f"$.blend.concepts[{index}].mask"
    mask = decode_image(concept.mask, path)
    if concept.mask_strength.bounds[0] >= 1:
        require_white(mask, path)
    return mask


def blended_noise(blend: Blend, noises: Sequence[Tensor]) -> Tensor:
    """Mix the concepts' noises [B, C, h, w] into one."""
    return mixed_noises(noises, _shares(blend, noises[0]), spherical=blend.slerps)


def blended_latents(blend: Blend, latents: Sequence[Tensor]) -> Tensor:
    """Mix the concepts' clean latents [B, C, h, w] into one."""
    return mixed_latents(latents, _shares(blend, latents[0]), spherical=blend.slerps)


def _shares(blend: Blend, like: Tensor) -> Tensor:
    """The concepts' weights [K], or weights times masks [K, 1, 1, h, w]; `like` is one of the latents."""
    weights = torch.tensor([concept.weight(0.0) for concept in blend.concepts]).to(like)
    height, width = like.shape[-2:]
    masks = concept_masks(blend, width * LATENT_FACTOR, height * LATENT_FACTOR)
    return weights if masks is None else weights[:, None, None, None, None] * masks[:, None].to(like)


def check_pictures(blend: Blend) -> None:
    """Raise RequestError at the first mask or picture of a concept that cannot be read."""
    for index, concept in enumerate(blend.concepts):
        if concept.mask:
            concept_mask(blend, index)
        if concept.image:
            path = f"$.blend.concepts[{index}].image"
            require_visible(decode_image(concept.image, path), path)
