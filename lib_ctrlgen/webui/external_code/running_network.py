"""Where the script titled "ControlNet" keeps the control maps of the generation that runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class RunningNetwork:
    """The object that other extensions read as `latest_network`, None between generations.

    All copies of a script share it, since ADetailer and others copy scripts.
    """

    network: Any = None
