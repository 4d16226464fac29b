"""Command line flags of the WebUI. It runs this before anything else, so nothing is imported."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
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
        "help": "level of CtrlGen's log",
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
