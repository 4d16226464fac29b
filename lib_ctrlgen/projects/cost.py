"""What a run would take on a GPU: an estimate from steps and rows, before anything is generated.

The work of one row (one picture, one prompt) at one step is that of the U-Net, in 10^12 floating-point
operations, at the size for which the checkpoint family was trained; other sizes count by their pixels. A
GPU's rate is assumed to be about half of what its data sheet says for half precision. Loading, text encoders
and the VAE are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lib_ctrlgen.headless.sampling.batch import PromptBatch
from lib_ctrlgen.prompts.blended import rows_of
from lib_ctrlgen.request.spec import GenerationRequest

ROW: Mapping[str, tuple[float, int]] = MappingProxyType(
    {"SD1.5": (0.68, 512 * 512), "SD2": (0.69, 512 * 512), "SDXL": (5.98, 1024 * 1024)}
)
CONTROL = 0.4  # the share of a U-Net's work that a ControlNet of full size adds
GPUS: Mapping[str, float] = MappingProxyType(
    {"RTX 3060": 20, "RTX 4090": 120, "H100": 350}
)  # 10^12 operations / s


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of a run.

    pictures      that are generated, with those of the tuner
    steps         of the sampler for each picture
    rows          that the U-Net computes, at all steps of all pictures together
    control_rows  that ControlNets compute, those of all networks together
    size          width and height in pixels
    family        checkpoint family: SD1.5, SD2 or SDXL
    """

    pictures: int
    steps: int
    rows: int
    control_rows: int
    size: tuple[int, int]
    family: str

    @staticmethod
    def guided(pictures: int, steps: int, controls: int, size: tuple[int, int], family: str) -> Work:
        """The work of pictures with two rows at each step, with the prompt and without, and as many controls.

        >>> Work.guided(10, 20, 1, (512, 512), "SD1.5").rows
        400
        """
        rows = 2 * pictures * steps
        return Work(
            pictures=pictures,
            steps=steps,
            rows=rows,
            control_rows=rows * controls,
            size=size,
            family=family,
        )

    def seconds(self, rate: float) -> float:
        """The time on a GPU that computes `rate` x 10^12 operations a second; 0 for other families."""
        work, pixels = ROW.get(self.family, (0.0, 1))
        share = self.size[0] * self.size[1] / pixels
        return (self.rows + CONTROL * self.control_rows) * work * share / rate


def step_rows(request: GenerationRequest) -> int:
    """The rows that the U-Net computes at each step for all pictures of a request.

    A row for each concept of a blend that is predicted by itself and each part of an `AND` prompt, and with
    guidance one without the prompt. Raises RequestError for a wrong prompt.
    """
    batch = PromptBatch.of([request])
    conditional = sum(map(rows_of, batch.prompts[0].positive))
    return conditional + request.batch_size * batch.is_guided


def estimate(work: Work) -> str:
    """A sentence with the work and the time on some GPUs, said to be an estimate.

    >>> estimate(Work.guided(10, 20, 1, (512, 512), "SD1.5"))
    'about 10 pictures of 20 steps, 400 rows; an estimate from these: RTX 3060 19 s, RTX 4090 3 s, H100 1 s'
    """
    counted = f"about {work.pictures} pictures of {work.steps} steps, {work.rows} rows"
    if work.family not in ROW:
        return f"{counted}; no estimate for a GPU, because the checkpoint is of no common size"
    times = ", ".join(f"{name} {_time(work.seconds(rate))}" for name, rate in GPUS.items())
    return f"{counted}; an estimate from these: {times}"


def _time(seconds: float) -> str:
    """A time for people, rounded up."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
