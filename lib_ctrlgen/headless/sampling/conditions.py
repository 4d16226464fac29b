"""What the U-Net is told at each step: a request's prompts, its AND parts and its concepts, encoded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from lib_ctrlgen.blending.trajectory import Trajectory
from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.prompts.blended import (
    ONE_ROW,
    BlendedPrompt,
    MixedPrompt,
    PromptSource,
    Shares,
    blended_prompt,
    split_and,
)
from lib_ctrlgen.prompts.scheduled import Prompt, parse_prompt, require_names
from lib_ctrlgen.request.schedule import Schedule
from lib_ctrlgen.request.spec import GenerationRequest

from .features import Features, mixed_texts
from .prompt_encoder import PromptEncoder, require_plain


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """One step's text. Rows are laid out picture by picture, each picture's parts in order.

    `uncond` has B rows, `rows` B * P, and `shares` says what the rows of each picture are. All rows have the
    same number of tokens; `copies` says how often the conditional ones hold each of theirs.
    """

    uncond: Features
    rows: Features
    shares: tuple[Shares, ...]
    copies: int = 1

    @property
    def plain(self) -> bool:
        """Whether one row per picture says it all."""
        return all(each == ONE_ROW for each in self.shares)

    @property
    def owners(self) -> tuple[int, ...]:
        """The concepts of a picture's rows, the same in all pictures."""
        return self.shares[0].owners


def joined(parts: Sequence[Conditions]) -> Conditions:
    """The conditions of several batches as those of one."""
    if len(parts) == 1:
        return parts[0]
    return Conditions(
        uncond=Features.rows([part.uncond for part in parts]),
        rows=Features.rows([part.rows for part in parts]),
        shares=tuple(each for part in parts for each in part.shares),
        copies=parts[0].copies,
    )


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A negative prompt, a positive one per picture, and the named weights that stand in for theirs.

    Texts may need different numbers of chunks. `AND` parts are stretched to the longest of them. With `pad`
    the shorter side, positive or negative, gets the empty prompt behind it, else both keep their lengths.
    """

    negative: Prompt
    positive: tuple[PromptSource, ...]
    named: Mapping[str, Schedule]
    turn: bool = False
    pad: bool = False

    def key(self, progress: float) -> object:
        """What the conditions depend on: equal keys, equal conditions."""
        first = self.positive[0]
        texts = self.negative.at(progress, self.named), first.at(progress, self.named)
        if not isinstance(first, BlendedPrompt):
            return texts
        all_texts = first.texts_at(progress, self.named) if isinstance(first, MixedPrompt) else ()
        return *texts, all_texts, first.weights_at(progress), first.strengths_at(progress)

    def at(self, progress: float, encoder: PromptEncoder) -> Conditions:
        """The conditions at `progress`."""
        first, negative = self.positive[0], self.negative.at(progress, self.named)
        if isinstance(first, MixedPrompt):
            return self._mixed(progress, negative, first.texts_at(progress, self.named), encoder)
        if isinstance(first, BlendedPrompt):
            texts = [part.text for _, part in first.parts_at(progress, self.named)]
            return self._rows(negative, texts, encoder, first.shares_at(progress, self.named))
        parts = split_and(first.at(progress, self.named))
        shares = Shares(owners=(0,) * len(parts), factors=tuple(part.weight for part in parts))
        return self._rows(negative, [part.text for part in parts], encoder, shares)

    def _rows(
        self, negative: str, texts: Sequence[str], encoder: PromptEncoder, shares: Shares
    ) -> Conditions:
        uncond, *rows = encoder.encode_guided(negative, texts)
        longest = max(row.length for row in rows)
        parts = Features.rows([row.stretched(longest) for row in rows])
        return self._together(uncond, parts.repeat(len(self.positive)), encoder, shares)

    def _together(
        self, uncond: Features, rows: Features, encoder: PromptEncoder, shares: Shares
    ) -> Conditions:
        """Both sides at one number of tokens, which a U-Net's batch needs."""
        if self.pad:
            [empty] = encoder.encode([""])
            longest = max(uncond.length, rows.length)
            uncond, rows = uncond.padded(longest, empty), rows.padded(longest, empty)
        count, length = len(self.positive), math.lcm(uncond.length, rows.length)
        return Conditions(
            uncond=uncond.tiled(length).repeat(count),
            rows=rows.tiled(length),
            shares=(shares,) * count,
            copies=length // rows.length,
        )

    def _mixed(
        self, progress: float, negative: str, texts: Sequence[str], encoder: PromptEncoder
    ) -> Conditions:
        """One row per picture with the concepts' features, at one length, mixed by the picture's weights."""
        uncond, empty, *features = encoder.encode_guided(negative, ["", *texts])
        longest = max(each.length for each in features)
        padded = [each.padded(longest, empty) for each in (empty, *features)]
        sources = [source for source in self.positive if isinstance(source, MixedPrompt)]
        weights = torch.tensor([source.weights_at(progress) for source in sources])
        mixed = mixed_texts(padded[1:], padded[0], weights, turn=self.turn)
        return self._together(uncond, mixed, encoder, ONE_ROW)


def prompts_of(request: GenerationRequest, steps: Trajectory | None = None) -> Prompts:
    """The request's prompts, read; `steps` are a trajectory whose pictures stand elsewhere.

    Raises RequestError at the place of what is wrong.
    """
    with at_path("$.negative_prompt"):
        negative = parse_prompt(request.negative_prompt, negative=True)
    if len(split_and(negative.at(0.0))) > 1:
        raise RequestError("$.negative_prompt", "AND belongs into the prompt: a negative prompt is one text")
    require_plain(negative.at(0.0), "$.negative_prompt")
    with at_path("$.prompt"):
        positive = positive_prompts(request, steps or trajectory_of(request))
    weights = (weight for prompt in (negative, *positive) for weight in prompt.weights)
    require_names(request.prompt_weights, weights)
    turn = request.blend is not None and request.blend.interpolation == "slerp"
    return Prompts(
        negative=negative,
        positive=positive,
        named=request.prompt_weights,
        turn=turn,
        pad=request.pad_cond_uncond,
    )


def positive_prompts(request: GenerationRequest, steps: Trajectory | None) -> tuple[PromptSource, ...]:
    """The prompt of each picture."""
    blend = request.blend
    if blend is None:
        source: PromptSource = parse_prompt(request.prompt)
        require_plain(source.at(0.0), "$.prompt")
        return (source,) * request.batch_size
    places = steps.places if steps else (0.0,) * request.batch_size
    found = tuple(blended_prompt(blend, request.prompt, place=place) for place in places)
    for index, prompt in enumerate(getattr(found[0], "concepts", ())):
        require_plain(prompt.at(0.0), f"$.blend.concepts[{index}].prompt")
    return found


def trajectory_of(request: GenerationRequest) -> Trajectory | None:
    """The trajectory that the request's batch is, if it is one. Raises RequestError."""
    return Trajectory.of(request.blend, request.batch_size)
