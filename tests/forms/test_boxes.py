"""The boxes of a unit in a form: a text of lines or JSON, read and written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.box_fields import read_boxes, shown_boxes
from lib_ctrlgen.forms.unit_fields import panel_values, unit_fields, unit_settings
from lib_ctrlgen.request.spec import parse_request, to_payload

LINES = "0.1 0.2 0.5 0.8: a red circle\n\n 0,0 , 1, .45 : a blue: square \n"
READ = [
    {"box": [0.1, 0.2, 0.5, 0.8], "text": "a red circle"},
    {"box": [0, 0, 1, 0.45], "text": "a blue: square"},
]

shares = st.integers(0, 1000).map(lambda number: number / 1000)
phrases = st.text(max_size=12)
boxes = st.fixed_dictionaries(
    {"box": st.lists(shares, min_size=4, max_size=4), "text": phrases}, optional={"image": phrases}
)


def test_lines_and_json_are_read_alike() -> None:
    assert read_boxes(LINES, "$") == READ
    assert read_boxes(json.dumps(READ), "$") == READ
    assert read_boxes(" \n", "$") == []


@given(st.lists(boxes, max_size=4))
def test_what_is_shown_is_read_back(some: list[dict[str, Any]]) -> None:
    assert read_boxes(shown_boxes(some), "$") == some


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0.1 0.2 0.5: a", "[0]"),
        ("0 0 1 1: a\n0 0 1 1.2.3: b", "[1]"),
        ("a cat", "[0]"),
        ("[{]", ""),
        ("[" * 100_000, ""),
    ],
)
def test_a_text_that_is_no_boxes_is_refused_at_its_line(text: str, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        unit_settings(unit_fields() | {"model": "m", "boxes": text}, "$.units[0]")
    assert caught.value.path == f"$.units[0].boxes{path}"


def test_the_panel_gives_the_requests_boxes_and_shows_them_again() -> None:
    settings = unit_settings(unit_fields() | {"model": "m", "boxes": LINES}, "$")
    unit = to_payload(parse_request({"units": [settings]}))["units"][0]
    assert unit["boxes"] == READ
    assert panel_values(unit)["boxes"] == "0.1 0.2 0.5 0.8: a red circle\n0.0 0.0 1.0 0.45: a blue: square"
    assert "boxes" not in unit_settings(unit_fields() | {"model": "m"}, "$")
