"""Trains a LoRA on the U-Net, and if the user wants that on the text encoders, with peft.

Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models. With a rare word in the captions and prior
preservation it is DreamBooth (Ruiz et al. 2023) with a LoRA instead of the whole U-Net.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.batch import Batch
from lib_ctrlgen.train.forward import call_unet, encode_captions

from .base import Base, TrainingMethod, frozen
from .injected import InjectedLora
from .lora_file import lora_tensors, write_lora
from .lora_layers import text_layers, unet_layers


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraPart:
    """The LoRA of one network: peft's layers, and kohya's name of each by its path."""

    injected: InjectedLora
    names: Mapping[str, str]

    def matrices(self) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """The matrices of each layer by kohya's name."""
        return {self.names[path]: both for path, both in self.injected.parameters().items()}


class LoraMethod(TrainingMethod):
    """A LoRA: for every chosen layer two matrices whose product is added to the layer's weight."""

    name: ClassVar[str] = "lora"

    def __init__(self, spec: TrainingSpec, base: Base, unet: LoraPart, texts: Sequence[LoraPart]) -> None:
        self.spec, self.base = spec, base
        self.unet, self.texts = unet, tuple(texts)
        self.encodes_text = bool(texts)
        self._module = _module((unet, *texts))

    @classmethod
    def create(cls, spec: TrainingSpec, base: Base) -> LoraMethod:
        """Make the matrices for the layers that the spec asks for."""
        networks = base.networks
        layers = unet_layers(networks.unet, sized=networks.sized, convolutions=spec.convolutions)
        unet = _part(networks.unet, layers, spec, 0)
        texts = []
        if spec.text_encoder:
            count = len(networks.text_encoders)
            for number, text in enumerate(networks.text_encoders):
                found = text_layers(text.encoder, number, count)
                texts.append(_part(text.encoder, found, spec, 1 + number))
        return cls(spec, base, unet, texts)

    def about(self) -> str:
        """The rank, the number of layers and of parameters."""
        count = sum(parameter.numel() for parameter in self._module.parameters())
        texts = sum(len(part.names) for part in self.texts)
        where = f"{len(self.unet.names)} layers of the U-Net" + (
            f" and {texts} layers of the text encoder" if texts else ""
        )
        return f"a LoRA of rank {self.spec.rank} for {where}: {count:,} parameters"

    def module(self) -> nn.Module:
        """The matrices by kohya's names."""
        return self._module

    def groups(self) -> list[dict[str, Any]]:
        """The U-Net's matrices, and the text encoders'."""
        rates = [(self.unet, self.spec.lr)]
        rates += [(part, self.spec.lr_text or self.spec.lr) for part in self.texts]
        return [
            {"params": [each for both in part.matrices().values() for each in both], "lr": rate}
            for part, rate in rates
        ]

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """Put the LoRA's layers into the U-Net and the text encoders."""
        networks = self.base.networks
        encoders = [text.encoder for text in networks.text_encoders]
        with ExitStack() as stack:
            stack.enter_context(frozen(networks.unet, *encoders))
            for part in (self.unet, *self.texts):
                stack.enter_context(part.injected.engaged())
            yield

    def predict(self, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The U-Net's output with the LoRA."""
        networks = self.base.networks
        text = encode_captions(networks, batch.captions) if batch.text is None else batch.text
        return call_unet(networks, noisy, timesteps, text, batch.sizes)

    def export(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write kohya's layout."""
        matrices = {name: both for part in (self.unet, *self.texts) for name, both in part.matrices().items()}
        write_lora(lora_tensors(matrices, alpha_of(self.spec)), path, {**metadata, **self._metadata()})

    def _metadata(self) -> dict[str, str]:
        """What kohya's tools write of the network."""
        rank, alpha = self.spec.rank, alpha_of(self.spec)
        found = {
            "ss_network_module": "networks.lora",
            "ss_network_dim": str(rank),
            "ss_network_alpha": str(alpha),
            "ss_unet_lr": str(self.spec.lr),
        }
        if self.spec.convolutions:
            found["ss_network_args"] = f'{{"conv_dim": "{rank}", "conv_alpha": "{alpha}"}}'
        if self.texts:
            found["ss_text_encoder_lr"] = str(self.spec.lr_text or self.spec.lr)
        return found


def alpha_of(spec: TrainingSpec) -> float:
    """The LoRA's alpha; its scale is alpha / rank."""
    return spec.alpha or float(spec.rank)


def _part(network: nn.Module, names: Mapping[str, str], spec: TrainingSpec, number: int) -> LoraPart:
    seed = spec.seed * 31 + number
    return LoraPart(injected=InjectedLora(network, list(names), spec.rank, alpha_of(spec), seed), names=names)


def _module(parts: Sequence[LoraPart]) -> nn.Module:
    """All matrices in one module: `down` and `up` by kohya's name of the layer."""
    return nn.ModuleDict(
        {
            name: nn.ParameterDict({"down": down, "up": up})
            for part in parts
            for name, (down, up) in part.matrices().items()
        }
    )
