"""The tuner's fields in a browser: examples of axes, and the cost of a run without a request to a server."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.tuner_fields import COARSE
from lib_ctrlgen.tuner.axes import parse_axis, path_of
from lib_ctrlgen.tuner.axis_choices import axis_choices
from lib_ctrlgen.tuner.values import read_values
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.script_page import browser, page_of

BOX = "script_txt2img_ctrlgen_xy_tuner"
SIZES = {"width": 512, "height": 512, "steps": 20}
TEXTS = [
    "0.2, 0.4", "0-1 [5]", "0.5-1.5 (+0.25)", '"1@0, 0@1", 1>0', "a\nb, c\n\nd", "1,\n2,\n3", "", " ,1", "1,",
    '"a', "0-1 [1], 7", "3-1 (-1)", "1-3 (-1)", '"", 2', "true, false", '"say ""hi"", then", b',
]  # fmt: skip


def test_every_choice_is_an_axis_with_values() -> None:
    assert path_of("Weight of unit 2") == path_of("Strength of unit 2") == "units.2.weight"
    assert path_of("Schedule type") == "scheduler"
    for choice in axis_choices():
        axis = parse_axis(choice.label, choice.example)
        assert len(axis) > 1
        assert all(" " not in path for path in axis.paths), axis.paths
        assert choice.about.endswith(".")


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def page(opened: Any, host: FakeWebUI) -> Iterator[Any]:
    del host
    numbers = [
        f'<div id="txt2img_{name}"><input type="number" value="{n}"></div>' for name, n in SIZES.items()
    ]
    axes = [
        f'<div id="{BOX}_{axis}_path"><input></div><div id="{BOX}_{axis}_values"><textarea></textarea></div>'
        for axis in "xyz"
    ]
    boxes = [f'<div id="{BOX}_{name}"><input type="checkbox"></div>' for name in ("force", "coarse")]
    rest = [
        f'<div id="{BOX}_{name}"><input type="number" value="{n}"></div>'
        for name, n in (("seeds", 1), ("budget", 0))
    ]
    box = '<div class="ctrlgen-enabled"><input type="checkbox" checked></div>'
    unit = f'<div id="ctrlgen_txt2img_panel">{box}</div>'
    log = (
        '<div id="html_log_txt2img"><div class="performance"><p class="time">Time taken: '
        '<span class="measurement">1 min. 2.0 sec.</span></p></div></div>'
        '<div id="generation_info_txt2img"><textarea>{"width": 512, "height": 512, "all_seeds": [1, 2], '
        '"infotexts": ["a Steps: 20, Sampler: Euler"]}</textarea></div>'
    )
    area = fresh("tuner.panel").cost_area("txt2img")
    body = "".join([*numbers, *axes, *boxes, *rest, unit, log, area])
    with page_of(opened, "", ()) as blank:
        blank.route(
            "http://page.test/", lambda route: route.fulfill(body="<html></html>", content_type="text/html")
        )
        blank.goto("http://page.test/")  # an origin with a localStorage
        sources = page_sources()
        blank.set_content(body + sources)
        yield blank


def page_sources() -> str:
    """The scripts of the page."""
    from tests.support.script_page import HOST, ROOT

    names = ("ctrlgen", "editors/tuner")
    sources = [HOST, *((ROOT / "javascript" / f"{name}.js").read_text("utf-8") for name in names)]
    return "".join(f"<script>{source}</script>" for source in sources)


def fill(page: Any, axis: str, place: str, values: str) -> None:
    page.fill(f"#{BOX}_{axis}_path input", place)
    page.fill(f"#{BOX}_{axis}_values textarea", values)


def cost(page: Any) -> str:
    return str(page.locator(".ctrlgen-cost").inner_text())


def test_values_are_counted_as_the_tuner_reads_them(page: Any) -> None:
    for text in TEXTS:
        try:
            wanted: int | None = len(read_values(text))
        except RequestError:
            wanted = None
        found = page.evaluate(
            "(text) => { const v = ctrlgenTuner.values(text); return v && v.length; }", text
        )
        assert found == wanted, text


def test_the_cost_is_told_while_typing_and_nothing_is_sent(page: Any) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    assert cost(page) == "Choose what varies."
    fill(page, "x", "Weight of unit 0", "")
    assert cost(page) == "Write the values of X, such as 0-1.2 [5]."
    assert page.get_attribute(f"#{BOX}_x_values textarea", "placeholder") == "for example 0-1.2 [5]"
    fill(page, "x", "Weight of unit 0", "0-1 [5]")
    # 62 s for two pictures of 20 steps at this size: 31 s each; five pictures and one without units
    assert cost(page).startswith(
        "5 cells, 5 pictures and 1 without units for the scores; about 3 min; about 3 MB."
    )
    fill(page, "y", "CFG scale", "3, 7")
    assert cost(page).startswith("10 cells, 10 pictures and 2 without units for the scores; about 6 min;")
    page.uncheck(".ctrlgen-enabled input")
    page.fill(f"#{BOX}_seeds input", "4")
    assert cost(page).startswith("10 cells, 40 pictures; about 21 min;")
    page.check(f"#{BOX}_coarse input")
    assert cost(page).startswith("10 cells, 30 pictures; about 12 min;")  # 10 of 8 steps, 5 x 4 in full
    fill(page, "y", "Steps", "10, 30")
    assert cost(page).startswith("10 cells, 30 pictures; about 12 min;")
    page.fill(f"#{BOX}_budget input", "8")
    assert cost(page).startswith("At most 8 pictures; about 4 min;")
    page.fill(f"#{BOX}_budget input", "0")
    page.uncheck(f"#{BOX}_coarse input")
    fill(page, "y", "Seed", "1-200 [200]")
    assert "More than 400 pictures are refused unless you allow them." in cost(page)
    assert page.locator(".ctrlgen-cost.ctrlgen-error").count() == 1
    page.check(f"#{BOX}_force input")
    assert page.locator(".ctrlgen-cost.ctrlgen-error").count() == 0
    assert sent == []


def test_the_share_of_coarse_pictures_is_the_tuners(page: Any) -> None:
    assert page.get_attribute(".ctrlgen-tuner", "data-share") == str(COARSE)
    made = page.evaluate("ctrlgenTuner.work([{place: 'x', values: [1, 2, 3]}], 2, 0, 0.5, true)")
    assert made == {"cells": 3, "pictures": 3 + 2 * 2, "free": 2 * 3 + 3, "whole": 0.5 * 6 + 4 + 6}


def test_every_combination_of_axes_is_counted(page: Any) -> None:
    for counts in product((1, 3), repeat=3):
        axes = [{"place": "CFG", "values": list(range(count))} for count in counts]
        made = page.evaluate("(axes) => ctrlgenTuner.work(axes, 2, 0, 0, false)", axes)
        assert made["cells"] == counts[0] * counts[1] * counts[2] == made["pictures"] / 2
