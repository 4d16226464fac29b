"""The layers of the library: imports point downwards only.

One table for the modules, one for what a layer may import from outside. A module that the
table does not name fails: give it a place here.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "lib_ctrlgen"
EDGE = 4

LAYERS = {
    # 0: pure; no torch, no numpy
    "errors": 0, "curve": 0, "schedule": 0, "schedule_form": 0, "params": 0, "spec": 0, "prompt": 0,
    "emphasis": 0, "plan": 0,
    "field_docs": 0, "field_types": 0, "paths": 0, "extras": 0,
    "names": 0, "weight_keys": 0,
    "strict": 0, "unit_spec": 0, "pictured": 0, "blend": 0, "concepts": 0, "explore": 0, "stack": 0,
    "notices": 0, "acting": 0,
    "sampler_names": 0, "seeds": 0,
    "tuner.axes": 0, "tuner.cells": 0, "tuner.choice": 0, "tuner.space": 0, "tuner.early": 0,
    "tuner.sure": 0, "tuner.places": 0, "tuner.scatter": 0, "tuner.values": 0, "tuner.done": 0,
    # 1: arrays and pictures
    "picture_files": 1, "greys": 1, "masks": 1,
    "images": 1, "resampling": 1, "canvas": 1, "residuals": 1, "attention": 1, "latents": 1, "metrics": 1,
    "factors": 1, "doses": 1, "repeats": 1, "inputs": 1, "faces": 1,
    "calls": 1, "units": 1, "combine": 1, "regions": 1, "trajectory": 1, "film": 1, "files": 1, "describe": 1,
    "prediction": 1, "finish": 1,
    "train.scenes": 1, "train.data": 1,  # the generator of pictures, which the demo draws with
    # 2: models
    "weights": 2, "weight_files": 2, "model_files": 2, "memory": 2,
    "checkpoints": 2, "store": 2, "controls": 2, "preprocessors": 2,
    # 3: the engine
    "tuner.scores": 2, "tuner.compare": 2, "tuner.sheet": 1, "tuner.report": 3, "tuner.run": 3,
    "tuner.work": 3, "unet_arguments": 3,
    "tuner.likeness": 3, "tuner.attempts": 3, "tuner.auto": 3, "tuner.findings": 3, "tuner.search": 3,
    "clocks": 3, "levels": 3, "blank": 3, "unet": 3, "effects": 3, "session": 3, "runner": 3, "tuner": 3,
    "finite": 3, "suspects": 3,
    # 4: the edges; siblings never import each other, but for SIBLINGS
    "webui": EDGE, "headless": EDGE, "train": EDGE, "tiny": EDGE, "cluster": EDGE,
    "cli": EDGE, "cli_tune": EDGE, "cli_parts": EDGE, "cli_lists": EDGE, "cli_output": EDGE, "__main__": EDGE,
}  # fmt: skip
SIBLINGS = {
    "__main__": {"cli"},
    "webui": {"tiny"},
    "headless": {"tiny"},
    "cli": {"headless", "train", "tiny", "cli_parts", "cli_tune", "cli_lists", "cli_output"},
    "cli_lists": {"headless", "cli_parts"},
    "cli_tune": {"headless", "cluster", "cli_parts"},
    "cli_parts": {"headless", "tiny", "cli_output"},
    "cluster": {"headless", "tiny"},
}

PURE = {"msgspec"}
ARRAYS = PURE | {"torch", "numpy", "PIL", "cv2"}
MODELS = ARRAYS | {"safetensors", "diffusers", "transformers", "typing_extensions", "psutil"}
OUTSIDE = {
    0: PURE,
    1: ARRAYS,
    2: MODELS,
    3: MODELS | {"jinja2", "markupsafe", "optuna", "filelock"},
}  # an edge may import anything else
HOST = {"modules", "gradio", "fastapi", "starlette", "launch"}  # webui alone


def place(module: str) -> tuple[str, int]:
    """The table's row for a module of the package, by its longest prefix: (name, layer)."""
    parts = module.split(".")[1:]
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in LAYERS:
            return name, LAYERS[name]
    raise LookupError(f"{module} has no place in tests/project/test_layers.py")


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
    name, layer = place(module)
    lines = []
    for target in sorted(set(imports(module, source, package=package))):
        problem = _inside(name, layer, target) if _own(target) else _outside(name, layer, target)
        if problem:
            lines.append(f"{module} imports {target}: {problem}")
    return lines


def _own(target: str) -> bool:
    return target.partition(".")[0] == PACKAGE


def _inside(name: str, layer: int, target: str) -> str | None:
    if target in (PACKAGE, f"{PACKAGE}.__version__"):
        return None
    other, other_layer = place(target)
    if other_layer > layer:
        return f"layer {layer} may not import layer {other_layer}"
    if layer == EDGE == other_layer and other != name and other not in SIBLINGS.get(name, ()):
        return f"{name} and {other} are siblings"
    return None


def _outside(name: str, layer: int, target: str) -> str | None:
    top = target.partition(".")[0]
    if top in sys.stdlib_module_names:
        return None
    if top in HOST:
        return None if name == "webui" else "only webui imports its host"
    allowed = OUTSIDE.get(layer)
    if allowed is not None and top not in allowed:
        return f"layer {layer} may only import {', '.join(sorted(allowed))}"
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
        ("spec", "import torch", "layer 0 may only import msgspec"),
        ("plan", "def f() -> None:\n    import numpy as np", "layer 0 may only import msgspec"),
        ("schedule", "from .images import fit", "layer 0 may not import layer 1"),
        ("images", "from lib_ctrlgen import store", "layer 1 may not import layer 2"),
        ("images", "import diffusers", "layer 1 may only import PIL, cv2, msgspec, numpy, torch"),
        ("controls.controlnet", "from ..session import X", "layer 2 may not import layer 3"),
        ("headless.load", "from ..webui import script", "headless and webui are siblings"),
        ("headless.load", "import gradio", "only webui imports its host"),
        ("webui.panel", "from lib_ctrlgen.cli.main import main", "webui and cli are siblings"),
    ],
)
def test_the_rules_can_fail(module: str, source: str, problem: str) -> None:
    (line,) = faults(f"{PACKAGE}.{module}", source)
    assert line.endswith(problem)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cli", "from lib_ctrlgen.headless import demo"),
        ("headless.load", "from .report import page"),
        ("webui.panel", "import gradio as gr\nfrom modules import shared"),
        ("tuner.run", "from .axes import Axis"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert faults(f"{PACKAGE}.{module}", source) == []


def test_a_module_without_a_place_fails() -> None:
    with pytest.raises(LookupError, match="no place"):
        faults(f"{PACKAGE}.newcomer", "")


def test_a_cycle_is_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b"}, "b": set()}) == []
