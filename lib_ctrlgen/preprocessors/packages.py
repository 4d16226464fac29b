"""Imports the packages that only some preprocessors need, at their first use.

`import controlnet_aux` imports all its detectors, and fails if one of their dependencies is missing or too
new (torchvision, mediapipe, timm). `detector_file` imports a single file of it, and none of the `__init__.py`
above that file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from lib_ctrlgen.errors import ModelError, quoted

PACKAGE, VERSION = "controlnet_aux", "0.0.10"
ALIAS = (
    "ctrlgen_controlnet_aux"  # the package's name here, so that another import of it gets the whole package
)
# The names under which pip knows packages that are imported under another name.
ON_PIP = {
    PACKAGE: f"controlnet-aux=={VERSION}",
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
}


def detector_file(name: str) -> Any:
    """A file of controlnet_aux, as a module: `hed` or `normalbae.nets.NNET`.

    Raises ModelError with the command that installs what is missing.
    """
    folder = _folder()
    above = name.split(".")[:-1]
    for depth in range(len(above) + 1):
        _register_bare(".".join([ALIAS, *above[:depth]]), folder.joinpath(*above[:depth]))
    return imported(f"{ALIAS}.{name}", needed_by=f"{PACKAGE}/{name.replace('.', '/')}")


@contextmanager
def own_modules(*packages: str) -> Iterator[None]:
    """Inside, `import` finds no other package of these names, and what it imports is forgotten afterwards.

    For files of controlnet_aux that import their neighbours under a name without its own in front of it.
    """

    def named() -> dict[str, ModuleType]:
        return {name: each for name, each in sys.modules.items() if name.partition(".")[0] in packages}

    before = named()
    for name in before:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in named():
            del sys.modules[name]
        sys.modules.update(before)


def imported(module: str, needed_by: str = "") -> Any:
    """A module of another package. Raises ModelError if its import fails in any way.

    `needed_by` names the file that imports it, for the message.
    """
    try:
        return import_module(module)
    except Exception as error:  # packages that do not fit each other raise every kind of error
        raise _failed(needed_by or module, error) from error


@contextmanager
def building(what: str) -> Iterator[None]:
    """Turn an error of a network's construction, which may import packages, into a ModelError."""
    try:
        yield
    except Exception as error:
        raise _failed(f"{PACKAGE}/{what}", error) from error


def _failed(what: str, error: Exception) -> ModelError:
    if isinstance(error, ModuleNotFoundError) and error.name:
        missing = error.name.partition(".")[0].replace(ALIAS, PACKAGE)  # another version lacks a file
        whose = "" if missing == what else f" (imported by {what})"
        return ModelError(
            f"this preprocessor needs the package {missing}{whose}, which is not installed: "
            f"{_install(missing)}"
        )
    reason = " ".join(str(error).split())[:160]
    return ModelError(f"{what} cannot be imported: {type(error).__name__}: {reason}")


def _install(package: str) -> str:
    """The advice to install a package alone, so that pip changes no other one."""
    name = ON_PIP.get(package, package)
    return f"install it with {quoted(sys.executable)} -m pip install --no-deps {name}"


def _folder() -> Path:
    """The folder of controlnet_aux, found without importing it. Raises ModelError."""
    try:
        spec = find_spec(PACKAGE)
    except ValueError:  # something else took its place in sys.modules
        spec = None
    places: Sequence[str] = (spec.submodule_search_locations if spec else None) or ()
    if not places:
        raise _failed(PACKAGE, ModuleNotFoundError(name=PACKAGE))
    return Path(places[0])


def _register_bare(name: str, folder: Path) -> None:
    """Register a package that finds its files in a folder and has nothing of its own."""
    if name not in sys.modules:
        bare = ModuleType(name)
        bare.__path__ = [str(folder)]
        sys.modules[name] = bare
