"""`explain noise`: the checkpoint's noise schedule, and the noise levels that each scheduler visits.

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho, Jain and Abbeel 2020, equation 4);
sigma = sqrt((1 - abar) / abar) (Karras et al. 2022).
"""

from __future__ import annotations

from torch import Tensor

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.noise_levels import NoiseLevels
from lib_ctrlgen.headless.sampling.schedulers import SCHEDULES
from lib_ctrlgen.plots.chart import Axes, Series, line_chart
from lib_ctrlgen.plots.figure import Block, below, card, heading
from lib_ctrlgen.request.spec import GenerationRequest

from .figures import Explained, rounded
from .work import prepared

SHOWN = ("Uniform", "Karras", "Exponential", "SGM Uniform", "Beta")
EVERY = 25  # timesteps between two points of a curve


def make(engine: Engine, request: GenerationRequest) -> Explained:
    """The figure for a job's checkpoint and number of steps."""
    with prepared(engine, request) as work:
        abar = work.noise.alphas_cumprod.float().cpu()
    levels = NoiseLevels.of(abar)
    sigmas = {name: SCHEDULES[name](request.steps, levels).tolist() for name in SHOWN}
    numbers = {
        "lowest_sigma": levels.lowest,
        "highest_sigma": levels.highest,
        "sigmas": sigmas,
        "steps_above_sigma_1": {name: sum(each > 1 for each in row) for name, row in sigmas.items()},
        "signal_at_the_last_timestep": float(abar[-1].sqrt()),
    }
    blocks = [
        heading("Signal and noise in the U-Net's input, by timestep"),
        shares(abar),
        heading(f"Sigma before each of {request.steps} steps, by scheduler"),
        visited(sigmas),
    ]
    return Explained(svg=card("noise levels", [below(blocks)]), numbers=rounded(numbers))


def shares(abar: Tensor) -> Block:
    """The factors of picture and noise over the timesteps; `abar` is [T]."""
    places = [*range(0, len(abar), EVERY), len(abar) - 1]
    signal = [(t, float(abar[t].sqrt())) for t in places]
    noise = [(t, float((1 - abar[t]).sqrt())) for t in places]
    axes = Axes(
        x="timestep (sampling goes from right to left)", y="factor", width=560, height=190, low=0, high=1
    )
    return line_chart(
        axes, [Series(name="picture, \N{SQUARE ROOT}abar", points=signal), Series(name="noise", points=noise)]
    )


def visited(sigmas: dict[str, list[float]]) -> Block:
    """The sigma before each step for each scheduler, without the zero at the end."""
    lines = [
        Series(name=name, points=[(k, each) for k, each in enumerate(row) if each > 0])
        for name, row in sigmas.items()
    ]
    return line_chart(Axes(x="step", y="sigma (logarithmic)", width=560, height=230, log=True), lines)
