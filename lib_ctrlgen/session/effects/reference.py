"""Lets self attention and whole blocks of the U-Net see a reference picture: reference_only and its kin.

At each step the U-Net runs once over every reference picture, noised to the step's level, with the text of
the rows on which its units act. Then self attention also reads the picture's tokens, and AdaIN gives blocks
the picture's means and variances. After sd-webui-controlnet's `reference_only` and `reference_adain+attn`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib_ctrlgen.controls.own_layers import ReferenceControl
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.progress import computing
from lib_ctrlgen.unet.attention import attend
from lib_ctrlgen.unet.call import AttentionSite, UNetCall, row_index
from lib_ctrlgen.unet.port import Hooks, UNetPort
from lib_ctrlgen.unet.residuals import fit_mask
from lib_ctrlgen.unet.shared_rows import row_classes
from lib_ctrlgen.unet.statistics import Moments, average, moved_pixels

from .base import ActingUnit, Masks, Size, control_of
from .nested_shares import Mixture, mixtures, spread
from .reference_bank import Bank, BankKey, Banks, bank_keys, noised
from .reference_layers import adain_modules, attention_ranks
from .reference_member import Member, wanted
from .self_attention import AttentionSeen, mask_on_tokens, output_of, with_output


class ReferenceEffect:
    """Makes the reference calls before a call of the host, and changes that call by what they gave.

    This effect must begin before all others: in a reference call no other unit acts.
    """

    control: ClassVar[type] = ReferenceControl

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self.banks = Banks()
        self.port: UNetPort | None = None
        self.sites: tuple[AttentionSite, ...] = ()
        self.ranks: tuple[float, ...] = ()
        self.thresholds: tuple[float, ...] = ()
        self.members: tuple[Member, ...] = ()
        self.size: Size = (0, 0)
        self.batch = 0
        self.recorded: Bank | None = None
        self.seen = AttentionSeen()
        self.mixed: dict[object, list[Mixture]] = {}

    def install(self, hooks: Hooks, port: UNetPort) -> None:
        """Hook every self attention, and the blocks to which AdaIN may be applied."""
        self.close()  # what is kept may be another U-Net's
        self.port, self.sites = port, port.self_attention_sites()
        self.ranks = attention_ranks(self.sites)
        for number, site in enumerate(self.sites):
            self.record_inputs(hooks, number, site)
            self.seen.watch(hooks, number, site, lambda: bool(self.members))
            self.change_attention(hooks, number, site)
        modules = adain_modules(port.blocks(), port.shape.residual_strides)
        self.thresholds = tuple(threshold for _, threshold in modules)
        for number, (module, _) in enumerate(modules):
            self.change_block(hooks, number, module)

    def record_inputs(self, hooks: Hooks, number: int, site: AttentionSite) -> None:
        """In a reference call, record the inputs of `to_k` and `to_v`."""

        def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def record(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
                if self.recorded is not None:
                    self.recorded.inputs.setdefault(number, {})[name] = args[0]

            return record

        hooks.add(site.to_k.register_forward_pre_hook(recorder("to_k")))
        hooks.add(site.to_v.register_forward_pre_hook(recorder("to_v")))

    def change_attention(self, hooks: Hooks, number: int, site: AttentionSite) -> None:
        """In a call of the host, change the attention output that is passed to `to_out`."""

        def change(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            return (self.attended(number, site, args[0]), *args[1:]) if self.members else None

        hooks.add(site.to_out.register_forward_pre_hook(change))

    def change_block(self, hooks: Hooks, number: int, module: nn.Module) -> None:
        """Record a block's moments in a reference call, and change its output in a call of the host.

        The hook runs before those that add residuals and features to the block's output.
        """

        def change(_module: nn.Module, _args: object, output: Any) -> Any:
            if self.recorded is not None:
                self.recorded.moments[number] = Moments.of_pixels(output_of(output))
            if not self.members:
                return None
            return with_output(output, self.normalised(number, output_of(output)))

        hooks.add(module.register_forward_hook(change, prepend=True))

    def begin(self, call: UNetCall, acting: Sequence[ActingUnit], _classes: Sequence[int] | None) -> None:
        """Make the reference calls that are due, and prepare what the hooks need."""
        self.end()
        self.banks.move(call)
        self.size, self.batch = call.size, call.batch
        for each in acting:
            if any(found is not None and found.since is not None for found in each.row_weights):
                self.banks.reused.update(bank_keys(each, call))
        self.compute(acting, call)
        members = [Member.of(each, self.banks, self.masks, call) for each in acting]
        self.members = tuple(each for each in members if any(each.places))

    def compute(self, acting: Sequence[ActingUnit], call: UNetCall) -> None:
        """Make a reference call for each picture whose bank is missing in some row."""
        due: dict[BankKey, tuple[ReferenceControl, set[int]]] = {}
        units: dict[BankKey, tuple[int | str, ...]] = {}
        for each in acting:
            for row, key in enumerate(wanted(each, call)):
                if key is not None and self.banks.place(key, call.names[row]) is None:
                    units[key] = each.indices
                    due.setdefault(key, (control_of(each.unit, ReferenceControl), set()))[1].add(row)
        for key, (control, rows) in due.items():
            call.tell(computing(units[key]))
            self.banks.add(key, self.bank(control, sorted(rows), call))

    def bank(self, control: ReferenceControl, rows: Sequence[int], call: UNetCall) -> Bank:
        """Run the U-Net over a reference picture with the text of these rows; equal rows run once."""
        if self.port is None:
            raise HostError("the session of this effect has ended")
        part = call.select(rows)
        inputs = replace(part.inputs, x=noised(control, part))
        classes = row_classes(inputs)
        firsts = sorted(set(classes))
        own = [firsts.index(each) for each in classes]
        bank = Bank({name: row for row, names in zip(own, part.names, strict=True) for name in names})
        self.recorded = bank
        try:
            with torch.no_grad():
                self.port.forward(inputs.select(firsts))
        finally:
            self.recorded = None
        return bank

    def attended(self, number: int, site: AttentionSite, hidden: Tensor) -> Tensor:
        """Return a self attention's output [B, N, hidden] with the pictures' part, before `to_out`."""
        query, keys, values = self.seen.take(number, hidden, self.batch)
        tokens, rank = hidden.shape[1], self.ranks[number]
        units = [i for i, each in enumerate(self.members) if each.control.attention.coverage > rank]
        shares = tuple(self.members[i].shares(self.members[i].control.attention, number) for i in units)
        found = self.mixtures(units, shares, lambda mask: mask_on_tokens(mask, tokens, self.size), tokens)
        changed = hidden.clone() if found else hidden
        for mixture in found:
            index = row_index(mixture.rows)
            pairs = [self.members[i].pair(number, site, mixture.rows) for i in mixture.units]
            wide = torch.cat((keys[index], *(pair[0].to(keys) for pair in pairs)), 1)
            shown = torch.cat((values[index], *(pair[1].to(values) for pair in pairs)), 1)
            joint = attend(query[index], wide, shown, site.heads)
            changed[index] += (spread(mixture.part, joint) * (joint - hidden[index])).to(hidden)
        return changed

    def normalised(self, number: int, x: Tensor) -> Tensor:
        """Return a block's output [B, C, H, W] with the pictures' part of AdaIN."""
        threshold = self.thresholds[number]
        units = [i for i, each in enumerate(self.members) if each.control.adain.coverage > threshold]
        shares = tuple(self.members[i].shares(self.members[i].control.adain) for i in units)
        found = self.mixtures(units, shares, lambda mask: fit_mask(mask, x[:1].float()), tuple(x.shape[2:]))
        changed = x.clone() if found else x
        for mixture in found:
            index = row_index(mixture.rows)
            wanted = average([self.members[i].moments(number, mixture.rows) for i in mixture.units])
            moved = moved_pixels(x[index], wanted)
            changed[index] += (spread(mixture.part, moved) * (moved - x[index])).to(x)
        return changed

    def mixtures(
        self,
        units: Sequence[int],
        shares: tuple[tuple[float, ...], ...],
        fitted: Callable[[Tensor], Tensor],
        size: object,
    ) -> list[Mixture]:
        """Return which units act together in a layer of this size; kept for the call's other layers.

        `fitted` brings a mask [1 or B, 1, h, w] to the layer.
        """
        key = size, tuple(units), shares
        if key not in self.mixed:
            masks = [self.members[i].mask for i in units]
            own = [None if mask is None else fitted(mask) for mask in masks]
            self.mixed[key] = mixtures(units, shares, own)
        return self.mixed[key]

    def end(self) -> None:
        """Clear what was prepared for the call; banks stay where a unit reuses them."""
        self.members = ()
        self.seen.clear()
        self.mixed.clear()
        self.banks.drop()

    def close(self) -> None:
        """Clear all banks and the references to the U-Net."""
        self.end()
        self.banks.clear()
        self.port, self.sites = None, ()
