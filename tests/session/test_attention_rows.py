"""Each row gets its own unit weights, keys and values, however the host splits, orders and pads the rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lib_ctrlgen.controls.attention_protocols import AttentionPart
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.request.schedule import parse_schedule
from lib_ctrlgen.request.spec import ControlUnit
from lib_ctrlgen.session.effects.attention import AttentionEffect
from lib_ctrlgen.session.effects.base import ActingUnit, Masks
from lib_ctrlgen.session.row_weights import RowWeight, row_weight_of
from lib_ctrlgen.unet.attention import KeyValue, LayerWeighting
from lib_ctrlgen.unet.call import AttentionSite, CallInputs, Position, Rows, UNetCall
from lib_ctrlgen.unet.port import Hooks
from tests.support.properties import examples

HIDDEN, HEADS, TOKENS, SIDE = 8, 2, 3, 4
SCALINGS = ("V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty")


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(eq=False)
class Tile:
    """Random keys and values for two cross attentions; counts how often they are computed."""

    seed: int
    made: list[int] = field(default_factory=list)

    def pair(self, place: int) -> KeyValue:
        keys, values = random(2, 2, TOKENS, HIDDEN, seed=10 * self.seed + place)
        return KeyValue(keys, values)

    def terms(self, sites: Sequence[AttentionSite], *_: object) -> tuple[KeyValue, ...]:
        self.made.append(len(sites))
        return tuple(self.pair(place) for place in range(len(sites)))


@dataclass(eq=False)
class Tiled:
    """A `LayeredControl` of two tiles: the left and the right half."""

    tiles: tuple[Tile, ...]
    weighting: LayerWeighting

    def terms(self, sites: Sequence[AttentionSite], *args: object) -> tuple[KeyValue, ...]:
        return self.tiles[0].terms(sites, *args)

    def parts(self, progress: float) -> tuple[AttentionPart, ...]:
        del progress
        return tuple(AttentionPart(tile, half(k)) for k, tile in enumerate(self.tiles))


def half(number: int) -> Any:
    def share(height: int, width: int) -> Tensor:
        mask = torch.zeros(1, 1, height, width)
        mask[..., number * width // 2 : (number + 1) * width // 2] = 1
        return mask

    return share


def controls(scaling: str) -> list[Any]:
    weighting = LayerWeighting((0.5, -1.0), (0.25, 0.0), scaling)
    return [Tile(1), Tiled((Tile(2), Tile(3)), weighting)]


class Layers:
    """Two cross attentions with the effect's hooks on them; the text's part of their output is zero."""

    def __init__(self, units: Sequence[ActiveUnit]) -> None:
        self.units, self.effect = tuple(units), AttentionEffect(Masks())
        self.effect.sites = tuple(self.site(k) for k in range(2))
        for place, site in enumerate(self.effect.sites):
            self.effect.hook(Hooks(), place, site)

    def site(self, place: int) -> AttentionSite:
        names = ("to_q", "to_k", "to_v", "to_out")
        layers: dict[str, Any] = {name: nn.Identity() for name in names}
        return AttentionSite(name=str(place), heads=HEADS, hidden=HIDDEN, **layers)

    def output(self, x: Tensor, rows: Rows, row_weights: Sequence[Sequence[RowWeight | None]]) -> Tensor:
        """What the layers add for rows with the queries `x` [B, N, hidden]: [2, B, N, hidden]."""
        latent = torch.zeros(len(x), 4, SIDE, SIDE)
        inputs = CallInputs(x=latent, timestep=torch.zeros(len(x)), context=torch.zeros(len(x), 2, 4))
        acting = [
            ActingUnit(unit=unit, row_weights=own)
            for unit, own in zip(self.units, row_weights, strict=True)
            if any(own)
        ]
        self.effect.begin(UNetCall(inputs=inputs, position=Position(1, 4, rows)), acting, None)
        found = []
        for site in self.effect.sites:
            site.to_q(x)
            found.append(site.to_out(torch.zeros_like(x)))
        self.effect.end()
        return torch.stack(found)


def attended(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt d) V of one row, head by head."""
    width = HIDDEN // HEADS
    split = [tensor.split(width, dim=-1) for tensor in (query, keys, values)]
    heads = [torch.softmax(q @ k.T / width**0.5, -1) @ v for q, k, v in zip(*split, strict=True)]
    return torch.cat(heads, -1)


def weighted(query: Tensor, pair: KeyValue, kind: bool, w: float, scaling: str) -> Tensor:
    """One row's attention with its weight, as the page about IP-Adapters defines the scalings."""
    keys, values = pair.keys[int(kind)], pair.values[int(kind)]
    if scaling == "V only":
        return w * attended(query, keys, values)
    if scaling == "K+V":
        return attended(query, w * keys, w * values)
    w = w * HIDDEN / 1280
    if scaling == "K+V w/ C penalty":
        return attended(query, w * keys, w * values)
    mean = values.mean(0, keepdim=True)
    return attended(query, w * keys, (values - mean) + w * mean)


def wanted(query: Tensor, cond: bool, own: Sequence[RowWeight | None], found: Sequence[Any]) -> Tensor:
    """What two cross attentions add to one row: the sum over the units and their tiles, [2, N, hidden]."""
    output = torch.zeros(2, *query.shape)
    for each, control in zip(own, found, strict=True):
        for place in range(2 if each else 0):
            assert each is not None
            layer = each.layers[place] if each.layers else 1.0
            if isinstance(control, Tile):
                output[place] += weighted(query, control.pair(place), cond, layer * each.weight, "V only")
                continue
            slope, offset = control.weighting.slopes[place], control.weighting.offsets[place]
            w = layer * (slope * each.weight + offset * each.fade)
            for number, tile in enumerate(control.tiles):
                mask = half(number)(SIDE, SIDE).reshape(-1, 1)
                term = weighted(query, tile.pair(place), cond, w, control.weighting.scaling)
                output[place] += mask * term
    return output


row = st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3))


def row_weight(level: int) -> RowWeight | None:
    """None, or a row weight; some have layer weights and have faded."""
    if level == 0:
        return None
    return RowWeight(weight=level / 2 - 2.0, layers=(0.5, 2.0) if level == 2 else None, fade=level / 3)


@pytest.mark.parametrize("scaling", SCALINGS)
@examples(12, deadline=None)
@given(st.lists(row, min_size=1, max_size=5), st.integers(1, 4))
def test_rows_never_mix(scaling: str, rows: list[tuple[bool, int, int]], size: int) -> None:
    found = controls(scaling)
    spec = ControlUnit(model="a", image="x")
    layers = Layers([ActiveUnit(index=k, spec=spec, control=each) for k, each in enumerate(found)])
    x = random(len(rows), SIDE * SIDE, HIDDEN, seed=len(rows))
    row_weights = [[row_weight(each[1 + unit]) for each in rows] for unit in range(2)]
    expected = torch.stack(
        [wanted(x[k], rows[k][0], [own[k] for own in row_weights], found) for k in range(len(rows))], dim=1
    )
    for start in range(0, len(rows), size):  # calls of at most `size` rows
        part = slice(start, start + size)
        kinds = tuple(cond for cond, *_ in rows[part])
        call = Rows(kinds, tuple(range(len(kinds))))
        got = layers.output(x[part], call, [own[part] for own in row_weights])
        torch.testing.assert_close(got, expected[:, part], atol=1e-5, rtol=1e-4)
    tiles = [found[0], *found[1].tiles]
    assert all(len(each.made) <= 1 for each in tiles), "keys and values once, however many calls"


@dataclass(eq=False)
class Changing(Tile):
    """A `LayeredControl` with other tokens from half of the steps on."""

    weighting: LayerWeighting = field(default_factory=lambda: LayerWeighting.even(2))
    later: Tile = field(default_factory=lambda: Tile(9))

    def parts(self, progress: float) -> tuple[AttentionPart, ...]:
        return (AttentionPart(self.later if progress >= 0.5 else self),)


def test_changing_tokens_are_computed_when_they_change() -> None:
    control = Changing(4)
    unit = ActiveUnit(index=0, spec=ControlUnit(model="a", image="x"), control=control)
    effect = Layers([unit]).effect
    latent = torch.zeros(1, 4, SIDE, SIDE)
    inputs = CallInputs(x=latent, timestep=torch.zeros(1), context=torch.zeros(1, 2, 4))
    acting = [ActingUnit(unit=unit, row_weights=(RowWeight(1.0),))]
    seen = []
    for step in (0, 0, 1, 2, 3, 3):
        effect.begin(UNetCall(inputs=inputs, position=Position(step, 4, Rows((True,), (0,)))), acting, None)
        seen.append(effect.state.terms[0][0].pair.keys[0, 0, 0].item())
    early, late = (tile.pair(0).keys[0, 0, 0].item() for tile in (control, control.later))
    assert seen == [early] * 3 + [late] * 3
    assert (len(control.made), len(control.later.made)) == (1, 1)


@pytest.mark.parametrize(("weight", "fade"), [("1>0", 0.75), ("-2", 1.0), ("0.5@0, 2@1", 0.4375)])
def test_a_row_knows_what_its_schedule_has_left(weight: str, fade: float) -> None:
    weighting = LayerWeighting((1.0, 1.0), (1.0, 0.0))
    spec = ControlUnit(model="a", image="x", weight=parse_schedule(weight))
    position = Position(1, 4, Rows((True,), (0,)))
    now = spec.schedule(0.25)
    for control, wanted_fade in ((Tiled((), weighting), fade), (Tile(1), 1.0)):
        unit = ActiveUnit(index=0, spec=spec, control=control)
        found = row_weight_of(unit, spec, now, position, 0)
        assert found is not None
        assert found.fade == pytest.approx(wanted_fade)
