"""`explain averages`: four ways to average two prompts: pixels, latents, text features, predictions.

Text features: as in docs/blend.md, `embedding`. Predictions: Liu et al. 2022, Compositional Visual Generation
with Composable Diffusion Models, `prediction`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from PIL import Image
from torch import Tensor

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.plots.figure import Tile, card, heading, note, tile_rows
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.schedule import constant
from lib_ctrlgen.request.spec import GenerationRequest

from .figures import Explained, rounded
from .lacking import require
from .pictures import picture_url
from .work import Observer, observed, prepared

SEEDS = 3
SIDE = 113.0


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for the first two concepts of a job's blend, with three seeds. Raises RequestError."""
    blend = request.blend
    require(blend is not None and len(blend.concepts) > 1, "averages", "$.blend", "a blend of two concepts")
    assert blend is not None
    rows, numbers = [], []
    for seed in range(request.seed, request.seed + SEEDS):
        row = averaged(engine, replace(request, seed=seed, batch_size=1), blend)
        rows.append(
            (f"seed {seed}", [Tile(url=picture_url(image), caption=name) for name, image in row.items()])
        )
        numbers.append({"seed": seed, **compared(row)})
    blocks = [
        heading("Two prompts with the same seed, and four ways to go half way between them"),
        tile_rows([("", tiles) for _, tiles in rows], SIDE),
        note(
            "The mean of two finished latents shows both pictures through each other, as the mean of their "
            "pixels does. The mean of the text features, or of the predictions, makes one new picture."
        ),
    ]
    return Explained(svg=card("four averages of two prompts", blocks), numbers=rounded(numbers_of(numbers)))


def numbers_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of each seed, and their mean."""
    names = [name for name in rows[0] if name != "seed"]
    return {"seeds": rows, "mean": {name: sum(row[name] for row in rows) / len(rows) for name in names}}


def averaged(engine: Engine, request: GenerationRequest, blend: Blend) -> dict[str, Image.Image]:
    """The pictures of both prompts, and the four averages."""
    half = tuple(replace(each, weight=constant(0.5), mask="", hires=None) for each in blend.concepts[:2])
    mixed = {
        mode: engine.generate(
            replace(request, blend=replace(blend, mode=mode, concepts=half, normalise=True))
        ).images[0]
        for mode in ("embedding", "prediction")
    }
    latents, images = [], []
    for each in half:
        prompt = each.prompt.replace("{prompt}", request.prompt) or request.prompt
        latent, image = alone(engine, replace(request, prompt=prompt, blend=None))
        latents.append(latent)
        images.append(image)
    with prepared(engine, replace(request, prompt="", blend=None)) as work:
        middle = work.decoded((latents[0] + latents[1]) / 2)[0]
    return {
        "prompt A": images[0],
        "prompt B": images[1],
        "pixels": Image.blend(images[0], images[1], 0.5),
        "latents": middle,
        "text features": mixed["embedding"],
        "predictions": mixed["prediction"],
    }


def alone(engine: Engine, request: GenerationRequest) -> tuple[Tensor, Image.Image]:
    """The clean latent [1, 4, h, w] and the picture of one prompt."""
    with prepared(engine, request) as work:
        latents = observed(work, Observer())
        return latents, work.decoded(latents)[0]


def compared(row: dict[str, Image.Image]) -> dict[str, float]:
    """How far each average is from the mean of the pixels: the mean difference, 0..1."""
    pixels = {name: torch.from_numpy(np.array(image, np.float32) / 255) for name, image in row.items()}
    names = ("latents", "text features", "predictions")
    return {name: float((pixels[name] - pixels["pixels"]).abs().mean()) for name in names}
