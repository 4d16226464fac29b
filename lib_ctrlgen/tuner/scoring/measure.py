"""Measures every score of a generated picture."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from lib_ctrlgen.request.spec import ControlRequest

from . import catalogue
from .clip_likeness import ClipTextEncoder, Likeness, is_reference
from .scores import Scores, adherence, over_control


@dataclass(frozen=True, kw_only=True)
class ScoreInputs:
    """The inputs of a score.

    picture       the generated picture
    uncontrolled  the picture of the same seed without units; None if the request has no units
    request       the request of this one picture
    likeness      measures likeness with a CLIP vision encoder; `likeness.store` holds the models
    prompt        the prompt without weights
    text_encoder    the checkpoint's CLIP text encoder; None if its text encoder is of another kind
    device, away  where preprocessors' networks run, and whether their weights are in the CPU's memory
                  between uses: as in the generation, so that no network is loaded twice
    """

    picture: Image.Image
    uncontrolled: Image.Image | None
    request: ControlRequest
    likeness: Likeness
    prompt: str
    text_encoder: ClipTextEncoder | None
    device: str = "cpu"
    away: bool = False


def measure_all(inputs: ScoreInputs) -> Scores:
    """Every score of the catalogue."""
    found = Scores()
    for score in catalogue.SCORES:
        found |= score.measure(inputs)
    return found


def measure_adherence(inputs: ScoreInputs) -> Scores:
    """How well the picture follows the control map of each unit that has one."""
    found = Scores()
    for index, unit in inputs.request.enabled_units:
        if not is_reference(unit, inputs.likeness.store):
            store, device = inputs.likeness.store, inputs.device
            found |= adherence(inputs.picture, unit, index, store, device, away=inputs.away)
    return found


def measure_reference(inputs: ScoreInputs) -> Scores:
    """How like the picture is to the picture of each unit that shows a reference."""
    found = Scores()
    for index, unit in inputs.request.enabled_units:
        if is_reference(unit, inputs.likeness.store):
            found |= inputs.likeness.reference(inputs.picture, unit, index)
    return found


def measure_prompt(inputs: ScoreInputs) -> Scores:
    """How like the picture is to the prompt."""
    return inputs.likeness.prompt(inputs.picture, inputs.prompt, inputs.text_encoder)


def measure_over_control(inputs: ScoreInputs) -> Scores:
    """How much the units overdo the picture; no score without an uncontrolled picture."""
    if inputs.uncontrolled is None:
        return Scores()
    return over_control(inputs.picture, inputs.uncontrolled)
