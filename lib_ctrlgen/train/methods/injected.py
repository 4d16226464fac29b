"""peft's LoRA layers of one network, which are put into it for a while and taken out exactly."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lib_ctrlgen.errors import HostError, install_command

ADAPTER = "default"


class InjectedLora:
    """Low-rank matrices for some layers of a network: Linear layers, and convolutions.

    `layers` are the paths of the modules. The network itself is unchanged except within `engaged`. The
    matrices are float32; those that are multiplied last are zero, so that nothing changes at first. `seed`
    decides the others. Raises HostError without peft.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], rank: int, alpha: float, seed: int) -> None:
        self.network = network
        self._originals = {name: network.get_submodule(name) for name in layers}
        self._wrapped = self._wrap(layers, rank, alpha, seed)

    def _wrap(self, layers: Sequence[str], rank: int, alpha: float, seed: int) -> dict[str, nn.Module]:
        """peft's layer for each path. The network is as before afterwards."""
        LoraConfig, inject_adapter_in_model = peft_functions()  # noqa: N806
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(layers), lora_dropout=0.0)
        states = [(parameter, parameter.requires_grad) for parameter in self.network.parameters()]
        known = set(vars(self.network))
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            inject_adapter_in_model(config, self.network, adapter_name=ADAPTER)
        wrapped = {name: self.network.get_submodule(name) for name in layers}
        self._put(self._originals)
        for parameter, state in states:
            parameter.requires_grad_(state)
        for name in set(vars(self.network)) - known:  # such as peft_config
            delattr(self.network, name)
        for layer in wrapped.values():
            for matrix in self._matrices(layer):
                matrix.data = matrix.data.float()
                matrix.requires_grad_(True)
        return wrapped

    @staticmethod
    def _matrices(layer: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
        """The matrices of a layer of peft, the one that is multiplied first before the other."""
        return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight  # type: ignore[index, union-attr]

    def parameters(self) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """The two matrices (`down`, `up`) of each layer by its path."""
        return {name: self._matrices(layer) for name, layer in self._wrapped.items()}

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """Put the layers into the network; at the exit it has its own again."""
        try:
            self._put(self._wrapped)
            yield
        finally:
            self._put(self._originals)

    def _put(self, modules: dict[str, nn.Module]) -> None:
        for name, module in modules.items():
            parent, _, last = name.rpartition(".")
            setattr(self.network.get_submodule(parent), last, module)


def peft_functions() -> tuple[Any, Any]:
    """peft's LoraConfig and inject_adapter_in_model. Raises HostError where peft is not installed."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise HostError(
            f"training a LoRA needs peft; install it with: {install_command('headless')}"
        ) from error
    return LoraConfig, inject_adapter_in_model
