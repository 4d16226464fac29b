"""The weight types of an IP-Adapter: how strongly each cross attention gets a unit's weight.

The formulas are those of ComfyUI_IPAdapter_plus (cubiq); the layers of style and composition are those of
Wang et al. 2024, InstantStyle. `t` is the number of a spatial transformer in running order, of L.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.params import Value
from lib_ctrlgen.unet.attention import LayerWeighting
from lib_ctrlgen.unet.call import AttentionPlace, UNetPart

# By t: the factor of the unit's weight, and a number that the weight does not multiply. No entry: off.
Table: TypeAlias = Mapping[int, tuple[float, float]]
WEAK = 0.2
LARGEST = 1000.0  # magnitude of a factor
LEAST, RANGE = 0.05, 0.95  # of the easings: from 0.05 to 1


@dataclass(frozen=True)
class Layout:
    """The transformers of a checkpoint family that carry style and composition.

    style        all of those that "style transfer" uses
    composition  those of the picture's layout, with their share of the composition's weight
    faint        those to which "composition precise" gives a tenth of its boost
    """

    style: frozenset[int]
    composition: Mapping[int, float]
    faint: frozenset[int]


SD15 = Layout(frozenset({*range(4), *range(9, 16)}), {4: 0.25, 5: 1.0}, frozenset({6, 7, 8}))
SDXL = Layout(frozenset({6}), {3: 1.0}, frozenset(range(11)) - {3, 6})
LAYOUTS: Mapping[int, Layout] = {16: SD15, 11: SDXL}  # by L

EASINGS: Mapping[str, Callable[[float], float]] = {
    "ease in": lambda x: 1 - x,
    "ease out": lambda x: x,
    "ease in-out": lambda x: 1 - abs(2 * x - 1),
    "reverse in-out": lambda x: abs(2 * x - 1),
}
WEAKENED: Mapping[str, tuple[UNetPart, ...]] = {
    "weak input": ("input",),
    "weak middle": ("middle",),
    "weak output": ("output",),
    "strong middle": ("input", "output"),
}
PRECISE = ("style transfer precise", "composition precise")
TWO_WEIGHTS = ("style and composition", "strong style and composition")


@dataclass(frozen=True)
class WeightType:
    """A unit's weight type on a checkpoint; the numbers are indices of cross attentions.

    weighting    the weights of all cross attentions
    swapped      where unconditional rows attend to the picture and conditional ones to nothing, so that
                 guidance steers away from it
    composition  where a composition picture takes the picture's place
    """

    weighting: LayerWeighting
    swapped: frozenset[int] = frozenset()
    composition: frozenset[int] = frozenset()


def weight_type(params: Mapping[str, Value], places: Sequence[AttentionPlace], path: str) -> WeightType:
    """The weight type that a unit's parameters ask for.

    `places` are those of the checkpoint's cross attentions. Raises RequestError below `path`, the path of
    the parameters.
    """
    name, text, count = str(params["weight_type"]), str(params["layers"]).strip(), _count(places)
    if text and name not in ("linear", *PRECISE):
        raise RequestError(
            f"{path}.layers", f"the weight type {name!r} sets the layers already: leave one of them out"
        )
    table = _table(name, params, places, f"{path}.weight_type")
    if text:
        table = {t: (factor, 0.0) for t, factor in read_layers(text, count, f"{path}.layers").items()}
    numbers = [table.get(place.transformer, (0.0, 0.0)) for place in places]
    layout = LAYOUTS.get(count)
    composition: Collection[int] = layout.composition if layout else ()
    swapped = {
        "style transfer precise": set(composition),
        "composition precise": set(range(count)) - set(composition),
    }.get(name, set())
    return WeightType(
        LayerWeighting(
            slopes=tuple(slope for slope, _ in numbers),
            offsets=tuple(offset for _, offset in numbers),
            scaling=str(params["embeds_scaling"]),
        ),
        _sites(places, swapped),
        _sites(places, composition if name in TWO_WEIGHTS else ()),
    )


def _count(places: Sequence[AttentionPlace]) -> int:
    return len({place.transformer for place in places})


def _sites(places: Sequence[AttentionPlace], numbers: Collection[int]) -> frozenset[int]:
    return frozenset(index for index, place in enumerate(places) if place.transformer in numbers)


def _table(name: str, params: Mapping[str, Value], places: Sequence[AttentionPlace], path: str) -> Table:
    count = _count(places)
    if name == "linear":
        return dict.fromkeys(range(count), (1.0, 0.0))
    if name in EASINGS:
        return {t: (LEAST + RANGE * EASINGS[name](t / count), 0.0) for t in range(count)}
    if name in WEAKENED:
        weak = WEAKENED[name]
        return {place.transformer: (WEAK if place.part in weak else 1.0, 0.0) for place in places}
    layout = LAYOUTS.get(count)
    if layout is None:
        raise RequestError(
            path,
            f"{name!r} is defined for the 16 transformers of SD1.5 and the 11 of SDXL, and this checkpoint "
            f"has {count}: take another type, or say which layers in 'layers'",
        )
    numbers = (float(params[each]) for each in ("composition_weight", "style_boost", "composition_boost"))
    return _layered(name, layout, count, *numbers)


def _layered(
    name: str, layout: Layout, count: int, composition: float, style_boost: float, composition_boost: float
) -> Table:
    """The table of a type that tells style from composition."""
    laid_out, w = layout.composition, (1.0, 0.0)
    style = dict.fromkeys(layout.style, w)
    rest = {t: w for t in range(count) if t not in laid_out}
    layout_only = {t: (share, 0.0) for t, share in laid_out.items()}
    boosts = {t: (0.0, composition_boost * (0.1 if t in layout.faint else 1.0)) for t in range(count)}
    tables: dict[str, Table] = {
        "style transfer": style,
        "strong style transfer": rest,
        "composition": layout_only,
        "style and composition": style | {t: (0.0, share * composition) for t, share in laid_out.items()},
        "strong style and composition": rest | dict.fromkeys(laid_out, (0.0, composition)),
        "style transfer precise": style | {t: (0.0, share * style_boost) for t, share in laid_out.items()},
        "composition precise": boosts | layout_only,
    }
    return tables[name]


def read_layers(text: str, count: int, path: str) -> dict[int, float]:
    """The factors by `t` of a text such as "3:1.0, 6:0.5". Raises RequestError at `path`."""
    found: dict[int, float] = {}
    for entry in text.split(","):
        number, _, factor = (part.strip() for part in entry.partition(":"))
        try:
            layer, value = int(number), float(factor)
        except ValueError as error:
            message = f"expected layer:factor pairs such as 3:1.0, 6:0.5, got {entry.strip()!r}"
            raise RequestError(path, message) from error
        if not 0 <= layer < count:
            raise RequestError(path, f"there is no layer {layer}: this checkpoint has 0..{count - 1}")
        if layer in found:
            raise RequestError(path, f"layer {layer} is there twice")
        if not isfinite(value) or abs(value) > LARGEST:
            raise RequestError(path, f"a factor must be at most {LARGEST:g} in magnitude, got {factor}")
        found[layer] = value
    return found
