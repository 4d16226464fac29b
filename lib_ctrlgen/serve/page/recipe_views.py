"""The parts of the page that show recipes, as HTML. Whatever a user wrote is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from lib_ctrlgen.recipes.versions import Version

from .story_view import DIALS

RECIPES = "../recipes"
NO_RECIPES = '<p class="quiet">No recipes yet: choose a job that is done, and save it as a recipe.</p>'
CHOOSE = '<p class="quiet">Choose a recipe to see its versions.</p>'
CHANGED = "What the newest version changes"
DIGITS = 8  # of a version's hash
STYLE = """
.recipe img { max-width: min(100%, 256px); height: auto; display: block; margin-bottom: .5rem }
.recipe pre { overflow: auto; max-height: 16rem; padding: .5rem; white-space: pre-wrap;
  border: 1px solid var(--border-color-primary, #ccc) }
"""


def version_label(version: Version) -> str:
    """A version in a list of choices."""
    return f"{day(version)} {version.author}: {version.message[:60]} ({version.id[:DIGITS]})"


def day(version: Version) -> str:
    """When a version was saved, to the minute, in UTC offset of the server."""
    return version.saved[:16].replace("T", " ")


def recipe_view(name: str, version: str, history: Sequence[Version], difference: str) -> str:
    """A version's picture and files, the history, and what differs from the version before."""
    base, chosen = f"{RECIPES}/{quote(name, safe='')}", f"?version={quote(version)}"
    dials = f"{DIALS}?recipe={quote(name, safe='')}&amp;version={quote(version)}"
    links = (
        ("Open in dials", dials),
        ("Job (YAML)", f"{base}/job{chosen}"),
        ("Recipe (zip)", f"{base}/zip{chosen}"),
    )
    files = " · ".join(f'<a href="{address}">{text}</a>' for text, address in links)
    rows = "".join(
        f"<tr><td>{day(each)}</td><td>{escape(each.author)}</td>"
        f'<td class="title">{escape(each.message)}</td><td><code>{each.id[:DIGITS]}</code></td></tr>'
        for each in history
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Saved", "By", "Words", "Version"))
    table = f'<table class="jobs"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    changed = f"<details><summary>{CHANGED}</summary><pre>{escape(difference)}</pre></details>"
    picture = f'<img src="{base}/result{chosen}" alt="the picture of this version">'
    parts = (f"<h3>{escape(name)}</h3>", picture, f"<p>{files}</p>", table, changed if difference else "")
    return f'<div class="recipe">{"".join(parts)}</div>'
