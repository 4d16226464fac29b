"""Draws the batches of a training. Every batch is a function of the seed, the step and its number in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.batch import Batch

from .captions import CaptionFeatures
from .encoded import EncodedView, Version


@dataclass(frozen=True, kw_only=True, eq=False)
class Batches:
    """The batches of a training from its encoded views.

    text is None for a method that encodes captions itself; sized is whether the U-Net reads sizes (SDXL).
    sources are the views that references are drawn from, where these are not the views themselves.
    """

    spec: TrainingSpec
    views: Sequence[EncodedView]
    text: CaptionFeatures | None
    sized: bool
    prior: bool = False
    sources: Sequence[EncodedView] = ()
    shapes: dict[tuple[int, int], list[int]] = field(init=False)

    def __post_init__(self) -> None:
        shapes = defaultdict(list)
        for index, view in enumerate(self.views):
            shapes[view.shape].append(index)
        object.__setattr__(self, "shapes", dict(shapes))

    @property
    def largest(self) -> tuple[int, int]:
        """Height and width of the largest latents."""
        return max(self.shapes, key=lambda shape: shape[0] * shape[1])

    def draw(self, step: int, number: int) -> Batch:
        """The `number`-th batch of a step: pictures of one size, each with a reference of another view."""
        rng = np.random.default_rng((self.spec.seed, step, number, int(self.prior)))
        chosen = self._rows(rng)
        versions = [_any(self.views[index].versions, rng) for index in chosen]
        no_text, no_image = self._dropped(rng, len(chosen))
        captions = [
            "" if drop else self.views[index].caption for index, drop in zip(chosen, no_text, strict=True)
        ]
        references = [self.reference(index, rng).reference for index in chosen]
        return self._batch(chosen, versions, captions, references, no_image, rng)

    def whole(self, index: int) -> Batch:
        """One view with its caption, nothing dropped or drawn: the mean of its latent."""
        view = self.views[index]
        first = view.versions[0]
        still = Version(mean=first.mean, std=first.std * 0, weights=first.weights, reference=first.reference)
        reference = self.reference(index, np.random.default_rng(0)).reference
        rng = np.random.default_rng(0)
        return self._batch([index], [still], [view.caption], [reference], np.zeros(1, bool), rng)

    def reference(self, index: int, rng: np.random.Generator) -> Version:
        """A version of another view than `index`; of the same one only where there is no other."""
        if self.sources:
            return _any(self.sources[int(rng.integers(len(self.sources)))].versions, rng)
        others = [each for each in range(len(self.views)) if each != index]
        view = self.views[int(rng.choice(others)) if others else index]
        return _any(view.versions, rng)

    def _rows(self, rng: np.random.Generator) -> list[int]:
        """The views of a batch: of one size, each once where there are enough."""
        sizes = list(self.shapes.values())
        counts = np.array([len(each) for each in sizes], float)
        group = sizes[int(rng.choice(len(sizes), p=counts / counts.sum()))]
        rows: list[int] = []
        while len(rows) < self.spec.batch:
            rows += [int(each) for each in rng.permutation(group)]
        return rows[: self.spec.batch]

    def _dropped(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Which rows have no caption, and which no reference. Some have neither, as guidance's second row."""
        draws, text = rng.random(count), self.spec.drop_text
        if self.views[0].versions[0].reference is None:
            return draws < text, np.zeros(count, bool)
        image, both = self.spec.drop_image, min(self.spec.drop_image, text)
        no_text = draws < text + both
        return no_text, ((draws >= text) & no_text) | ((draws >= text + both) & (draws < text + both + image))

    def _batch(
        self,
        chosen: Sequence[int],
        versions: Sequence[Version],
        captions: Sequence[str],
        references: Sequence[Tensor | None],
        no_image: np.ndarray,
        rng: np.random.Generator,
    ) -> Batch:
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        mean = torch.stack([each.mean for each in versions])
        std = torch.stack([each.std for each in versions])
        sizes = [self.views[index].sizes for index in chosen]
        return Batch(
            latents=mean + std * torch.randn(mean.shape, generator=noise),
            captions=tuple(captions),
            text=None if self.text is None else self.text.of(captions),
            sizes=torch.tensor(sizes, dtype=torch.float32) if self.sized else None,
            references=_stacked(references),
            unreferenced=torch.from_numpy(no_image),
            weights=_stacked([each.weights for each in versions]),
            prior=self.prior,
        )


def _any(versions: Sequence[Version], rng: np.random.Generator) -> Version:
    return versions[int(rng.integers(len(versions)))]


def _stacked(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """The tensors as one; None where one is missing."""
    found = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(found) if len(found) == len(tensors) else None
