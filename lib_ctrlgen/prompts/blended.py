r"""The prompts of a blend: each concept's prompt and weight at each step.

>>> from lib_ctrlgen.request.spec import parse_request
>>> first = {"prompt": "{prompt}, red", "weight": "1>0"}
>>> last = {"prompt": "a square :2 AND blue", "weight": 0.5}
>>> blend = parse_request({"blend": {"concepts": [first, last]}}).blend
>>> prompt = blended_prompt(blend, "a circle")
>>> prompt.at(0.5)
'a circle, red :0.5 AND a square :1 AND blue :0.5'
>>> prompt.owners
(0, 1, 1)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.request.blend import THE_PROMPT, Blend
from lib_ctrlgen.request.schedule import Schedule, constant

from .networks import split_networks
from .numbers import plain_number
from .scheduled import NOTHING, Named, Prompt, PromptWeight, parse_prompt

AND = re.compile(r"\bAND\b")
# The WebUI's regular expression for the weight of an AND part.
WEIGHED = re.compile(r"((?:\s|.)*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*", re.DOTALL)


class PromptSource(Protocol):
    """A prompt that may change over the steps, from the user's prompt or from the concepts of a blend."""

    @property
    def weights(self) -> tuple[PromptWeight, ...]:
        """The prompt's weights that are schedules or have a name."""

    def at(self, progress: float, named: Named = NOTHING) -> str:
        """The ordinary prompt at `progress` in [0, 1]."""


@dataclass(frozen=True)
class PromptPart:
    """One part of an AND prompt, which is one conditional row."""

    text: str
    weight: float


def split_and(text: str) -> tuple[PromptPart, ...]:
    """The parts of an ordinary prompt, as the WebUI reads them.

    >>> split_and("a cat :1.5 AND a dog")
    (PromptPart(text='a cat', weight=1.5), PromptPart(text='a dog', weight=1.0))
    """
    return tuple(_part(piece) for piece in AND.split(text))


def _part(piece: str) -> PromptPart:
    found = WEIGHED.fullmatch(piece)
    text, weight = (piece, None) if found is None else found.groups()
    stripped = text.strip()
    return PromptPart(stripped, 1.0 if weight is None else float(weight))


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How the conditional rows of one picture are combined at a step.

    owners     for each row, the number of its concept
    factors    for each row, its weight inside the concept (the weight of its AND part)
    weights    for each concept, its weight
    strengths  for each concept, the strength of its mask, 0..1; None: all are 1
    """

    owners: tuple[int, ...] = (0,)
    factors: tuple[float, ...] = (1.0,)
    weights: tuple[float, ...] = (1.0,)
    strengths: tuple[float, ...] | None = None


ONE_ROW = Shares()  # a plain prompt


@dataclass(frozen=True, kw_only=True)
class BlendedPrompt:
    """The concepts of one picture in one pass."""

    concepts: tuple[Prompt, ...]
    schedules: tuple[Schedule, ...]
    strengths: tuple[Schedule, ...] = ()
    normalise: bool = False

    @property
    def weights(self) -> tuple[PromptWeight, ...]:
        """The weights inside the concepts' prompts."""
        return tuple(weight for prompt in self.concepts for weight in prompt.weights)

    def weights_at(self, progress: float) -> tuple[float, ...]:
        """The weight of each concept, divided by their sum with `normalise`."""
        raw = tuple(schedule(progress) for schedule in self.schedules)
        total = sum(raw) if self.normalise else 1.0
        return tuple(weight / total if total else 0.0 for weight in raw)

    def strengths_at(self, progress: float) -> tuple[float, ...] | None:
        """The strength of each concept's mask, 0..1; None if all are 1."""
        found = tuple(schedule(progress) for schedule in self.strengths)
        return None if all(strength == 1.0 for strength in found) else found

    def parts_at(self, progress: float, named: Named = NOTHING) -> Iterator[tuple[int, PromptPart]]:
        """Every concept's AND parts, with the concept's number; the concept's weight is not included."""
        for index, prompt in enumerate(self.concepts):
            for part in split_and(prompt.at(progress, named)):
                yield index, part

    @property
    def owners(self) -> tuple[int, ...]:
        """The concept of each part; the same at every progress."""
        return tuple(index for index, _ in self.parts_at(0.0))

    def factors_at(self, progress: float, named: Named = NOTHING) -> tuple[float, ...]:
        """The weight of each AND part inside its concept."""
        return tuple(part.weight for _, part in self.parts_at(progress, named))

    def shares_at(self, progress: float, named: Named = NOTHING) -> Shares:
        """How the rows of the picture are combined."""
        return Shares(
            owners=self.owners,
            factors=self.factors_at(progress, named),
            weights=self.weights_at(progress),
            strengths=self.strengths_at(progress),
        )

    def at(self, progress: float, named: Named = NOTHING) -> str:
        """All concepts as one AND prompt, which the WebUI can combine without CtrlGen."""
        weights = self.weights_at(progress)
        pieces = self.parts_at(progress, named)
        return " AND ".join(f"{part.text} :{plain_number(part.weight * weights[i])}" for i, part in pieces)


@dataclass(frozen=True, kw_only=True)
class MixedPrompt(BlendedPrompt):
    """Concepts whose text features are mixed. The host encodes the first one; its features are replaced."""

    def at(self, progress: float, named: Named = NOTHING) -> str:
        """The first concept's prompt."""
        return self.texts_at(progress, named)[0]

    def texts_at(self, progress: float, named: Named = NOTHING) -> tuple[str, ...]:
        """Every concept's prompt."""
        return tuple(prompt.at(progress, named) for prompt in self.concepts)


def placed(source: MixedPrompt, place: float) -> MixedPrompt:
    """The concepts with the weights of a place 0..1 in a trajectory."""
    return replace(source, schedules=tuple(map(constant, waypoint_weights(place, len(source.concepts)))))


def blended_prompt(blend: Blend, prompt: str, *, hires: bool = False, place: float = 0.0) -> PromptSource:
    """The prompt of one picture under a blend; `place` 0..1 is the picture's place in a trajectory.

    Raises RequestError if the request's prompt would be ignored, or if a concept's prompt is invalid.
    """
    if blend.mode == "seeds":
        return parse_prompt(prompt)
    _require_used(blend, prompt)
    concepts = tuple(_read(blend, index, prompt) for index in range(len(blend.concepts)))
    if blend.mode == "trajectory":
        schedules = tuple(map(constant, waypoint_weights(place, len(concepts))))
    else:
        schedules = tuple(concept.in_pass(hires=hires) for concept in blend.concepts)
    kind = MixedPrompt if blend.mixes_prompts else BlendedPrompt
    return kind(
        concepts=concepts,
        schedules=schedules,
        strengths=tuple(concept.mask_strength for concept in blend.concepts),
        normalise=blend.normalise and not blend.has_masks,
    )


def rows_of(source: PromptSource) -> int:
    """The number of conditional U-Net rows per picture for a prompt."""
    if isinstance(source, MixedPrompt):
        return 1
    return len(source.owners) if isinstance(source, BlendedPrompt) else len(split_and(source.at(0.0)))


def waypoint_weights(place: float, count: int) -> tuple[float, ...]:
    """The weights of `count` concepts at a place 0..1 of a trajectory: at most two, with the sum 1.

    >>> waypoint_weights(0.25, 3)
    (0.5, 0.5, 0.0)
    """
    along = place * (count - 1)
    return tuple(max(0.0, 1.0 - abs(along - index)) for index in range(count))


def _require_used(blend: Blend, prompt: str) -> None:
    if prompt.strip() and all(c.prompt.strip() and THE_PROMPT not in c.prompt for c in blend.concepts):
        raise RequestError(
            "$.blend.concepts",
            "no concept uses the request's prompt: write {prompt} where it belongs in a concept, leave "
            "one concept's prompt empty to use the request's there, or leave the request's empty",
        )


def _read(blend: Blend, index: int, prompt: str) -> Prompt:
    text = blend.concepts[index].prompt
    whole = text.replace(THE_PROMPT, prompt) if text.strip() else prompt
    path = f"$.blend.concepts[{index}].prompt"
    tags = split_networks(text).loras
    if tags:
        message = f"{tags[0].text} acts on the whole picture: write it into the request's own prompt"
        raise RequestError(path, message)
    with at_path(path):
        read = parse_prompt(whole)
    if blend.mixes_prompts and len(split_and(read.at(0.0))) > 1:
        raise RequestError(path, f"mode {blend.mode} mixes features and takes no AND: use mode prediction")
    return read
