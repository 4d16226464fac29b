"""A batch of requests with parsed prompts, and what its U-Net calls read at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lib_ctrlgen.blending.trajectory import Trajectory
from lib_ctrlgen.controls.unit import ActiveUnit, unit_variants
from lib_ctrlgen.prompts.networks import LoraTag
from lib_ctrlgen.request.batching import RequestBatch
from lib_ctrlgen.request.spec import ControlUnit, GenerationRequest

from .conditions import Conditions, Prompts, concatenated, parse_prompts
from .loras import NO_LORAS, PromptLoras
from .prompt_encoder import PromptEncoder


@dataclass(frozen=True, kw_only=True)
class PromptBatch(RequestBatch[GenerationRequest]):
    """Requests that are sampled as one batch, and the parsed prompts of each."""

    prompts: tuple[Prompts, ...]

    @staticmethod
    def of(requests: Sequence[GenerationRequest]) -> PromptBatch:
        """Parse the prompts of requests that are alike. Raises RequestError at the prompt that is wrong."""
        return PromptBatch(
            requests=tuple(requests),
            sizes=tuple(request.batch_size for request in requests),
            prompts=tuple(map(parse_prompts, requests)),
        )

    def along(self, trajectory: Trajectory) -> PromptBatch:
        """The batch with its pictures at the places of a trajectory."""
        return replace(self, prompts=tuple(each.along(trajectory) for each in self.prompts))

    def guidance_scales(self, progress: float) -> list[float]:
        """The guidance scale of each picture at `progress` in [0, 1]."""
        return self.per_picture([request.cfg_scale(progress) for request in self.requests])

    @property
    def loras(self) -> tuple[LoraTag, ...]:
        """The LoRAs of the prompts, which are the same in all requests that are alike."""
        return self.prompts[0].loras

    @property
    def is_guided(self) -> bool:
        """Whether the guidance scale of any picture ever exceeds 1."""
        return any(request.cfg_scale.bounds[1] > 1 for request in self.requests)

    def variants(self, units: Sequence[ActiveUnit]) -> list[tuple[ControlUnit, ...]]:
        """The fields of `units` as each picture's request has them; empty for a single request."""
        return [] if self.cells == 1 else self.per_picture(unit_variants(self.requests, units))


@dataclass
class EncodedBatch:
    """The guidance scales and text features of a batch; prompts are encoded again when they change.

    They change with the prompts' weights and with those of LoRAs that change the text encoders.
    """

    batch: PromptBatch
    encoder: PromptEncoder
    loras: PromptLoras = NO_LORAS
    _last: tuple[object, Conditions] | None = None

    def guidance_scales(self, progress: float) -> list[float]:
        """The guidance scale of each picture at `progress` in [0, 1]."""
        return self.batch.guidance_scales(progress)

    def conditions(self, progress: float) -> Conditions:
        """The text features of all rows of the U-Net call at `progress` in [0, 1]."""
        key = [self.loras.text_weights(progress), *(each.key(progress) for each in self.batch.prompts)]
        if self._last is None or self._last[0] != key:
            with self.loras.on_text(self.encoder, progress):
                parts = [each.at(progress, self.encoder) for each in self.batch.prompts]
            self._last = key, concatenated(parts)
        return self._last[1]
