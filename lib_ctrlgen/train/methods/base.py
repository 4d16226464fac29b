"""What differs between the methods of training: which parameters there are, and how the U-Net uses them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.batch import Batch


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a method trains on: the frozen networks of the checkpoint, the model folders, the device.

    dtype  of the forward pass; float32 does without automatic mixed precision
    """

    networks: Networks
    store: ModelStore
    device: torch.device
    dtype: torch.dtype


class TrainingMethod(Protocol):
    """One way to train. It is made by `create`, while no network is changed.

    `encodes_text` is True if `predict` encodes the captions itself, because what is trained changes them;
    else the encoded captions are cached, and a batch carries them.
    """

    name: ClassVar[str]
    encodes_text: bool
    base: Base

    @classmethod
    def create(cls, spec: TrainingSpec, base: Base) -> TrainingMethod:
        """Make the method with its initial weights from `spec.seed`. Raises RequestError and ModelError."""

    def about(self) -> str:
        """A sentence that says what is trained, for the user before the start."""

    def module(self) -> nn.Module:
        """The trained part: its parameters, in float32, are exactly what is trained.

        Its state_dict is what a checkpoint keeps.
        """

    def groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameter groups with their learning rates (`params`, `lr`)."""

    def engaged(self) -> AbstractContextManager[None]:
        """Put the trained part into the networks; at the exit they are exactly as before."""

    def predict(self, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The U-Net's output [B, 4, h, w] with the trained part. Called while it is engaged."""

    def prior_target(self, batch: Batch, noisy: Tensor, timesteps: Tensor, target: Tensor) -> Tensor:
        """What is to be predicted for a batch of the prior: by default `target`, as for other pictures."""
        del batch, noisy, timesteps
        return target

    def references(self, pictures: Sequence[Image.Image]) -> Tensor | None:
        """What `predict` needs of reference pictures, [N, ...] on the CPU; None for a method without them.

        It is computed once, before the training, and kept on disk. By default there are none.
        """
        del pictures
        return None

    def learn(self, references: Tensor, others: Tensor | None) -> None:
        """See what `references` computed of all pictures, and of the prior's, before the first step."""

    def shown(self) -> Networks:
        """The networks that previews are made with while the method is engaged: the base's own by default."""
        return self.base.networks

    def paused(self) -> AbstractContextManager[None]:
        """Take off, in a block within `engaged`, what keeps a host from using the U-Net."""
        return nullcontext()

    def export(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the trained part in its published file format. Raises HostError."""


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Keep the parameters of networks without gradients in the block; they are as before at the exit."""
    before = [(parameter, parameter.requires_grad) for each in networks for parameter in each.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, state in before:
            parameter.requires_grad_(state)
