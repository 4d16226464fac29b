"""Contrast, roles and names of a part of a page, by axe-core."""

from __future__ import annotations

from typing import Any

from tests.support.bare_webui import axe_file

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]}
THEME = "(theme) => document.body.classList.toggle('dark', theme === 'dark')"  # as gradio and the WebUI do
FOUND = """([parts, options]) => axe.run({include: parts.map((part) => [part])}, options)
    .then(({violations}) => violations)"""


def faults(page: Any, *parts: str) -> list[tuple[str, str]]:
    """The rules that are broken in the parts of a page with these selectors, each with an element."""
    if page.evaluate("typeof axe") == "undefined":
        page.add_script_tag(path=str(axe_file()))
    found = page.evaluate(FOUND, [list(parts), RULES])
    return [(each["id"], node["html"][:200]) for each in found for node in each["nodes"]]
