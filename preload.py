"""Command line flags of the WebUI. It runs this before anything else, so nothing is imported."""

from __future__ import annotations

import argparse


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
