"""Writes the tables of docs/reference.md: control families, preprocessors and scores, as the code lists them.

`python tools/docs_tables.py` writes them; with `--check` it exits with 1 if they are not up to date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a program, without the package installed

from lib_ctrlgen.cli.lists import param_range  # noqa: E402
from lib_ctrlgen.controls.registry import controls  # noqa: E402
from lib_ctrlgen.preprocessors import params_of, preprocessors  # noqa: E402
from lib_ctrlgen.request.params import Param  # noqa: E402
from lib_ctrlgen.tuner.scoring import catalogue  # noqa: E402

PAGE = ROOT / "docs" / "reference.md"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def control_table() -> str:
    """The control families with their parameters."""
    rows = ((f"`{each.name}`", each.title, params_text(each.params)) for each in controls())
    return markdown(("`control`", "what it is", "`params`"), rows)


def preprocessor_table() -> str:
    """The preprocessors with their parameters."""
    rows = ((f"`{each.name}`", each.title, params_text(params_of(each))) for each in preprocessors())
    return markdown(("`preprocessor`", "what it does", "`params`"), rows)


def score_table() -> str:
    """The scores with their direction."""
    rows = (
        (f"`{each.name}`", each.label, catalogue.direction(each.name), each.about)
        for each in catalogue.SCORES
    )
    return markdown(("score", "in words", "direction", "how it is measured"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "controls": control_table,
    "preprocessors": preprocessor_table,
    "scores": score_table,
}


def params_text(params: Iterable[Param]) -> str:
    """Parameters with their values and defaults, one a line of the table's cell."""
    return "<br>".join(f"`{each.name}`: {param_range(each)}" for each in params)


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown; a `|` in a cell is escaped."""
    titles = tuple(head)
    escaped = (tuple(each.replace("|", "\\|") for each in row) for row in rows)
    cells = (titles, ("---",) * len(titles), *escaped)
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def with_tables(text: str) -> str:
    """A page with the tables between its markers written anew. Raises KeyError for an unknown table."""
    return TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a table is out of date")
    before = PAGE.read_text("utf-8")
    after = with_tables(before)
    if parser.parse_args().check:
        return int(before != after)
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
