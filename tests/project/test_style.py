"""The limits of style that ruff has no rule for: the length of functions and of files."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("lib_ctrlgen", "scripts", "tests", "benchmarks", "examples", "tools")
LONGEST_FUNCTION = 50
LONGEST_FILE = 300


def files() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return sorted([*found, *ROOT.glob("*.py")])


def long_functions(source: str) -> list[str]:
    """`name: lines` of every function over the limit, its decorators not counted."""
    return [
        f"{node.name}: {lines} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]


def test_functions_are_short() -> None:
    found = {str(p.relative_to(ROOT)): long_functions(p.read_text("utf-8")) for p in files()}
    assert {path: functions for path, functions in found.items() if functions} == {}


def test_files_are_short() -> None:
    lengths = {str(p.relative_to(ROOT)): p.read_text("utf-8").count("\n") for p in files()}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_a_long_function_is_found() -> None:
    source = "def f():\n" + "    x = 1\n" * LONGEST_FUNCTION
    assert long_functions(source) == [f"f: {LONGEST_FUNCTION + 1} lines"]
