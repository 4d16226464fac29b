"""The rules for the tests themselves: helpers live in tests/support, and every test asserts something."""

import ast
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
