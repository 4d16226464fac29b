"""Is the weight of the adapter right? A small run of the tuner: likeness and prompt against the weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import new_folder, save_text
from lib_ctrlgen.headless.job_text import yaml_text
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.projects.product.environments import Environment
from lib_ctrlgen.projects.product.identity import Box, Identity, Threshold
from lib_ctrlgen.projects.product.picture import JOB, Photographer, Shot
from lib_ctrlgen.projects.product.settings import Weight, peak
from lib_ctrlgen.request.schedule import constant, parse_schedule
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload
from lib_ctrlgen.tuner.cells import Grid, TuneSpec, grid_of
from lib_ctrlgen.tuner.progress import TunerResult
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.tuner.scoring.scores import Scores

from .finding import Finding, finding

WEIGHTS = (0.0, 0.4, 0.7, 1.0, 1.3)
TRIED = 2  # environments
IDENTITY, PROMPT = "identity", "prompt"
NEAR = 0.03  # a likeness that is not clearly below another
DROP = 0.2  # the share of the likeness to the prompt without which the prompt is lost
TUNING = "tuning"


@dataclass(frozen=True, kw_only=True)
class WeightCurve:
    """Means over some environments, one for each weight; `prompt` None where it cannot be measured.

    weights  of a schedule, its largest values: the same course at several heights
    """

    weights: tuple[float, ...]
    likeness: tuple[float, ...]
    prompt: tuple[float | None, ...]
    environments: tuple[str, ...]

    def lost_at(self, place: int) -> bool:
        """Whether the prompt is clearly less followed than at the least weight."""
        first, here = self.prompt[0], self.prompt[place]
        return first is not None and here is not None and first - here > DROP * abs(first)

    @property
    def best(self) -> int:
        """The place of the least weight whose likeness is near the best of those that keep the prompt."""
        kept = [place for place in range(len(self.weights)) if not self.lost_at(place)]
        most = max(self.likeness[place] for place in kept)
        return next(place for place in kept if self.likeness[place] >= most - NEAR)


@dataclass(frozen=True, kw_only=True)
class IdentityHost(EngineHost):
    """Scores pictures by their likeness to the product as well."""

    measure: Identity
    box: Box | None

    def scores(self, picture: Image.Image, free: Image.Image | None, request: GenerationRequest) -> Scores:
        """The tuner's scores, with the likeness to the product."""
        found = super().scores(picture, free, request)
        return found | Scores({IDENTITY: self.measure.of_picture(picture, self.box)})


def weight_curve(
    photographer: Photographer,
    environments: Sequence[Environment],
    out: Path,
    tell: Callable[[int, int], None],
) -> WeightCurve:
    """Try the weights in some environments, with the tuner in `out/tuning`; finished pictures stay.

    Raises RequestError, and HostError if no weight could be scored.
    """
    weights = tuple(sorted({*WEIGHTS, peak(photographer.settings.identity)}))
    tried = environments[:TRIED]
    counted = _counted(tell, len(weights), len(tried))
    runs = [
        _tuned(photographer, each, weights, new_folder(out / TUNING / each.name), counted(number))
        for number, each in enumerate(tried)
    ]
    if any(IDENTITY not in cell.compared for run in runs for cell in run.done):
        errors = [cell.error for run in runs for cell in run.done if cell.error]
        raise HostError(f"the weights could not be compared; {'; '.join(map(str, errors[:2]))}")
    return WeightCurve(
        weights=weights,
        likeness=tuple(_mean(runs, place, IDENTITY) or 0.0 for place in range(len(weights))),
        prompt=tuple(_mean(runs, place, PROMPT) for place in range(len(weights))),
        environments=tuple(each.name for each in tried),
    )


def _counted(
    tell: Callable[[int, int], None], each: int, count: int
) -> Callable[[int], Callable[[int], None]]:
    """From the number of an environment to a function that tells what is done in all of them."""
    return lambda number: lambda done: tell(number * each + done, count * each)


def _mean(runs: Sequence[TunerResult], place: int, score: str) -> float | None:
    found = [run.done[place].compared.get(score) for run in runs]
    values = [value for value in found if value is not None]
    return fmean(values) if len(values) == len(runs) else None


def _tuned(
    photographer: Photographer,
    environment: Environment,
    weights: Sequence[float],
    folder: Path,
    tell: Callable[[int], None],
) -> TunerResult:
    """The tuner's run over the weights in one environment."""
    shot = Shot(environment=environment, number=0, seed=photographer.settings.seed)
    shown = dataclasses.replace(photographer, settings=replace(photographer.settings, identity=1.0))
    payload, box = shown.write_inputs(shot, folder)
    whole = to_payload(read_job(save_text(yaml_text(payload), folder / JOB)).request, whole=True)
    host = IdentityHost(engine=photographer.engine, measure=photographer.identity, box=box)
    values = [at_height(photographer.settings.identity, weight) for weight in weights]
    return Tuner(host, row_of(whole, values), folder).run(lambda progress: tell(progress.done))


def at_height(weight: Weight, height: float) -> Weight:
    """The course of a weight with `height` as its largest value; a constant weight has no course.

    >>> at_height(0.8, 0.4), at_height("1>0.5", 0.4), at_height("1>0.5", 1.0)
    (0.4, '1@0, 0.5@1 * 0.4', '1@0, 0.5@1')
    """
    schedule, most = parse_schedule(weight), peak(weight)
    if schedule.constant is not None or height == 0:
        return height
    return str(schedule if height == most else schedule * constant(height / most))


def row_of(payload: dict[str, Any], weights: Sequence[Weight]) -> Grid:
    """A row of the tuner: the weight of the last unit, which is the adapter."""
    path = f"units.{len(payload['units']) - 1}.weight"
    tune = parse_request({"x": {"path": path, "values": list(weights)}}, TuneSpec)
    return grid_of(payload, tune, GenerationRequest)


def weight_findings(curve: WeightCurve, weight: float, threshold: Threshold) -> tuple[Finding, ...]:
    """Whether the weight in use is too low, too high, or loses the prompt, or no weight is enough."""
    here, best = curve.weights.index(weight), curve.best
    like, most = curve.likeness[here], curve.likeness[best]
    seen = f"likeness {like:.2f} at weight {weight:g}, {most:.2f} at {curve.weights[best]:g}"
    low = best > here and most - like > NEAR
    high = best < here and most - like > NEAR
    first, now = curve.prompt[0], curve.prompt[here]
    lost = curve.lost_at(here)
    said = (
        "not measured"
        if first is None or now is None
        else f"{now:.2f} at weight {weight:g}, {first:.2f} at 0"
    )
    advice = f"set the weight to {curve.weights[best]:g} (--identity)"
    return (
        finding("weight", "weight-too-low", seen, advice, bad=low),
        finding("weight", "weight-too-high", seen, advice, bad=high),
        finding("weight", "prompt-lost", f"likeness to the prompt {said}", advice, bad=lost),
        *_enough(curve, threshold),
    )


def _enough(curve: WeightCurve, threshold: Threshold) -> tuple[Finding, ...]:
    """Whether any weight shows the product."""
    if threshold.value is None:
        return ()
    most = max(curve.likeness)
    text = f"the largest likeness at any weight is {most:.2f}, the threshold {threshold.value:.2f}"
    advice = "train longer or with more views: no weight of this adapter shows the product"
    return (finding("weight", "no-weight-is-enough", text, advice, bad=most < threshold.value),)
