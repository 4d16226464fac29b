"""The parts of a soak: random units of all control families, injected faults, and checks afterwards.

A soak makes many generations in one process, many of which fail or are interrupted. After each, the host's
networks must be bit-equal and without hooks, and a finished picture must be the one that a new process makes.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.session.session import ControlSession
from tests.support import control_files as files

PLAIN_VALUES = (bool, int, float, str, type(None))
HOOKS = sorted(name for name in vars(nn.Module()) if "hook" in name and name.startswith("_"))
GLOBAL_HOOKS = sorted(
    name
    for name, value in vars(torch_module).items()
    if name.startswith("_global") and "hook" in name and isinstance(value, dict)
)
OWN_LAYERS = ("reference", "gligen")  # families that act on self attention
REFERENCES = ("style", "ip")  # families that see a picture and not a map of it


class Injected(Exception):  # noqa: N818 - it is no error of anybody's
    """The failure that a soak causes on purpose."""


class Snapshot:
    """The tensors of a network, its modules and what their instances hold, to compare with later."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.tensors = {name: (value, value.detach().clone()) for name, value in tensors_of(network)}
        self.modules = {name: dict(vars(each)) for name, each in network.named_modules()}

    def changes(self) -> list[str]:
        """What is not as it was; hooks, which nobody else has on these networks, are always named."""
        found = [f"{name}: a hook is left" for name in hooks_left(self.network)]
        now = dict(tensors_of(self.network))
        if now.keys() != self.tensors.keys():
            found.append(f"tensors: {sorted(now.keys() ^ self.tensors.keys())}")
        for name, (tensor, values) in self.tensors.items():
            if name in now and (now[name] is not tensor or not torch.equal(now[name], values)):
                found.append(f"{name}: another tensor or other values")
        modules = {name: vars(each) for name, each in self.network.named_modules()}
        if modules.keys() != self.modules.keys():
            found.append(f"modules: {sorted(modules.keys() ^ self.modules.keys())}")
        for name, held in self.modules.items():
            found += [f"{name}.{each}" for each in differing(held, modules.get(name, {}))]
        return found


def tensors_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The attributes of an instance that came, went or are others."""
    changed = [name for name in before if name in now and not same(before[name], now[name])]
    return sorted([*(before.keys() ^ now.keys()), *changed])


def same(before: Any, now: Any) -> bool:
    return before is now or (isinstance(before, PLAIN_VALUES) and bool(before == now))


def hooks_left(network: nn.Module) -> list[str]:
    """The modules with hooks, and torch's own dictionaries of hooks for every module."""
    found = [name for name, each in network.named_modules() if any(getattr(each, h, None) for h in HOOKS)]
    return [*found, *(name for name in GLOBAL_HOOKS if getattr(torch_module, name))]


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """Draws requests: one to three units of any of these families, with all that a unit may say.

    `fresh` is the share of pictures that no request had before; the others are out of a few.
    """

    kinds: tuple[str, ...]
    size: int = 64
    steps: tuple[int, ...] = (2, 3)
    fresh: float = 0.5

    def units(self, draw: random.Random) -> list[dict[str, Any]]:
        return [self.unit(draw, draw.choice(self.kinds)) for _ in range(draw.randint(1, 3))]

    def unit(self, draw: random.Random, kind: str) -> dict[str, Any]:
        """A unit that acts at the first step whatever the number of steps."""
        if kind in OWN_LAYERS:
            return self.own_layers_unit(draw, kind)
        unit = {"model": kind, "image": self.picture(draw), "weight": draw.choice(WEIGHTS)}
        unit |= {"params": {"union_type": "canny"}} if "union" in kind else {}
        if not kind.endswith(REFERENCES):
            unit |= {"preprocessor": draw.choice(PREPROCESSORS)}
            unit |= {"control_mode": draw.choice(("balanced", "prompt", "control"))}
        if draw.random() < 0.3:
            unit |= {"guidance_end": draw.choice((0.5, 0.75))}
        if draw.random() < 0.3 and not kind.endswith("style"):
            unit |= {"mask": self.picture(draw), "mask_feather": draw.choice((0, 3))}
        if draw.random() < 0.2:
            unit |= {"storage": draw.choice(("fp16", "bf16", "int8"))}
        if draw.random() < 0.2:
            unit |= {"low_vram": draw.choice((True, False))}
        return unit

    def own_layers_unit(self, draw: random.Random, kind: str) -> dict[str, Any]:
        """A unit that acts on the U-Net's self attention: a reference picture, or GLIGEN's boxes."""
        if kind == "gligen":
            own: dict[str, Any] = {"model": kind, "boxes": [{"text": "a star", "box": [0, 0.2, 0.6, 1]}]}
        else:
            method = draw.choice(("attention", "adain", "both"))
            own = {"control": kind, "image": self.picture(draw), "params": {"method": method}}
        masked = {"mask": self.picture(draw)} if draw.random() < 0.3 else {}
        return {**own, **masked, "weight": draw.choice(WEIGHTS)}

    def picture(self, draw: random.Random) -> str:
        """A picture with edges, so that no preprocessor finds nothing in it."""
        seed = draw.randrange(1 << 30) if draw.random() < self.fresh else draw.randrange(4)
        return files.blocks_url(self.size, seed)


PREPROCESSORS = ("none", "none", "canny", "invert", "color", "tile_resample", "recolor_luminance")
WEIGHTS: tuple[Any, ...] = (0.3, 0.7, 1, "1>0.2", "1@0, 0.2@0.5, 0.8@1", "0.8 in 0..0.75")


FAULT_PLACES = (
    "layer",
    "hook",
    "after",
    "placing",
    "loading",
    "decoding",
    "interrupt",
    "saving",
    "picture",
    "file",
    "damage",
    "nan",
)
OF_ONE_HOST = {"decoding": "headless", "saving": "webui"}


def fault_places(host: str) -> tuple[str, ...]:
    """Where a generation of `host` ("headless" or "webui") can be made to fail.

    Generations are drawn by seed from this tuple, so its order belongs to the seeds in the tests.
    """
    return tuple(place for place in FAULT_PLACES if OF_ONE_HOST.get(place, host) == host)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Where a generation is made to fail: what happens before it, and at which occasion."""

    name: str
    at: int = 1


FAULTS: dict[str, Callable[[Any], Any]] = {
    "hook": lambda fault: failing(ControlSession, "_begin", fault),
    "after": lambda fault: failing(ControlSession, "_after", fault),
    "placing": lambda fault: failing(ControlSession, "_install", Fault(name="placing", at=1)),
    "loading": lambda fault: failing(ModelStore, "_recall", fault),
    "decoding": lambda fault: failing(AutoencoderKL, "decode", Fault(name="decoding", at=1)),
}


@contextmanager
def failing(owner: Any, name: str, fault: Fault) -> Iterator[None]:
    """The method raises when it is called for the `fault.at`-th time."""
    original, calls = getattr(owner, name), [0]

    def counted(*args: Any, **given: Any) -> Any:
        calls[0] += 1
        if calls[0] == fault.at:
            raise Injected(f"{name}, call {fault.at}")
        return original(*args, **given)

    with patch.object(owner, name, counted):
        yield


@contextmanager
def failing_layer(network: nn.Module, draw: random.Random, at: int) -> Iterator[None]:
    """A layer of the network, somebody else's hook on it, raises in its `at`-th call."""
    calls = [0]

    def hook(*_: Any) -> None:
        calls[0] += 1
        if calls[0] == at:
            raise Injected("in a layer of the U-Net")

    layers = [each for each in network.modules() if not list(each.children())]
    handle = draw.choice(layers).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def injected(name: str, network: nn.Module, draw: random.Random) -> Iterator[None]:
    """Make the generation fail at the place of this name, where it is one of the places here."""
    with ExitStack() as stack:
        at = draw.randint(1, 6)
        if name == "layer":
            stack.enter_context(failing_layer(network, draw, at))
        elif name in FAULTS:
            stack.enter_context(FAULTS[name](Fault(name=name, at=at)))
        yield
