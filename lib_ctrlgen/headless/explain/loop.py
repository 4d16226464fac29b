"""`explain loop`: what the U-Net gets and predicts over the steps, and when layout and detail are decided."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.guidance import Prediction
from lib_ctrlgen.plots.chart import Axes, Series, line_chart
from lib_ctrlgen.plots.figure import Tile, card, heading, tile_rows
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.unet.noise_level import NoiseSchedule

from .figures import Explained, rounded
from .pictures import picture_url
from .work import Observer, Work, observed, prepared

COLUMNS = 6
COARSE = 4  # latent pixels of an area whose mean is layout; the rest is detail
SIDE, LABEL = 96.0, 92.0


@dataclass
class Predictions(Observer):
    """For each U-Net call the noisy latent, the guided and the unconditional clean latent, [1, 4, h, w].

    `sigmas` are the noise levels of the calls.
    """

    noise: NoiseSchedule
    noisy: list[Tensor] = field(default_factory=list)
    guided: list[Tensor] = field(default_factory=list)
    uncond: list[Tensor] = field(default_factory=list)
    sigmas: list[float] = field(default_factory=list)

    def seen(self, step: int, x: Tensor, timestep: Tensor, found: Prediction) -> None:
        """Turn a call's outputs into clean latents."""
        del step
        level = self.noise.at(timestep)
        self.noisy.append(x[:1].clone())
        self.guided.append(level.denoised(x, found.guided)[:1])
        self.uncond.append(level.denoised(x, found.uncond)[:1])
        self.sigmas.append(float((level.noise / level.signal)[0]))


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for the first picture of a job."""
    with prepared(engine, request) as work:
        calls = Predictions(noise=work.noise)
        final = observed(work, calls)[:1]
        places = spread(len(calls.noisy), COLUMNS)
        rows = tile_rows(
            [
                ("what the U-Net gets", tiles(work, calls.noisy, places, calls.sigmas)),
                ("its guess of the end, without the prompt", tiles(work, calls.uncond, places)),
                ("its guess with the prompt and guidance", tiles(work, calls.guided, places)),
            ],
            SIDE,
            LABEL,
        )
    layout, detail = zip(*(distances(each, final) for each in calls.guided), strict=True)
    numbers = {
        "sigmas": calls.sigmas,
        "layout_left": layout,
        "detail_left": detail,
        "layout_half_at": half_at(layout),
        "detail_half_at": half_at(detail),
    }
    lines = [
        Series(name="layout (means of 32 x 32 px)", points=list(enumerate(layout))),
        Series(name="detail (the rest)", points=list(enumerate(detail))),
    ]
    axes = Axes(x="U-Net call", y="difference from the finished picture", width=500, height=190, low=0)
    title = "One picture over the steps: sigma falls, and the guess becomes the picture"
    chart = line_chart(axes, lines)
    return Explained(
        svg=card("the sampling loop", [heading(title), rows, heading("When is what decided?"), chart]),
        numbers=rounded(numbers),
    )


def spread(count: int, columns: int) -> list[int]:
    """At most `columns` places from the first to the last of `count`.

    >>> spread(20, 3), spread(2, 6)
    ([0, 10, 19], [0, 1])
    """
    if count <= columns:
        return list(range(count))
    return [round(place) for place in torch.linspace(0, count - 1, columns).tolist()]


def tiles(
    work: Work, latents: list[Tensor], places: list[int], sigmas: list[float] | None = None
) -> list[Tile]:
    """The decoded latents of some calls; with `sigmas` each says its call and noise level."""
    found = work.decoded(torch.cat([latents[place] for place in places]))
    texts = [f"call {place}, sigma {sigmas[place]:.2g}" if sigmas else "" for place in places]
    return [Tile(url=picture_url(each), caption=text) for each, text in zip(found, texts, strict=True)]


def distances(guess: Tensor, final: Tensor) -> tuple[float, float]:
    """How far a guess is from the finished latent in layout and in detail, relative to the finished one.

    Layout is the mean over areas of 4 x 4 latent pixels, detail is the rest. Both latents are [1, 4, h, w].
    """
    coarse = functional.avg_pool2d(final, COARSE, ceil_mode=True)
    off = functional.avg_pool2d(guess, COARSE, ceil_mode=True)
    layout = (off - coarse).norm() / coarse.norm()
    wide = [functional.interpolate(each, size=final.shape[-2:]) for each in (coarse, off)]
    fine, found = final - wide[0], guess - wide[1]
    return float(layout), float((found - fine).norm() / fine.norm())


def half_at(values: tuple[float, ...]) -> int:
    """The first call after which less than half of the first difference is left.

    >>> half_at((1.0, 0.7, 0.4, 0.0))
    2
    """
    return next((k for k, value in enumerate(values) if value < values[0] / 2), len(values))
