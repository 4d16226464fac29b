"""What tests of the panel's page do with the parameters of preprocessors and control families."""

from __future__ import annotations

import json
from typing import Any

PANEL = "#ctrlgen_txt2img_panel"
UNIT = "#ctrlgen_txt2img_unit0_"
LOW, HIGH = "canny_low_threshold", "canny_high_threshold"
OPEN = "(heads) => document.querySelectorAll(heads).forEach((head) => head.offsetParent && head.click())"
HOLDS = """([id, values]) => {
  const text = document.querySelector(`${id}param_values :is(textarea, input)`).value;
  const sorted = (given) => JSON.stringify(Object.entries(given).sort());
  return (text === "") === !Object.keys(values).length && sorted(JSON.parse(text || "{}")) === sorted(values);
}"""


def opened(page: Any) -> Any:
    page.click(f"{PANEL} > .label-wrap")
    page.wait_for_selector(f"{UNIT}enabled", state="visible")
    open_all(page)
    page.wait_for_selector(f"{UNIT}preprocessor input", state="visible")
    return page


def open_all(page: Any) -> None:
    """Open the accordions of the unit that is shown, and those within them."""
    for _ in range(2):
        page.evaluate(OPEN, f"{PANEL} .label-wrap:not(.open)")


def choose(page: Any, name: str, value: str, unit: str = UNIT) -> None:
    """Type a choice into a list, and take it."""
    field = page.locator(f"{unit}{name} input").first
    field.fill(value)
    field.press("Enter")
    field.blur()


def chosen_canny(page: Any, unit: str = UNIT) -> None:
    choose(page, "preprocessor", "canny", unit)
    page.wait_for_selector(f"{unit}{LOW} input[type=number]", state="visible")


def number(page: Any, name: str, unit: str = UNIT) -> Any:
    return page.locator(f"{unit}{name} input[type=number]")


def slider(page: Any, name: str, unit: str = UNIT) -> Any:
    return page.locator(f"{unit}{name} input[type=range]")


def has_values(page: Any, values: dict[str, Any], unit: str = UNIT) -> None:
    """Wait until the unit's field holds these values as JSON, or is empty for none."""
    page.wait_for_function(HOLDS, arg=[unit, values])


def shows(page: Any, name: str, value: str, unit: str = UNIT) -> None:
    """Wait until all inputs of a parameter show this value."""
    page.wait_for_function(
        "([id, value]) => { const all = [...document.querySelectorAll(`${id} :is(input, select)`)];"
        " return all.length && all.every((each) => each.value === value); }",
        arg=[f"{unit}{name}", value],
    )


def paste(page: Any, unit: dict[str, Any], place: int = 0) -> None:
    """Paste the text of a unit, as the button does."""
    page.wait_for_function("typeof ctrlgenUnits === 'object' && ctrlgenUnits.panel('txt2img')")
    page.evaluate(
        "([place, text]) => ctrlgenUnits.insert('txt2img', ctrlgenUnits.panel('txt2img'), place, text)",
        [place, json.dumps(unit)],
    )
