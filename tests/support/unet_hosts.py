"""Both hosts' U-Nets with their ports, and `structure`: everything that hooks and patches could change."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import Position, Rows
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from lib_ctrlgen.unet.port import UNetPort
from tests.support import control_files as files
from tests.support import networks
from tests.support.networks import ContextNoise, FeatureNoise, NoiseControl, TokenControl, active
from tests.support.unet_calls import RESIDUAL_SIZES

HOOK_DICTS = sorted(name for name in vars(nn.Module()) if "hook" in name)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A U-Net, the port to it, and one way to call it."""

    unet: Any
    port: Callable[[Any], UNetPort]
    call: Callable[[Any], Tensor]

    def run(self) -> Tensor:
        with torch.no_grad():
            return self.call(self.unet)

    def unit(self, kind: str, seed: int, failure: BaseException | None = None, **fields: Any) -> ActiveUnit:
        if kind == "tokens":
            return active(TokenControl(seed), seed, **fields)
        if kind == "context":
            width = self.port(self.unet).shape.family.context_dim
            return active(ContextNoise(seed, width=width), seed, **fields)
        if kind == "features":
            places = self.port(self.unet).shape.feature_places[:4]
            return active(FeatureNoise([(p.channels, p.stride) for p in places], seed), seed, **fields)
        channels = self.port(self.unet).shape.residual_channels
        return active(NoiseControl(channels, RESIDUAL_SIZES, seed, failure), seed, **fields)

    def session(self, *units: ActiveUnit) -> ControlSession:
        return ControlSession(self.port(self.unet), units, clock)


def clock(batch: int) -> Position:
    return Position(0, 2, Rows((False, True), (0, 0)))


def ldm_host(seed: int = 0) -> Host:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    call = networks.random_call("u0 c0", 1)
    return Host(
        unet=networks.ldm_unet(seed),
        port=LdmUNet,
        call=lambda unet: unet(call.x, call.timestep, context=call.context),
    )


def diffusers_host(seed: int = 0) -> Host:
    call = files.call()
    inputs = (call.inputs.x, 7, call.inputs.context)
    unet = networks.randomise(files.UNet2DConditionModel(**files.UNET), seed)
    return Host(unet=unet, port=DiffusersUNet, call=lambda unet: unet(*inputs).sample)


HOSTS = {"ldm": ldm_host, "diffusers": diffusers_host}


def structure(root: nn.Module) -> dict[str, Any]:
    """Everything that hooks and patches could change: hook dicts, attributes, parameters."""
    return {
        name: (
            {
                hooks: list(getattr(module, hooks).items())
                for hooks in HOOK_DICTS
                if getattr(module, hooks) is not None
            },
            sorted(vars(module)),
            [(key, id(parameter)) for key, parameter in module._parameters.items()],
            [(key, id(child)) for key, child in module._modules.items()],
        )
        for name, module in root.named_modules()
    }
