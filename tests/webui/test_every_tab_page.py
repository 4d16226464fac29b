"""Each tab of the panel, and the tuner's fields, in a plain gradio app: tooltips, contrast and roles.

Skipped, saying so, without gradio 3.41, playwright or a Chromium; contrast and roles also without axe-core.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.axe import THEME, faults
from tests.support.bare_webui import bare_app, bare_page

PANEL = "#ctrlgen_txt2img_panel"
UNIT = "#ctrlgen_txt2img_unit0_"
TUNER = "#script_txt2img_ctrlgen_xy_tuner_"
PUBLISHED = "control_v11p_sd15_canny"
# The tabs by the word on their button, each with the elements that are looked at.
TABS = {
    "Unit 0": [f"{UNIT}panel", "#ctrlgen_txt2img_tiny"],
    "Blend": ["#ctrlgen_txt2img_blend_tab"],
    "Schedules": ["#ctrlgen_txt2img_schedules_tab"],
    "Recipes": ["#ctrlgen_txt2img_recipes_tab", "#ctrlgen_txt2img_errors"],
    "Models": ["#ctrlgen_txt2img_models_tab"],
    "Tuner": ["#bare_tuner"],
}
OPEN = "(heads) => document.querySelectorAll(heads).forEach((head) => head.offsetParent && head.click())"
BARE = """(parts) => parts.flatMap((part) => [...document.querySelector(part).querySelectorAll("*")])
    .filter((field) => field.matches('input, select, textarea, button'))
    .filter((field) => field.offsetParent && !field.closest('.tab-nav'))
    .filter((field) => !field.closest('[title]:not([title=""])'))
    .map((field) => field.closest('[id]').id + ': ' + field.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def page(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with (
        bare_app(tmp_path_factory.mktemp("webui")) as app,
        bare_page(chromium, app.address) as opened,
    ):
        opened.click(f"{PANEL} > .label-wrap")
        opened.wait_for_selector(f"{UNIT}enabled", state="visible")
        opened.wait_for_selector(f"{PANEL} [data-action=add]", state="visible")
        yield opened
        assert not opened.errors


@pytest.fixture(params=TABS)
def shown(request: pytest.FixtureRequest, page: Any) -> list[str]:
    """Show a tab with everything in it, and return its elements."""
    tab = request.param
    if tab != "Tuner":
        page.locator("#ctrlgen_txt2img_tabs > .tab-nav > button", has_text=tab).first.click()
    for _ in range(2):  # accordions within accordions
        page.evaluate(OPEN, f"{PANEL} .label-wrap:not(.open)")
    if tab == "Models":
        filled(page, "#ctrlgen_txt2img_published input", PUBLISHED)
        page.wait_for_selector("#ctrlgen_txt2img_published_missing a", state="visible")
    if tab == "Recipes":
        page.click("#ctrlgen_txt2img_recipe_load")
        page.wait_for_selector("#ctrlgen_txt2img_errors button", state="visible")
    if tab == "Tuner":
        page.click(f"{TUNER}save_recipe")
        page.wait_for_selector(f"{TUNER}recipe.ctrlgen-wrong")
    page.wait_for_timeout(600)  # the scripts look at the page every 400 ms
    return TABS[tab]


def filled(page: Any, field: str, value: str) -> None:
    page.locator(field).fill(value)
    page.locator(field).press("Enter")


def test_every_field_and_button_has_a_tooltip(page: Any, shown: list[str]) -> None:
    groups = page.locator(f"{shown[0]} .ctrlgen-groups > .tab-nav > button:visible")
    for number in range(max(1, groups.count())):
        if groups.count():
            groups.nth(number).click()
        assert page.evaluate(BARE, shown) == []


def test_axe_finds_no_faults_in_either_theme(page: Any, shown: list[str]) -> None:
    found = {}
    for theme in ("light", "dark"):
        page.evaluate(THEME, theme)
        found[theme] = faults(page, *shown)
    page.evaluate(THEME, "light")
    assert found == {"light": [], "dark": []}
