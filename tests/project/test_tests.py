"""The rules for the tests themselves: helpers live in tests/support, and every test asserts something."""

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def imported(source: str) -> set[str]:
    """The full names of the modules that a module imports, those of `from a import b` as `a` and `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def imported_tests(source: str) -> list[str]:
    """The test modules that a module imports."""
    return sorted(
        name
        for name in imported(source)
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split("."))
    )


def test_no_module_imports_a_test_module() -> None:
    folders = (ROOT / name for name in ("tests", "benchmarks", "examples", "tools"))
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    found = {str(path.relative_to(ROOT)): imported_tests(path.read_text("utf-8")) for path in paths}
    assert {path: modules for path, modules in found.items() if modules} == {}


def test_an_import_of_a_test_module_is_found() -> None:
    lines = (
        "from tests.unet.test_clocks import x",
        "from tests.unet import test_finite",
        "import tests.support",
    )
    assert imported_tests("\n".join(lines)) == [
        "tests.unet.test_clocks",
        "tests.unet.test_clocks.x",
        "tests.unet.test_finite",
    ]


FAILS = ("raises", "warns", "fail")  # of pytest


def calls_of(function: ast.FunctionDef) -> set[str]:
    """The last names of what a function calls: `raises` for `pytest.raises(...)`."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in calls}


def asserts(function: ast.FunctionDef, helpers: set[str]) -> bool:
    """Whether a function can fail on purpose: itself, or in one of the helpers that it calls."""
    nodes = list(ast.walk(function))
    called = calls_of(function)
    return (
        any(isinstance(node, ast.Assert) for node in nodes)
        or any(isinstance(node, ast.Raise) and "AssertionError" in ast.unparse(node) for node in nodes)
        or any(name in FAILS or "assert" in name or name in helpers for name in called)
    )


def functions(paths: Iterable[Path]) -> list[tuple[Path, ast.FunctionDef]]:
    trees = [(path, ast.parse(path.read_text("utf-8"))) for path in paths]
    return [
        (path, node) for path, tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    ]


def without_assertion(found: list[tuple[Path, ast.FunctionDef]]) -> list[str]:
    """The tests that assert nothing. A helper that asserts is known by its name in any module."""
    helpers: set[str] = set()
    while True:
        more = {
            each.name for _, each in found if not each.name.startswith("test_") and asserts(each, helpers)
        }
        if more == helpers:
            break
        helpers = more
    tests = [(path, each) for path, each in found if each.name.startswith("test_")]
    return [f"{path.name}: {each.name}" for path, each in tests if not asserts(each, helpers)]


def test_every_test_asserts_something() -> None:
    assert without_assertion(functions((ROOT / "tests").rglob("*.py"))) == []


def test_a_test_that_asserts_nothing_is_found(tmp_path: Path) -> None:
    path = tmp_path / "test_example.py"
    path.write_text("def check(x):\n assert x\ndef test_a():\n check(1)\ndef test_b():\n print(1)\n")
    assert without_assertion(functions([path])) == ["test_example.py: test_b"]
