"""Each weight type against its table, for each cross attention of SD1.5 and SDXL."""

from collections.abc import Callable
from typing import Any

import pytest

from lib_ctrlgen.controls.ip_adapter.weight_types import weight_type
from lib_ctrlgen.controls.params import IP_ADAPTER
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.params import check_params
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from lib_ctrlgen.unet.port import attention_places
from tests.support import control_files as files
from tests.support.unet_calls import sd_ldm

# The U-Nets' cross attentions in checkpoint order: names up to the transformer, and how many each has.
SD15 = {
    **{f"down_blocks.{k}.attentions.{i}": 1 for k in range(3) for i in range(2)},
    **{f"up_blocks.{k}.attentions.{i}": 1 for k in (1, 2, 3) for i in range(3)},
    "mid_block.attentions.0": 1,
}
SDXL = {
    **{f"input_blocks.{k}.1": 2 for k in (4, 5)},
    **{f"input_blocks.{k}.1": 10 for k in (7, 8)},
    **{f"output_blocks.{k}.1": 10 for k in range(3)},
    **{f"output_blocks.{k}.1": 2 for k in (3, 4, 5)},
    "middle_block.1": 10,
}
# t of each of these, as the page about IP-Adapters lists it.
SD15_T = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 6]
SDXL_T = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 4]

W, WC, STYLE, COMP = 0.8, 0.5, 1.5, -0.7
STYLE_15 = [0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15]

# (type, SD1.5, SDXL): the weight of layer t of L, at the weight W
Weight = Callable[[int, int], float]
EASED: dict[str, Weight] = {
    "linear": lambda t, n: W,
    "ease in": lambda t, n: W * (0.05 + 0.95 * (1 - t / n)),
    "ease out": lambda t, n: W * (0.05 + 0.95 * (t / n)),
    "ease in-out": lambda t, n: W * (0.05 + 0.95 * (1 - abs(t - n / 2) / (n / 2))),
    "reverse in-out": lambda t, n: W * (0.05 + 0.95 * (abs(t - n / 2) / (n / 2))),
    "weak input": lambda t, n: W * (0.2 if t < {16: 6, 11: 4}[n] else 1),
    "weak middle": lambda t, n: W * (0.2 if t == {16: 6, 11: 4}[n] else 1),
    "weak output": lambda t, n: W * (0.2 if t > {16: 6, 11: 4}[n] else 1),
    "strong middle": lambda t, n: W * (1 if t == {16: 6, 11: 4}[n] else 0.2),
}
TABLES: dict[str, tuple[dict[int, float], dict[int, float]]] = {
    "style transfer": (dict.fromkeys(STYLE_15, W), {6: W}),
    "composition": ({4: 0.25 * W, 5: W}, {3: W}),
    "strong style transfer": (
        {t: W for t in range(16) if t not in (4, 5)},
        {t: W for t in range(11) if t != 3},
    ),
    "style and composition": ({**dict.fromkeys(STYLE_15, W), 4: 0.25 * WC, 5: WC}, {3: WC, 6: W}),
    "strong style and composition": (
        {**dict.fromkeys(range(16), W), 4: WC, 5: WC},
        {**dict.fromkeys(range(11), W), 3: WC},
    ),
    "style transfer precise": (
        {**dict.fromkeys(STYLE_15, W), 4: 0.25 * STYLE, 5: STYLE},
        {3: STYLE, 6: W},
    ),
    "composition precise": (
        {**dict.fromkeys(STYLE_15, COMP), 4: 0.25 * W, 5: W, 6: 0.1 * COMP, 7: 0.1 * COMP, 8: 0.1 * COMP},
        {**dict.fromkeys(range(11), 0.1 * COMP), 3: W, 6: COMP},
    ),
}
SWAPPED = {
    "style transfer precise": ({4, 5}, {3}),
    "composition precise": ({*range(16)} - {4, 5}, {*range(11)} - {3}),
}


def names(layout: dict[str, int]) -> list[str]:
    return [f"{name}.transformer_blocks.{k}.attn2" for name, count in layout.items() for k in range(count)]


def numbers(layout: dict[str, int], order: list[int]) -> list[int]:
    return [t for t, count in zip(order, layout.values(), strict=True) for _ in range(count)]


def params(**given: Any) -> dict[str, Any]:
    return check_params(given, IP_ADAPTER, "$")


@pytest.mark.parametrize("xl", [False, True])
def test_transformers_are_numbered_as_they_run(*, xl: bool) -> None:
    layout, order = (SDXL, SDXL_T) if xl else (SD15, SD15_T)
    assert [place.transformer for place in attention_places(names(layout))] == numbers(layout, order)
    assert len(names(layout)) == (70 if xl else 16)


def test_a_unets_shape_has_the_places() -> None:
    places = files.shape().attention_places
    assert [place.transformer for place in places] == SD15_T
    assert [place.part for place in places] == ["input"] * 6 + ["output"] * 9 + ["middle"]


def test_the_webuis_unets_have_the_same_places() -> None:
    assert LdmUNet(sd_ldm()).shape.attention_places == files.shape().attention_places


@pytest.mark.parametrize("xl", [False, True])
@pytest.mark.parametrize("name", [*EASED, *TABLES])
def test_a_weight_type_is_its_table(name: str, *, xl: bool) -> None:
    layout, order, count = (SDXL, SDXL_T, 11) if xl else (SD15, SD15_T, 16)
    given = params(weight_type=name, composition_weight=WC, style_boost=STYLE, composition_boost=COMP)
    kind = weight_type(given, attention_places(names(layout)), "$")
    table = TABLES[name][xl] if name in TABLES else {t: EASED[name](t, count) for t in range(count)}
    wanted = [table.get(t, 0.0) for t in numbers(layout, order)]
    assert kind.weighting.at(W, 1.0) == pytest.approx(wanted)
    swapped = SWAPPED.get(name, (set(), set()))[xl]
    assert kind.swapped == {k for k, t in enumerate(numbers(layout, order)) if t in swapped}
    composition = ({4, 5}, {3})[xl] if name.endswith("style and composition") else set()
    assert kind.composition == {k for k, t in enumerate(numbers(layout, order)) if t in composition}


def test_all_types_are_tested() -> None:
    (choice,) = (param for param in IP_ADAPTER if param.name == "weight_type")
    assert {*choice.choices} == {*EASED, *TABLES}
    assert len(choice.choices) == 16


def test_a_schedule_fades_what_the_weight_does_not_multiply() -> None:
    given = params(weight_type="style and composition", composition_weight=WC)
    weighting = weight_type(given, attention_places(names(SDXL)), "$").weighting
    assert weighting.fades
    found = weighting.at(W / 4, 0.25)
    assert found == pytest.approx([value / 4 for value in weighting.at(W, 1.0)])
    assert not weight_type(params(), attention_places(names(SDXL)), "$").weighting.fades


@pytest.mark.parametrize("name", ["linear", "style transfer precise"])
def test_layers_in_a_text(name: str) -> None:
    kind = weight_type(
        params(weight_type=name, layers=" 3:1.0, 6 : -0.5"), attention_places(names(SDXL)), "$"
    )
    table = {3: 1.0, 6: -0.5}
    assert kind.weighting.at(2.0, 1.0) == pytest.approx([2 * table.get(t, 0) for t in numbers(SDXL, SDXL_T)])
    assert bool(kind.swapped) == (name != "linear")


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"layers": "11:1"}, "layers", "no layer 11"),
        ({"layers": "3:1, 3:2"}, "layers", "twice"),
        ({"layers": "3"}, "layers", "layer:factor"),
        ({"layers": "3:nan"}, "layers", "at most"),
        ({"layers": "3:1", "weight_type": "ease in"}, "layers", "sets the layers already"),
    ],
)
def test_wrong_layers(given: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        weight_type(params(**given), attention_places(names(SDXL)), "$.params")
    assert caught.value.path == f"$.params.{field}"


def test_style_is_refused_where_nobody_knows_its_layers() -> None:
    places = attention_places(names({"down_blocks.0.attentions.0": 2, "up_blocks.0.attentions.0": 1}))
    with pytest.raises(RequestError, match="has 2") as caught:
        weight_type(params(weight_type="style transfer"), places, "$.params")
    assert caught.value.path == "$.params.weight_type"
    assert weight_type(params(weight_type="ease out"), places, "$").weighting.at(1.0, 1.0)[2] > 0.5
