"""Where the script titled "ControlNet" keeps the control maps of the generation that runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .arguments import find_cn_script


@dataclass
class RunningNetwork:
    """The object that other extensions read as `latest_network`, None between generations.

    All copies of a script share it, since ADetailer and others copy scripts.
    """

    network: Any = None


def publish(p: Any, network: Any) -> None:
    """Let other extensions read `network` on the generation's script titled "ControlNet"; None ends that."""
    script = find_cn_script(getattr(p, "scripts", None))
    running = getattr(script, "running_network", None)
    if running is not None:
        running.network = network
