"""Segmentation of faces in anime pictures (siyeong0, Anime-Face-Segmentation)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch.nn import functional

from .anime_face_network import anime_face_network
from .base import Comparison
from .network import NetworkPreprocessor, Pixels, PublishedNetwork, fractions
from .segmentation import class_colours

SIDE = 512  # pixels: the short side of what the network gets


class AnimeFaceSegment(NetworkPreprocessor):
    """A colour each for background, hair, eyes, mouth, face, skin and clothes of an anime picture."""

    name: ClassVar[str] = "anime_face_segment"
    title: ClassVar[str] = "Segmentation of anime faces (seg_anime_face)"
    union_type: ClassVar[str] = "segment"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(weights="UNet.pth", build=anime_face_network)

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The colours of the likeliest classes.

        The network sees the picture with a short side of 512 pixels. sd-webui-controlnet leaves the map at
        that size; here it gets the picture's size.
        """
        del params
        size = pixels.shape[:2]
        short = min(size)
        height, width = (int(SIDE * side / short) for side in size)
        seen = Image.fromarray(pixels)
        if short != SIDE:
            seen = seen.resize((width, height), Image.Resampling.BICUBIC)
        scores = self.run(fractions(np.asarray(seen)))[..., :height, :width]
        classes = functional.interpolate(scores, size, mode="bilinear")[0].argmax(0).cpu().numpy()
        return np.asarray(class_colours("anime_face")[classes], np.uint8)
