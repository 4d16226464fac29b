"""The values of axes, the cells of a grid, and the scores of pictures, without a model."""

from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.preprocessors import preprocessors
from lib_ctrlgen.request.spec import ControlUnit, GenerationRequest, parse_request
from lib_ctrlgen.tuner.axes import applied, parse_axis, path_of
from lib_ctrlgen.tuner.cells import Grid, TuneSpec, grid_of, key_of
from lib_ctrlgen.tuner.scoring.map_likeness import COMPARISONS
from lib_ctrlgen.tuner.scoring.scores import Scores, adherence, over_control, summary
from lib_ctrlgen.tuner.sheet import HeatTitle, heat_map, labelled

BASE: dict[str, Any] = {"prompt": "a red star on a red ground", "units": [{"model": "a"}, {"model": "b"}]}


def values(text: str, place: str = "units.0.weight") -> list[Any]:
    return [row[0] for row in parse_axis(place, text).values]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.2, 0.4", [0.2, 0.4]),
        ("0-1 [5]", [0, 0.25, 0.5, 0.75, 1]),
        ("0.5-1.5 (+0.25)", [0.5, 0.75, 1, 1.25, 1.5]),
        ("1-0 (-0.4)", [1, 0.6, 0.2]),
        ("-1-1 [3], 5", [-1, 0, 1, 5]),
        ("Euler, 'DPM++ 2M'", ["Euler", "'DPM++ 2M'"]),
        ('"1@0, 0@1", 1>0', ["1@0, 0@1", "1>0"]),
        ("3 [1]", ["3 [1]"]),
        ("20", [20]),
        ('"1@0, 0@1" ,0.5', ["1@0, 0@1", 0.5]),
        ('0.5 , "1@0, 0@1"', [0.5, "1@0, 0@1"]),
        ('"a ""b"", c", d', ['a "b", c', "d"]),
        ("0.2\n0.4\n\n 0.5-1 [2] \n", [0.2, 0.4, 0.5, 1]),
        ("1@0, 0@1\n1>0\n'\"", ["1@0, 0@1", "1>0", "'\""]),
        ('"1@0, 0@1"\r\n0.5', ["1@0, 0@1", 0.5]),
        ("0.2, 0.4,\n0.6", [0.2, 0.4, 0.6]),
        ("true, false", [True, False]),
        ("False\nTrue", [False, True]),
        ("1, true", [1, True]),
        ("0.2, 0.4, 1@0 hold", [0.2, 0.4, "1@0 hold"]),
    ],
)
def test_values_as_users_write_them(text: str, wanted: list[Any]) -> None:
    assert values(text) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least one"), ("1,,2", "empty"), ("1, 1", "twice"), ("0-1 [0]", "must be"),
        ("0-1 (-0.1)", "do not lead"), ("0-1 (+0)", "steps of 0"), ("0-1 (+0.0001)", "more than"),
        ('"1, 2', "quote is not closed"), ('"1" 2, 3', 'after the quoted value "1" a comma must follow'),
        ("1@0, 0@1", 'quote it: "1@0, 0@1"'), ("1@0 ease-in, 0.5@0.4, 0@1 in 0..0.5", "two values"),
        ("1@0\n0@1", "two values"), ("0.1, 0.2\n0.3", "line 1 has several"), ("true, true", "twice"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        values(text)
    assert caught.value.path == "values"


@pytest.mark.parametrize("listed", [["1@0", "0@1"], ["1@0", 0.5, "0@1 smooth"]])
def test_keyframes_in_a_list_are_not_taken_for_values(listed: list[Any]) -> None:
    with pytest.raises(RequestError, match="keyframes of one schedule"):
        parse_axis("units.0.weight", listed)
    assert len(parse_axis("units.0.weight", ["1@0, 0@1", "1>0"])) == 2
    assert len(parse_axis("prompt.replace", "1@0, 0@1")) == 2  # words of a prompt are words


SCHEDULES = st.lists(st.floats(0, 1).map(lambda x: round(x, 3)), min_size=2, max_size=4, unique=True).map(
    lambda places: ", ".join(f"{k}@{place:g}" for k, place in enumerate(sorted(places)))
)


@given(st.lists(SCHEDULES, min_size=1, max_size=4, unique=True))
def test_schedules_are_read_quoted_or_one_a_line_and_never_taken_apart(schedules: list[str]) -> None:
    assert values(", ".join(f'"{each}"' for each in schedules)) == schedules
    assert values("\n".join(f'"{each}"' for each in schedules)) == schedules
    if len(schedules) > 1:
        assert values("\n".join(schedules)) == schedules
    with pytest.raises(RequestError):
        values(", ".join(schedules))


def test_prompts_are_replaced_by_texts_as_they_are_written() -> None:
    axis = parse_axis("prompt.replace", "1.50, true, 2-3 [2]")
    assert axis.shown == ("1.50", "true", "2", "3")


def test_values_are_named_with_their_axes() -> None:
    found = grid(
        x={"path": "Unit 0 model+Unit 0 preprocessor", "values": "a+canny"}, y={"path": "CFG", "values": "4"}
    )
    assert found.named(found.cells[0]) == "Unit 0 model = a, Unit 0 preprocessor = canny, CFG = 4"


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(2, 40))
def test_spaced_values_have_both_ends(first: float, last: float, count: int) -> None:
    first, last = round(first, 3), round(last, 3)
    if (
        first == last
        or len({round(first + (last - first) * i / (count - 1), 8) for i in range(count)}) < count
    ):
        return
    found = values(f"{first:.3f}-{last:.3f} [{count}]")
    assert len(found) == count
    assert (found[0], found[-1]) == pytest.approx((first, last), abs=1e-6)
    assert np.diff(found) == pytest.approx(np.full(count - 1, (last - first) / (count - 1)), abs=1e-6)


def test_places_and_labels() -> None:
    labels = {"Unit 1 guidance end": "units.1.guidance_end", "CFG": "cfg_scale", "Steps": "steps"}
    labels |= {"unit 0 end": "units.0.guidance_end", "Checkpoint": "model", "prompt.glow": "prompt.glow"}
    labels |= {"Concept 1 weight": "blend.concepts.1.weight", "units.0.params.low": "units.0.params.low"}
    assert {label: path_of(label) for label in labels} == labels


def test_places_that_move_together() -> None:
    axis = parse_axis("units.0.model+units.0.preprocessor", "edges+canny, lines + none")
    assert axis.values == (("edges", "canny"), ("lines", "none"))
    assert applied(BASE, axis, 1)["units"][0] == {"model": "lines", "preprocessor": "none"}
    with pytest.raises(RequestError, match="2 values"):
        parse_axis("units.0.model+units.0.preprocessor", "edges")


def test_prompts_are_searched_and_named_weights_set() -> None:
    axis = parse_axis("prompt.replace", "red, blue")
    assert applied(BASE, axis, 0)["prompt"] == BASE["prompt"]
    assert applied(BASE, axis, 1)["prompt"] == "a blue star on a blue ground"
    with pytest.raises(RequestError, match="no prompt contains 'green'"):
        applied(BASE, parse_axis("prompt.replace", "green, blue"), 1)
    named = parse_axis("prompt.glow", "0.5-1.5 [3]")
    assert applied(BASE, named, 2)["prompt_weights"] == {"glow": 1.5}
    blend = BASE | {"prompt": "", "blend": {"concepts": [{"prompt": "red"}, {"prompt": "x"}]}}
    assert applied(blend, axis, 1)["blend"]["concepts"][0]["prompt"] == "blue"


def tune(**fields: Any) -> TuneSpec:
    return parse_request(fields, TuneSpec)


def grid(**fields: Any) -> Grid:
    return grid_of(BASE, tune(**fields), GenerationRequest)


def test_a_grid_has_every_cell_once_x_fastest() -> None:
    found = grid(
        x={"path": "units.0.weight", "values": "0-1 [3]"},
        y={"path": "cfg_scale", "values": [3, 5]},
        z={"path": "seed", "values": "1, 2"},
        seeds=2,
    )
    assert [cell.coords for cell in found.cells][:4] == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0)]
    assert len({cell.key for cell in found.cells}) == 12
    assert found.pictures == 24
    assert found.cells[-1].shown == ("1", "5", "2")
    assert BASE["units"][0] == {"model": "a"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"x": {"path": "units.0.weight", "values": "1@, 2"}}, "$.tune.x.values[0]"),
        ({"x": {"path": "units.7.weight", "values": "1"}}, "$.tune.x.values[0]"),
        ({"x": {"path": "units.0.wieght", "values": "1"}}, "$.tune.x.values[0]"),
        ({"x": {"path": "Wieght of unit 0", "values": "1"}}, "$.tune.x.path"),
        ({"x": {"path": "Weight of unit 7", "values": "1"}}, "$.tune.x.path"),
        ({"x": {"path": "steps", "values": "5, 0"}}, "$.tune.x.values[1]"),
        ({"x": {"path": "steps", "values": "0-1 [0]"}}, "$.tune.x.values"),
        ({"x": {"path": "steps", "values": "1-200 [200]"}, "seeds": 3}, "$.tune"),
        ({"x": {"path": "steps", "values": "1"}, "z": {"path": "seed", "values": "1"}}, "$.tune.y"),
    ],
)
def test_mistakes_are_found_before_anything_runs(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        grid(**fields)
    assert caught.value.path == path


def test_a_large_grid_may_be_forced() -> None:
    assert grid(x={"path": "seed", "values": "1-250 [250]"}, seeds=2, force=True).pictures == 500


def test_keys_name_what_a_cell_is_made_of() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 1.5})


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8))


def test_structure_is_ssim() -> None:
    from scipy.ndimage import gaussian_filter

    one, other = (noise(k) for k in (1, 2))
    x, y = (np.asarray(Image.blend(noise(3), each, 0.4).convert("L"), float) / 255 for each in (one, other))

    def mean(values: Any) -> Any:
        return gaussian_filter(values, 1.5, radius=5, mode="mirror")

    shared = mean(x * y) - mean(x) * mean(y)
    spreads = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    light = (2 * mean(x) * mean(y) + 1e-4) / (mean(x) ** 2 + mean(y) ** 2 + 1e-4)
    wanted = float((light * (2 * shared + 9e-4) / (spreads + 9e-4)).mean())
    maps = [Image.blend(noise(3), each, 0.4) for each in (one, other)]
    assert COMPARISONS["structure"](*maps) == pytest.approx(wanted, abs=1e-6)
    assert COMPARISONS["structure"](one, one) == pytest.approx(1)


def test_every_preprocessor_is_compared_with_itself_or_says_why_not() -> None:
    picture = noise(4)
    for each in preprocessors():
        if each.needs_weights:
            continue
        unit = ControlUnit(model="a", image=encode_image(picture), preprocessor=each.name)
        found = adherence(picture, unit, 3)
        if each.compared is None:
            assert "detects nothing" in found.reasons["adherence.3"]
        else:
            assert found.values["adherence.3"] == pytest.approx(1)
            assert adherence(Image.new("RGB", picture.size), unit, 3).values["adherence.3"] < 0.9


@pytest.mark.parametrize(
    ("name", "params"), [("canny", {"low_threshold": 255, "high_threshold": 255}), ("invert", {})]
)
def test_a_blank_map_is_not_followed(name: str, params: dict[str, Any]) -> None:
    flat = Image.new("RGB", (56, 40), (90, 90, 90))
    unit = ControlUnit(model="a", image=encode_image(flat), preprocessor=name, params=params)
    for picture in (flat, noise(4)):
        found = adherence(picture, unit, 3)
        assert (found.values, "blank" in found.reasons["adherence.3"]) == ({}, True)


def test_over_control_is_what_grew() -> None:
    calm = Image.new("RGB", (32, 32), (120, 120, 120))
    assert over_control(calm, calm).values == {"over_control": 0.0}
    pixels = np.full((32, 32, 3), 120, np.uint8)
    pixels[:16] = 255
    clipped = over_control(Image.fromarray(pixels), calm).values["over_control"]
    assert clipped > 0.5
    assert over_control(calm, Image.fromarray(pixels)).values == {"over_control": 0.0}


def test_means_and_spreads_over_seeds() -> None:
    means, spreads = summary([Scores({"a": 1.0}), Scores({"a": 3.0, "b": 2.0})])
    assert means == {"a": 2.0, "b": 2.0}
    assert spreads == {"a": 1.0, "b": 0.0}


def test_a_sheet_shows_pictures_failures_and_gaps() -> None:
    red = Image.new("RGB", (40, 30), "red")
    whole = labelled({(0, 0): red, (1, 0): "it failed: out of memory"}, ("0", "1"), ("a", "b"), ("x", "y"))
    colours = {whole.getpixel((whole.width - 84 + k * 44, 50)) for k in (0, 1)}
    assert (255, 0, 0) in colours
    title = HeatTitle("over-control", "less is better", "Unit <0> weight", "CFG", less=True)
    svg = heat_map(title, {(0, 0): 0.5, (1, 0): 0.9}, ("0", "1"), ("a",))
    words = "".join(ET.fromstring(svg).itertext())
    assert all(text in words for text in ("over-control", "less is better", "Unit <0> weight", "CFG", "0.5"))
    dark = "#1d4ed8"
    assert svg.index(dark) < svg.index(">0.5<") < svg.index(">0.9<")
