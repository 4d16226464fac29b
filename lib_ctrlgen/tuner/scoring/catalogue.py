"""The scores of a picture, one entry each: name, label, direction, and the function that measures it.

To add a score, write a file with a function and add an entry to `SCORES`. An entry has the name of its
function, so this module does not import torch.

>>> less_is_better("over_control"), less_is_better("adherence.0")
(True, False)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lib_ctrlgen.request.catalogue import load_object


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score.

    name            its name in tables and files; for a score of one unit, the index is added: `adherence.0`
    label           its name in sentences and on the axes of plots
    about           how it is measured and its range, for the documentation
    place           the function that measures it, `package.module:function`: it takes
                    `lib_ctrlgen.tuner.scoring.measure.ScoreInputs` and returns `Scores`
    less_is_better  whether a smaller number is better
    by_encoder      whether it depends on the CLIP vision encoder
    """

    name: str
    label: str
    about: str
    place: str
    less_is_better: bool = False
    by_encoder: bool = False

    def measure(self, inputs: Any) -> Any:
        """The `Scores` of a picture: numbers by name, or the reason why a number is missing."""
        return load_object(self.place)(inputs)


# The order is that of a search's objectives; Optuna's study in a tuner's folder depends on it.
SCORES: tuple[Score, ...] = (
    Score(
        name="adherence",
        label="adherence",
        about="0..1, per unit: the unit's preprocessor runs on the generated picture, and this map is "
        "compared with the unit's control map (F1 of edges within two pixels, or SSIM)",
        place="lib_ctrlgen.tuner.scoring.measure:measure_adherence",
    ),
    Score(
        name="reference",
        label="likeness to the reference",
        about="-1..1, per unit with a reference picture: cosine of the CLIP embeddings of the generated "
        "picture and the reference picture",
        place="lib_ctrlgen.tuner.scoring.measure:measure_reference",
        by_encoder=True,
    ),
    Score(
        name="prompt",
        label="likeness to the prompt",
        about="-1..1: cosine of the CLIP embeddings of the generated picture and the prompt without weights",
        place="lib_ctrlgen.tuner.scoring.measure:measure_prompt",
        by_encoder=True,
    ),
    Score(
        name="over_control",
        label="over-control",
        about="0 and up: the sum of the increases over the uncontrolled picture of the same seed in the "
        "share of clipped pixels, the mean saturation and half the binary logarithm of fine detail",
        place="lib_ctrlgen.tuner.scoring.measure:measure_over_control",
        less_is_better=True,
    ),
)
# The scores of finished cells whose notes do not list what was measured.
FIRST_SCORES = ("adherence", "reference", "prompt", "over_control")

# Increase this whenever a score in `SCORES` is measured in another way: finished cells with another version
# are measured again from their pictures. 2: a blank control map has no adherence. 3: one encoder for all.
VERSION = 3


def kind_of(name: str) -> str:
    """The score's name without its unit.

    >>> kind_of("adherence.1")
    'adherence'
    """
    return name.partition(".")[0]


def score_of(name: str) -> Score | None:
    """The entry of a score, with or without a unit in its name; None for a name that is not listed."""
    return next((score for score in SCORES if score.name == kind_of(name)), None)


def score_names() -> tuple[str, ...]:
    """The names of all scores, without units."""
    return tuple(score.name for score in SCORES)


def less_is_better(name: str) -> bool:
    """Whether a smaller number is better; False for a name that is not listed."""
    score = score_of(name)
    return score is not None and score.less_is_better


def by_encoder(names: Iterable[str]) -> bool:
    """Whether one of these scores depends on the CLIP vision encoder."""
    return any(score is not None and score.by_encoder for score in map(score_of, names))


def gain(name: str, one: float, other: float) -> float:
    """By how much `one` is better than `other`; negative where it is worse."""
    return other - one if less_is_better(name) else one - other


def score_label(name: str) -> str:
    """A score's name in words.

    >>> score_label("adherence.0"), score_label("over_control")
    ('adherence (unit 0)', 'over-control')
    """
    kind, _, unit = name.partition(".")
    score = score_of(kind)
    return f"{score.label if score else kind}{f' (unit {unit})' if unit else ''}"


def direction(name: str) -> str:
    """Which numbers of a score are good, in words."""
    return "less is better" if less_is_better(name) else "more is better"
