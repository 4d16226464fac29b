"""Values of axes of the WebUI's X/Y/Z plot in sd-webui-controlnet's notation."""

import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.compat.axes import OLD_AXES, OWN_AXES
from lib_ctrlgen.compat.axis_values import Reader, UnitValues, axis_values, number, switch
from lib_ctrlgen.errors import RequestError


def values(text: str, read: Reader = number) -> list[str]:
    """The values of a text after the plot has split it at commas."""
    return [
        str(value) for value in axis_values([each.strip() for each in next(csv.reader(StringIO(text)))], read)
    ]


@pytest.mark.parametrize(
    ("text", "read", "expected"),
    [
        ("0.5, [0.2,,1]", number, ["0.5", "[0.2, , 1]"]),
        ("[0.5]", number, ["[0.5]"]),
        ("0-1 [3], 1-2 (+0.5)", number, ["0", "0.5", "1", "1", "1.5", "2"]),
        ("[0-1 [3],,2]", number, ["[0, , 2]", "[0.5, , 2]", "[1, , 2]"]),
        ("True, [,0]", switch, ["True", "[, False]"]),
        ("lines [a1b2c3d4], [x [1],, y [2]]", str, ["lines [a1b2c3d4]", "[x [1], , y [2]]"]),
    ],
)
def test_lists_and_ranges(text: str, read: Reader, expected: list[str]) -> None:
    assert values(text, read) == expected


@pytest.mark.parametrize("text", ["[0.2, 1", "much", "", "0.5-1 [0]", ","])
def test_a_text_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(RequestError) as raised:
        values(text or " ")
    assert raised.value.path == "values"


@given(st.lists(st.one_of(st.none(), st.integers(-99, 99)), min_size=1, max_size=6))
def test_a_list_gives_each_unit_its_own_value(units: list[int | None]) -> None:
    text = ",".join("" if value is None else str(value) for value in units)
    (found,) = axis_values(f"[{text}]".split(","), number)
    assert [found.of(unit) for unit in range(len(units))] == units
    assert found.of(len(units)) is None


def test_one_value_is_for_every_unit() -> None:
    assert UnitValues(every=0.5).of(7) == 0.5


def test_the_axes_have_labels_of_their_own_and_read_their_choices() -> None:
    axes = [*OLD_AXES, *OWN_AXES]
    assert len({axis.label for axis in axes}) == len(axes)
    assert [axis.label for axis in OLD_AXES][:2] == ["[ControlNet] Enabled", "[ControlNet] Model"]
    for axis in axes:
        for choice in axis.choices[:3]:
            assert axis_values([choice], axis.read)
