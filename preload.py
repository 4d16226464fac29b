"""Command line flags of the WebUI, and the modules of sd-webui-controlnet that other extensions import.

The WebUI runs this before anything else, so nothing of CtrlGen is imported here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

# Flags of sd-webui-controlnet, without which a start script that has them would not start.
OLD_FLAGS: dict[str, dict[str, Any]] = {
    "--controlnet-dir": {"metavar": "DIR", "help": "folder with control models (also read by CtrlGen)"},
    "--controlnet-annotator-models-path": {
        "metavar": "DIR",
        "help": "folder with the weights of preprocessors (also read by CtrlGen)",
    },
    "--controlnet-loglevel": {
        "choices": ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        "help": "does nothing: CtrlGen's messages follow the WebUI's own --loglevel",
    },
    "--no-half-controlnet": {
        "action": "store_true",
        "help": "does nothing: CtrlGen computes with the U-Net's precision, see --no-half",
    },
    "--controlnet-preprocessor-cache-size": {
        "type": int,
        "help": "does nothing: CtrlGen keeps control maps within its memory limit",
    },
    "--controlnet-tracemalloc": {"action": "store_true", "help": "does nothing"},
}

# The modules of sd-webui-controlnet and of Forge's ControlNet that CtrlGen answers for, by their package.
OLD_SCRIPTS = ("external_code", "global_state", "enums", "cldm", "hook", "batch_hijack")
OLD_FOLDERS = ("extensions.sd-webui-controlnet", "extensions-builtin.sd-webui-controlnet")
OLD_MODULES = {
    "lib_controlnet": ("external_code", "global_state", "enums"),
    "scripts": OLD_SCRIPTS,
    **{f"{folder}.scripts": OLD_SCRIPTS for folder in OLD_FOLDERS},
    "internal_controlnet": ("external_code", "args"),
    "annotator": ("util",),
}


def preload(parser: argparse.ArgumentParser) -> None:
    """Add CtrlGen's flags to the WebUI's parser."""
    parser.add_argument(
        "--ctrlgen-models-path",
        action="append",
        default=[],
        metavar="DIR",
        help="another folder to look for control models in; may be given more than once",
    )
    parser.add_argument(
        "--ctrlgen-cache-gb",
        type=float,
        default=None,
        metavar="GB",
        help="how much memory the control models that stay loaded may fill, in the GPU's and in the "
        "CPU's memory each; overrides the setting (default: what the machine has to spare, at least 4)",
    )
    add_old_flags(parser, Path(__file__).absolute().parent)
    add_old_modules()


def add_old_flags(parser: argparse.ArgumentParser, own: Path) -> None:
    """Add sd-webui-controlnet's flags, so that a start script with them works without that extension.

    Flags that another extension will add, or has added, are left to it: argparse refuses a second one.
    """
    places = [*own.parent.glob("*/preload.py"), *own.parent.parent.glob("extensions-builtin/*/preload.py")]
    texts = [path.read_text("utf-8", "replace") for path in places]
    others = "\n".join(text for text in texts if "--ctrlgen-models-path" not in text)
    for flag, options in OLD_FLAGS.items():
        if f'"{flag}"' not in others and f"'{flag}'" not in others:
            with suppress(argparse.ArgumentError):
                parser.add_argument(flag, default=None, **options)


class OldModules(MetaPathFinder, Loader):
    """Finds the modules of sd-webui-controlnet in CtrlGen, where Python finds them nowhere else.

    It is the last of the finders, and so is asked only for what no file and no other extension provides. It
    imports CtrlGen when it is asked for one of its names for the first time.
    """

    def __init__(self, own: Path) -> None:
        self.own = own
        self.modules = {f"{package}.{name}" for package, names in OLD_MODULES.items() for name in names}
        self.packages = {parent for name in self.modules for parent in parents(name)}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module's spec, None for other names and where CtrlGen does not answer."""
        del path, target
        if fullname not in self.modules | self.packages or "modules.extensions" not in sys.modules:
            return None
        if not self.library("host").answers_here():
            return None
        return ModuleSpec(fullname, self, is_package=fullname in self.packages)

    def exec_module(self, module: ModuleType) -> None:
        """Put the names of a module into it; packages are empty."""
        if module.__name__ in self.modules:
            self.library("modules").fill(module)

    def library(self, name: str) -> ModuleType:
        """A module of CtrlGen, whose folder is on Python's path only while the WebUI loads its scripts."""
        before = list(sys.path)
        sys.path.append(str(self.own))
        try:
            return import_module(f"lib_ctrlgen.webui.external_code.{name}")
        finally:
            sys.path[:] = before


def parents(name: str) -> list[str]:
    """The packages that a module is in.

    >>> parents("a.b.c")
    ['a', 'a.b']
    """
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def add_old_modules() -> None:
    """Let other extensions import the modules of sd-webui-controlnet, once in a process."""
    if not any(type(finder).__name__ == OldModules.__name__ for finder in sys.meta_path):
        sys.meta_path.append(OldModules(Path(__file__).absolute().parent))
