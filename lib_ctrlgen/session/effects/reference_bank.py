"""What the U-Net computes from a reference picture: the inputs of self attention, and blocks' statistics."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.own_layers import ReferenceControl
from lib_ctrlgen.unet.call import AttentionSite, RowName, UNetCall
from lib_ctrlgen.unet.statistics import Moments

from .base import ActingUnit, Size, control_of

INPAINTING = 9  # input channels of an inpainting U-Net: the latent, the mask, the masked picture's latent
SEED = 0x7265666572 << 20  # far from the seeds that people choose: the pictures begin with noise of theirs


class BankKey(NamedTuple):
    """Names a bank: the picture's key, and the step at which the bank was computed."""

    picture: Hashable
    step: int


@dataclass(eq=False)
class Bank:
    """The recordings of one reference call, which is a call of the U-Net with a reference picture.

    rows     the row of the reference call that belongs to each row of the host's calls, by its name
    inputs   for each self attention, by number, the inputs [R, N, C] of `to_k` and `to_v`
    moments  for each block, by number, the moments of its output's channels
    """

    rows: Mapping[RowName, int]
    inputs: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    moments: dict[int, Moments] = field(default_factory=dict)


class Place(NamedTuple):
    """A row of a bank."""

    bank: Bank
    row: int

    def pair(self, place: int, site: AttentionSite) -> tuple[Tensor, Tensor]:
        """Return keys and values [1, N, hidden] for self attention number `place`."""
        seen, own = self.bank.inputs[place], slice(self.row, self.row + 1)
        return projected(seen["to_k"][own], site.to_k), projected(seen["to_v"][own], site.to_v)


def projected(x: Tensor, module: nn.Module) -> Tensor:
    """Return a layer's output for x, without the layer's hooks, which belong to the host's call."""
    found: Tensor = module.forward(x)
    return found


@dataclass
class Banks:
    """The banks of a session, and the position of its last call.

    A bank is dropped after its call, unless a unit with `reuse` uses it in this step or did so in the one
    before: a step may have several calls.
    """

    found: dict[BankKey, list[Bank]] = field(default_factory=dict)
    stands: tuple[bool, int, Size] | None = None
    step: int = 0
    reused: set[BankKey] = field(default_factory=set)
    reused_before: set[BankKey] = field(default_factory=set)

    def clear(self) -> None:
        """Drop all banks."""
        self.found.clear()
        self.reused, self.reused_before = set(), set()
        self.stands = None

    def move(self, call: UNetCall) -> None:
        """Record a call's position; drop all banks for another pass, another size or an earlier step."""
        position = call.position
        stands = (position.hires, position.steps, call.size)
        if stands != self.stands or position.step < self.step:
            self.clear()
        elif position.step > self.step:
            self.reused_before, self.reused = self.reused, set()
        self.stands, self.step = stands, position.step

    def place(self, key: BankKey, names: Sequence[RowName]) -> Place | None:
        """Return the bank row of a row with these names, None where there is none."""
        for bank in self.found.get(key, ()):
            if all(name in bank.rows for name in names):
                return Place(bank, bank.rows[names[0]])
        return None

    def add(self, key: BankKey, bank: Bank) -> None:
        """Add a bank, which may have other rows than those that are there."""
        self.found.setdefault(key, []).append(bank)

    def drop(self) -> None:
        """Drop the banks that no unit reuses."""
        for key in self.found.keys() - self.reused - self.reused_before:
            del self.found[key]


def bank_keys(each: ActingUnit, call: UNetCall) -> list[BankKey]:
    """Return for each row the key of the bank that a unit would use there."""
    picture, step = control_of(each.unit, ReferenceControl).picture_key, call.position.step
    steps = [
        step if row_weight is None or row_weight.since is None else row_weight.since
        for row_weight in each.row_weights
    ]
    return [BankKey(picture, since) for since in steps]


def noised(control: ReferenceControl, part: UNetCall) -> Tensor:
    """Return the U-Net's input for a picture at the noise level of each row, in the dtype of the call's.

    An inpainting U-Net gets the picture as one without a hole.
    """
    x = part.inputs.x
    clean = control.latent(*part.size).to(x.device)
    level = control.noise().at(part.inputs.timestep.to(x.device))
    latent = level.noised(clean, fresh_noise(part, clean))
    if x.shape[1] == INPAINTING:
        hole = torch.zeros_like(latent[:, :1])
        latent = torch.cat((latent, hole, clean.expand(len(latent), -1, -1, -1)), 1)
    return latent.to(x)


def fresh_noise(call: UNetCall, like: Tensor) -> Tensor:
    """Return noise of the shape [1, C, h, w] of `like`, which depends on the pass and the step alone.

    It has its own generator on the CPU, so that the host's random numbers stay as they are, and pictures of a
    batch, cells of a grid and different devices get the same noise.
    """
    position = call.position
    generator = torch.Generator().manual_seed(SEED + 2 * position.step + int(position.hires))
    return torch.randn(like.shape, generator=generator).to(like)
