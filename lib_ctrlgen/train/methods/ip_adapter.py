"""Trains an IP-Adapter on pictures of one subject. Ye et al. 2023, IP-Adapter (arXiv 2308.06721).

It starts from a published adapter, never from nothing. The subject's own pictures are shown with another view
as the reference. Batches of the prior show other references, for which the adapter is to predict what it
predicted before the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from lib_ctrlgen.controls.ip_adapter.prepared import require_widths
from lib_ctrlgen.controls.registry import control_for, identify_file
from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.files import whole_path
from lib_ctrlgen.models.clip_vision import EncoderFolder, VisionTower, find_encoder, load_tower
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.batch import Batch
from lib_ctrlgen.train.forward import call_unet
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.family import require_family

from .adapter_network import AdapterNetwork, processors
from .adapter_parts import PARTS, WORDS, SubjectTokens
from .base import Base, TrainingMethod, frozen


class IPAdapterMethod(TrainingMethod):
    """Trains a part of an IP-Adapter: image tokens, a low-rank change of keys and values, or all weights."""

    name: ClassVar[str] = "ip-adapter"
    encodes_text = False

    def __init__(self, spec: TrainingSpec, base: Base, path: Path) -> None:
        self.spec, self.base, self.path = spec, base, path
        self.before: dict[str, Any] = {}
        self.adapter = AdapterNetwork.read(path, base.device)
        require_widths(self.adapter.widths, DiffusersUNet(base.networks.unet).shape.attention_hidden)
        self.encoder = _encoder(self.adapter, base.store, spec.encoder)
        self.null = self._null()
        self.teacher = deepcopy(self.adapter)
        self.trained = PARTS[spec.part](self.adapter, spec)

    @classmethod
    def create(cls, spec: TrainingSpec, base: Base) -> IPAdapterMethod:
        """Read the adapter `spec.adapter`, a name or a path. Raises RequestError and ModelError."""
        with at_path("$.adapter"):
            path = adapter_path(spec.adapter, base.store)
            kind = identify_file(path)
            if control_for(kind).name != "ip_adapter":
                message = f"'{path.stem}' is no IP-Adapter that reads pictures: it cannot be trained here"
                raise RequestError("$.adapter", message)
            require_family(kind.family, DiffusersUNet(base.networks.unet).shape.family, path.stem)
            return cls(spec, base, path)

    def about(self) -> str:
        """What is trained, and how many of the adapter's numbers that is."""
        count = sum(parameter.numel() for parameter in self.trained.parameters() if parameter.requires_grad)
        whole = sum(parameter.numel() for parameter in self.teacher.parameters())
        what = WORDS[self.spec.part].format(rank=self.spec.rank)
        return f"of the IP-Adapter '{self.path.stem}' {what}: {count:,} numbers; the adapter has {whole:,}"

    def module(self) -> nn.Module:
        """The trained part."""
        return self.trained

    def groups(self) -> list[dict[str, Any]]:
        """One group with every parameter."""
        return [{"params": list(self.trained.parameters()), "lr": self.spec.lr}]

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """Put the adapter's processors on the U-Net, whose own weights are frozen; undone at the exit."""
        unet = self.base.networks.unet
        self.before = dict(unet.attn_processors)
        with frozen(unet), self.adapter.installed(unet):
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the processors off in a block within `engaged`, so that a host can use the U-Net."""
        with processors(self.base.networks.unet, self.before):
            yield

    def predict(self, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The U-Net's output [B, 4, h, w] with the adapter at weight 1. Called while it is engaged."""
        return self._predicted(self.adapter, batch, noisy, timesteps)

    @torch.no_grad()
    def prior_target(self, batch: Batch, noisy: Tensor, timesteps: Tensor, target: Tensor) -> Tensor:
        """What the adapter predicted before the training, for a batch with references of other things."""
        del target
        with self.teacher.installed(self.base.networks.unet):
            return self._predicted(self.teacher, batch, noisy, timesteps)

    @torch.no_grad()
    def references(self, pictures: Sequence[Image.Image]) -> Tensor:
        """The vision encoder's features of pictures, [N, C] or [N, T, C], float32 on the CPU."""
        tower = self._tower()
        found = [tower.feature(tower.pixels(picture), self.adapter.feature) for picture in pictures]
        return torch.cat(found).float().cpu()

    def learn(self, references: Tensor, others: Tensor | None) -> None:
        """See the features of the subject and of other pictures, once, before the first step."""
        if isinstance(self.trained, SubjectTokens):
            device = self.base.device
            self.trained.learn(references.to(device), None if others is None else others.to(device))

    def export(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write an ordinary IP-Adapter in float32, with what it needs in its metadata. Raises HostError."""
        own = {
            "format": "pt",
            "adapter": self._label(self.path),
            "clip_encoder": self.encoder.label(self.base.store),
            "hidden_state": "image_embeds" if self.adapter.feature == "pooled" else "hidden_states[-2]",
            "tokens": str(self.adapter.tokens),
            "trained": WORDS[self.spec.part].format(rank=self.spec.rank),
        }
        with whole_path(path) as unfinished:
            save_file(self.adapter.tensors(), unfinished, metadata={**metadata, **own})

    def _predicted(self, adapter: AdapterNetwork, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
        if batch.text is None or batch.references is None:
            raise TypeError("an IP-Adapter is trained with encoded captions and reference pictures")
        tokens = adapter.head(self._features(batch.references, batch.unreferenced))
        context = (batch.text.states, [tokens])
        return call_unet(
            self.base.networks, noisy, timesteps, batch.text, batch.sizes, encoder_hidden_states=context
        )

    def _features(self, references: Tensor, unreferenced: Tensor | None) -> Tensor:
        """The features [B, ...], those of no picture where the reference is dropped."""
        if unreferenced is None:
            return references
        dropped = unreferenced.view(-1, *[1] * (references.ndim - 1))
        return torch.where(dropped, self.null.to(references), references)

    @torch.no_grad()
    def _null(self) -> Tensor:
        """What the head reads of no picture: zeros, or the features of an input of zeros."""
        if self.adapter.feature == "pooled":
            return torch.zeros(1, self.adapter.width, device=self.base.device)
        tower = self._tower()
        return tower.feature(tower.zeros(), self.adapter.feature).float().to(self.base.device)

    def _tower(self) -> VisionTower:
        return load_tower(
            self.base.store, self.encoder, Placement(device=self.base.device, dtype=torch.float32)
        )

    def _label(self, path: Path) -> str:
        return f"{path.stem} [{self.base.store.files.hash(path)}]"


def adapter_path(name: str, store: ModelStore) -> Path:
    """The file of an adapter, named by its path or by its name in the model folders. Raises ModelError."""
    path = Path(name).expanduser()
    return path if path.is_file() else store.resolve(name)


def _encoder(adapter: AdapterNetwork, store: ModelStore, name: str) -> EncoderFolder:
    with at_path("$.encoder"):
        return find_encoder(store, adapter.feature, adapter.width, name)
