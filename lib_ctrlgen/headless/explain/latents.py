"""`explain latents`: a picture in latent space, and arithmetic between two pictures there.

The VAE of Rombach et al. 2022 (High-Resolution Image Synthesis with Latent Diffusion Models, section 3.1)
encodes a picture of 3 x H x W as 4 x H/8 x W/8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.diffusion import diffusion_of
from lib_ctrlgen.plots.figure import Tile, card, heading, note, tile_rows
from lib_ctrlgen.request.spec import GenerationRequest

from .figures import Explained, rounded
from .lacking import require
from .pictures import picture_url, signed_url, unit_picture
from .work import Work, prepared

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SIDE, WIDE = 113.0, 138.0


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for the pictures of a job's first two units. Raises RequestError without them."""
    given = [(f"$.units[{k}].image", unit.image) for k, unit in request.enabled_units if unit.image]
    require(len(given) > 1, "latents", "$.units", "two units with pictures")
    with prepared(engine, request) as work:
        first, last = (square(unit_picture(text, path), work) for path, text in given[:2])
        codes = [encoded(work, each) for each in (first, last)]
        back = [work.decoded(code)[0] for code in codes]
        mixes = work.decoded(torch.cat([torch.lerp(codes[0], codes[1], share) for share in SHARES]))
    pixels = [np.asarray(each, np.float64) / 255 for each in (first, last, *mixes)]
    numbers = {
        "picture": [3, first.height, first.width],
        "latent": list(codes[0].shape[1:]),
        "fewer_numbers": first.height * first.width * 3 / codes[0].numel(),
        "round_trip_error": [error(a, b) for a, b in zip((first, last), back, strict=True)],
        "channel_spread": codes[0].std(dim=(2, 3))[0].tolist(),
        "half_against_pixels": float(np.abs(pixels[4] - (pixels[0] + pixels[1]) / 2).mean()),
        "halves_differ": float(np.abs(pixels[0] - pixels[1]).mean()),
    }
    return Explained(svg=drawn(first, back[0], codes[0], mixes), numbers=rounded(numbers))


def square(picture: Image.Image, work: Work) -> Image.Image:
    """A picture at the size of the request."""
    size = work.request.width, work.request.height
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def encoded(work: Work, picture: Image.Image) -> Tensor:
    """The clean latent [1, 4, h, w] of a picture, scaled as the U-Net sees it."""
    return diffusion_of(work.networks, ("explain",)).encode(picture).float()


def error(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures, 0..1."""
    pair = (np.asarray(each, np.float64) / 255 for each in (one, other))
    return float(np.abs(next(pair) - next(pair)).mean())


def drawn(first: Image.Image, back: Image.Image, code: Tensor, mixes: Sequence[Image.Image]) -> str:
    """The figure: a picture and its latent above, the way to the other picture below."""
    most = float(code.abs().max())
    channels = [
        Tile(url=signed_url(channel, most), caption=f"channel {k}", sharp=True)
        for k, channel in enumerate(code[0], 1)
    ]
    size = f"{first.width} x {first.height} px"
    small = f"{code.shape[-1]} x {code.shape[-2]}"
    top = [
        Tile(url=picture_url(first), caption=size),
        *channels,
        Tile(url=picture_url(back), caption="decoded"),
    ]
    way = [
        Tile(url=picture_url(each), caption=f"{1 - share:g} A + {share:g} B")
        for share, each in zip(SHARES, mixes, strict=True)
    ]
    return card(
        "a picture as a latent, and arithmetic between two latents",
        [
            heading(f"A picture, its latent of 4 channels of {small}, and the picture decoded from it"),
            tile_rows([("", top)], SIDE),
            note("red: below zero, white: zero, blue: above zero"),
            heading("Arithmetic: the mean of two latents decodes to one picture on top of the other"),
            tile_rows([("", way)], WIDE),
        ],
    )
