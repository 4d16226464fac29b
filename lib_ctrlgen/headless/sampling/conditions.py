"""The text conditions of each step: a request's prompts, with their AND parts and concepts, encoded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
    placed,
    split_and,
)
from lib_ctrlgen.prompts.networks import LoraTag, require_lora_names, split_networks, word_weights
from lib_ctrlgen.prompts.scheduled import Prompt, parse_prompt, require_names
from lib_ctrlgen.request.schedule import Schedule
from lib_ctrlgen.request.spec import GenerationRequest

from .features import Features, mixed_texts
from .prompt_encoder import PromptEncoder, require_plain

ONLY_LORAS = "of the WebUI's extra networks, <lora:name:weight> works here; leave the others out"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The text features of one step for B pictures, each with P conditional rows (its parts).

    uncond: B rows, of the negative prompts; rows: B * P rows, picture by picture, each picture's parts in
    order; shares: the concept and the weight of each picture's rows. All rows have the same number of tokens;
    copies: how many times the conditional rows repeat each of their tokens to reach it.
    """

    uncond: Features
    rows: Features
    shares: tuple[Shares, ...]
    copies: int = 1

    @property
    def plain(self) -> bool:
        """Whether each picture has one conditional row, of weight 1."""
        return all(each == ONE_ROW for each in self.shares)

    @property
    def owners(self) -> tuple[int, ...]:
        """The concept of each of a picture's conditional rows, the same in all pictures."""
        return self.shares[0].owners


def concatenated(parts: Sequence[Conditions]) -> Conditions:
    """The conditions of several batches as those of one batch."""
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
    """The parsed prompts of one request: a negative prompt and a prompt for each picture.

    named: the request's `prompt_weights`, schedules for the names in the prompts; spherical: mix the
    features of concepts with slerp instead of lerp; pad: where the prompts need different numbers of chunks,
    append chunks of the empty prompt to the shorter ones of both sides (the WebUI's `pad_cond_uncond`).
    `AND` parts are always extended to the longest of them, by repeating their last token's state. loras: the
    tags `<lora:...>` of the prompt, which the texts do not have.
    """

    negative: Prompt
    positive: tuple[PromptSource, ...]
    named: Mapping[str, Schedule]
    spherical: bool = False
    pad: bool = False
    loras: tuple[LoraTag, ...] = ()

    def along(self, trajectory: Trajectory) -> Prompts:
        """The same prompts with each picture at its place of a trajectory."""
        first = self.positive[0]
        if not isinstance(first, MixedPrompt):
            return self
        return replace(self, positive=tuple(placed(first, place) for place in trajectory.places))

    def key(self, progress: float) -> object:
        """A value for comparison: where two steps have equal keys, their conditions are equal."""
        first = self.positive[0]
        texts = self.negative.at(progress, self.named), first.at(progress, self.named)
        if not isinstance(first, BlendedPrompt):
            return texts
        all_texts = first.texts_at(progress, self.named) if isinstance(first, MixedPrompt) else ()
        return *texts, all_texts, first.weights_at(progress), first.strengths_at(progress)

    def at(self, progress: float, encoder: PromptEncoder) -> Conditions:
        """The encoded conditions at `progress` in [0, 1]."""
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
        """Positive and negative features with one number of tokens, as rows of one U-Net call need."""
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
        """One conditional row per picture: the mean of the concepts' features, weighted for the picture."""
        uncond, empty, *features = encoder.encode_guided(negative, ["", *texts])
        longest = max(each.length for each in features)
        padded = [each.padded(longest, empty) for each in (empty, *features)]
        sources = [source for source in self.positive if isinstance(source, MixedPrompt)]
        weights = torch.tensor([source.weights_at(progress) for source in sources])
        mixed = mixed_texts(padded[1:], padded[0], weights, spherical=self.spherical)
        return self._together(uncond, mixed, encoder, ONE_ROW)


def parse_prompts(request: GenerationRequest) -> Prompts:
    """Parse the prompts of a request; the pictures of a trajectory are spaced evenly.

    Raises RequestError at the field that is wrong.
    """
    with at_path("$.negative_prompt"):
        negative = parse_prompt(request.negative_prompt, negative=True)
    if len(split_and(negative.at(0.0))) > 1:
        raise RequestError(
            "$.negative_prompt", "AND is for the prompt only: a negative prompt is a single text"
        )
    require_plain(negative.at(0.0), "$.negative_prompt")
    trajectory = trajectory_of(request)
    with at_path("$.prompt"):
        split = split_networks(request.prompt)
        if split.others:
            raise RequestError("", f"{split.others[0]!r} is not supported: {ONLY_LORAS}")
        positive = _positive_prompts(request, split.text)
    weights = (weight for prompt in (negative, *positive) for weight in prompt.weights)
    require_names(word_weights(request.prompt_weights), weights)
    require_lora_names(request.prompt_weights, split.loras)
    prompts = Prompts(
        negative=negative,
        positive=positive,
        named=request.prompt_weights,
        spherical=request.blend is not None and request.blend.interpolation == "slerp",
        pad=request.pad_cond_uncond,
        loras=tuple(tag.with_weights(request.prompt_weights) for tag in split.loras),
    )
    return prompts if trajectory is None else prompts.along(trajectory)


def _positive_prompts(request: GenerationRequest, prompt: str) -> tuple[PromptSource, ...]:
    """The prompt of each picture, the same for all of them; `prompt` is the request's without tags."""
    if request.blend is None:
        source: PromptSource = parse_prompt(prompt)
        require_plain(source.at(0.0), "$.prompt")
        return (source,) * request.batch_size
    source = blended_prompt(request.blend, prompt)
    for index, concept in enumerate(getattr(source, "concepts", ())):
        require_plain(concept.at(0.0), f"$.blend.concepts[{index}].prompt")
    return (source,) * request.batch_size


def trajectory_of(request: GenerationRequest) -> Trajectory | None:
    """The trajectory over the request's pictures; None for other requests.

    Raises RequestError where the number of pictures does not fit the number of concepts.
    """
    return Trajectory.of(request.blend, request.batch_size)
