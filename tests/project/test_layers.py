"""A folder of the library imports only folders above it in the table of layers.

The table also lists the outside packages that a folder may import. A folder or a file at the top level that
is not in the table fails: add it here.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "lib_ctrlgen"

PURE = frozenset({"msgspec"})  # quick: neither torch nor numpy
PICTURES = PURE | {"PIL"}
ARRAYS = PICTURES | {"torch", "numpy", "cv2"}
MODELS = ARRAYS | {"safetensors", "diffusers", "transformers", "typing_extensions", "psutil"}
DOWNLOADS = frozenset({"requests", "huggingface_hub", "filelock"})  # models.download alone
ENGINE = MODELS | {"jinja2", "markupsafe", "optuna", "filelock"}
ANY = None
HOST = {"modules", "launch"}  # webui alone
PAGES = {"gradio", "fastapi", "starlette", "uvicorn"}  # webui, and the folders of pages of our own

# From the bottom up: a row imports only rows above it. Some files are held purer than their folder.
LAYERS: dict[str, frozenset[str] | None] = {
    "errors": PURE,
    "files": PICTURES,
    "request": PURE,
    "prompts": PURE,
    "plots": PURE,
    "images": ARRAYS,
    "unet": ARRAYS,
    "models": MODELS | DOWNLOADS,
    "faces": MODELS,
    "blending": ARRAYS,
    "preprocessors": ARRAYS,
    "controls": MODELS,
    "session": ARRAYS,
    "tuner.values": PURE,
    "tuner.axes": PURE,
    "tuner.axis_choices": PURE,
    "tuner.cells": PURE,
    "tuner.search.space": PURE,
    "tuner.axis_errors": PURE,
    "tuner.scoring.catalogue": PURE,
    "tuner.scoring.recommend": PURE,
    "tuner.finished_cell": PURE,
    "tuner": ENGINE,
    "compat": PICTURES,
    "forms": PICTURES,
    "client": PICTURES | {"requests", "urllib3"},
    "headless.job_text": PURE | {"yaml"},
    "recipes": PICTURES | {"yaml", "filelock"},
    "train.tiny": ANY,
    "headless": ANY,
    "train": ANY,
    "projects": ANY,
    "webui": ANY,
    "cluster": ANY,
    "serve": ANY,
    "cli": ANY,
    "__main__": ANY,
}
# What these rows do not import, although it stands above them.
APART = {
    "webui": {"headless", "projects", "train"},
    "cluster": {"webui", "projects", "train"},
    "serve": {"webui", "train"},
    "cli": {"webui"},
}
# What imports PAGES: whole rows, and one folder of a row.
SERVED = ("projects.product.app", "serve", "webui")


def place(module: str) -> str:
    """The table's row for a module of the package: the longest name that it begins with."""
    parts = module.split(".")[1:]
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    found = next((name for name in names if name in LAYERS), None)
    if found is None:
        raise LookupError(f"{module} has no place in tests/project/test_layers.py")
    return found


def imports(module: str, source: str, *, package: bool = False) -> Iterator[str]:
    """Every module that `source` imports anywhere, relative imports resolved."""
    base = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = base[: len(base) - node.level + 1] if node.level else []
            origin = ".".join([*start, *([node.module] if node.module else [])])
            # `from lib_ctrlgen import schedule` imports lib_ctrlgen.request.schedule
            bare = origin == PACKAGE
            yield from (f"{origin}.{alias.name}" if bare else origin for alias in node.names)


def faults(module: str, source: str, *, package: bool = False) -> list[str]:
    """What `source` imports that a module in its place may not, one line each."""
    if module == PACKAGE:
        found = set(imports(module, source, package=True))
        return [f"{PACKAGE} itself imports {name}: keep it empty" for name in sorted(found)]
    name = place(module)
    lines = []
    for target in sorted(set(imports(module, source, package=package))):
        problem = _inside(name, target) if _own(target) else _outside(name, target, module)
        if problem:
            lines.append(f"{module} imports {target}: {problem}")
    return lines


def _own(target: str) -> bool:
    return target.partition(".")[0] == PACKAGE


def _inside(name: str, target: str) -> str | None:
    if target in (PACKAGE, f"{PACKAGE}.__version__"):
        return None
    other, order = place(target), list(LAYERS)
    if order.index(other) > order.index(name):
        return f"{name} stands below {other}"
    return f"{name} does not import {other}" if other in APART.get(name, ()) else None


def _outside(name: str, target: str, module: str) -> str | None:
    top = target.partition(".")[0]
    if top in sys.stdlib_module_names:
        return None
    if top in HOST:
        return None if name == "webui" else "only webui imports its host"
    if top in PAGES:
        served = any(f"{module}.".startswith(f"{PACKAGE}.{each}.") for each in SERVED)
        return None if served else f"only {', '.join(SERVED)} import web pages"
    allowed = LAYERS[name]
    if allowed is not None and top not in allowed:
        return f"{name} imports only {', '.join(sorted(allowed))}"
    return None


def sources() -> dict[str, Path]:
    """Every module of the package and its file."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """One cycle of `graph` as a path, or nothing."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph.get(node, ())):
            if found := visit(target, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


@pytest.mark.parametrize("module", sources())
def test_a_module_imports_downwards_only(module: str) -> None:
    path = sources()[module]
    package = path.name == "__init__.py"
    assert faults(module, path.read_text("utf-8"), package=package) == []


def test_there_are_no_import_cycles() -> None:
    files = sources()
    graph = {
        module: {
            target
            for target in imports(module, path.read_text("utf-8"), package=path.stem == "__init__")
            if target in files and target != module
        }
        for module, path in files.items()
    }
    assert cycle(graph) == []


def test_only_the_search_imports_optuna() -> None:
    found = {
        module
        for module, path in sources().items()
        if any(target.partition(".")[0] == "optuna" for target in imports(module, path.read_text("utf-8")))
    }
    assert found == {"lib_ctrlgen.tuner.search.study"}


def test_models_are_downloaded_in_one_file() -> None:
    """Whatever else reads models must work where there is no network, and import nothing that reaches it."""
    found = {
        module
        for module, path in sources().items()
        if module.startswith(f"{PACKAGE}.models.")
        and DOWNLOADS & {target.partition(".")[0] for target in imports(module, path.read_text("utf-8"))}
    }
    assert found == {"lib_ctrlgen.models.download"}


def test_ray_is_imported_by_the_cluster_alone() -> None:
    """Above all not inside the WebUI, nor by the tuner that runs there."""
    found = {
        module: [
            target for target in imports(module, path.read_text("utf-8")) if target.partition(".")[0] == "ray"
        ]
        for module, path in sources().items()
    }
    users = {module for module, targets in found.items() if targets}
    assert users
    assert all(module.startswith(f"{PACKAGE}.cluster.") for module in users)


@pytest.mark.parametrize("name", ["install.py", "preload.py"])
def test_what_the_webui_runs_first_imports_nothing_of_ours(name: str) -> None:
    targets = imports(name, (ROOT / name).read_text("utf-8"))
    assert not [target for target in targets if _own(target)]


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.name)
def test_a_webui_script_imports_only_the_webui_edge(path: Path) -> None:
    own = {target for target in imports(path.stem, path.read_text("utf-8")) if _own(target)}
    assert all(target.startswith(f"{PACKAGE}.webui") for target in own)


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("request.spec", "import torch", "request imports only msgspec"),
        ("tuner.axes", "def f() -> None:\n    import numpy as np", "tuner.axes imports only msgspec"),
        ("request.schedule", "from lib_ctrlgen.images.resize import fit", "request stands below images"),
        ("images.resize", "from lib_ctrlgen.models import store", "images stands below models"),
        ("images.resize", "import diffusers", "images imports only PIL, cv2, msgspec, numpy, torch"),
        ("controls.lllite", "from ..session import session", "controls stands below session"),
        ("headless.engine", "from ..webui import script", "headless stands below webui"),
        ("headless.engine", "import gradio", "only projects.product.app, serve, webui import web pages"),
        ("projects.product.run", "import gradio", "only projects.product.app, serve, webui import web pages"),
        ("serve.app", "from modules import shared", "only webui imports its host"),
        ("webui.script", "from lib_ctrlgen.headless.engine import Engine", "webui does not import headless"),
    ],
)
def test_the_rules_can_fail(module: str, source: str, problem: str) -> None:
    (line,) = faults(f"{PACKAGE}.{module}", source)
    assert line.endswith(problem)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cli.main", "from lib_ctrlgen.headless import demo"),
        ("headless.engine", "from .report import page"),
        ("webui.panel.panel", "import gradio as gr\nfrom modules import shared"),
        ("tuner.run", "from .axes import Axis"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert faults(f"{PACKAGE}.{module}", source) == []


def test_a_module_without_a_place_fails() -> None:
    with pytest.raises(LookupError, match="no place"):
        faults(f"{PACKAGE}.newcomer", "")


def test_the_table_is_short_and_so_is_the_top_level() -> None:
    assert len(LAYERS) <= 37  # projects and serve stand above everything that existed before them
    assert len(list((ROOT / PACKAGE).glob("*.py"))) <= 5


def test_a_cycle_is_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b"}, "b": set()}) == []
