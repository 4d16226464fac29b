"""The glossary has one line for each term, and no page, docstring or message uses a retired word."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")]
ROW = re.compile(r"^\| (.+?) \| (.+?) \|$", re.MULTILINE)
CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|\S+/\S+", re.DOTALL)  # also the targets of links, and paths


def rows(text: str) -> list[tuple[str, str]]:
    """The rows of all tables of a page without their heads."""
    found = [(match[1], match[2]) for match in ROW.finditer(text)]
    return [row for row in found if row[0] not in {"term", "retired", "---"}]


TERMS, RETIRED = (rows(part) for part in GLOSSARY.read_text("utf-8").split("## Retired words"))


def retired_in(text: str) -> list[str]:
    """The retired words that a text contains outside of code, also in the plural."""
    prose = " ".join(CODE.sub(" ", text).split())
    return [word for word, _ in RETIRED if re.search(rf"\b{re.escape(word)}s?\b", prose, re.IGNORECASE)]


def texts(path: Path) -> Iterator[str]:
    """The texts of a page, or the docstrings and other texts with a space of a module."""
    source = path.read_text("utf-8")
    if path.suffix == ".md":
        yield source.split("## Retired words")[0] if path == GLOSSARY else source
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


def test_each_term_has_one_line() -> None:
    names = [name for terms, _ in TERMS for name in terms.split(", ")]
    assert len(names) > 60
    assert sorted(names) == sorted(set(names))
    assert not set(names) & {word for word, _ in RETIRED}


def test_replacements_are_terms() -> None:
    names = {name for terms, _ in TERMS for name in terms.split(", ")}
    outside = {"animation", "mid block", "the name of the thing"}
    assert {instead for _, instead in RETIRED} <= names | outside


@pytest.mark.parametrize("kind", ["*.md", "*.py"])
def test_no_retired_word_is_used(kind: str) -> None:
    folder = ROOT / ("docs" if kind == "*.md" else "lib_ctrlgen")
    paths = [*folder.glob(kind), *PAGES] if kind == "*.md" else folder.rglob(kind)
    found = {
        str(path.relative_to(ROOT)): words
        for path in paths
        for words in map(retired_in, texts(path))
        if words
    }
    assert found == {}


def test_a_retired_word_is_found() -> None:
    assert retired_in("Two control\nimages of a unit") == ["control image"]
    assert retired_in("`control image` in code, and controlled images") == []
