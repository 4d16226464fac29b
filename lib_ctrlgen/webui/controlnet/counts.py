"""How many units for ControlNet a request may have, and how many sd-webui-controlnet's setting names."""

from __future__ import annotations

from modules import shared

from lib_ctrlgen.compat.settings import UNITS

LEAST_UNITS = 10  # arguments, so that a client may send more units than the setting says


def argument_count() -> int:
    """The number of the script's arguments."""
    return max(LEAST_UNITS, unit_count())


def unit_count() -> int:
    """The number of units that sd-webui-controlnet's setting names, 3 without it."""
    given = shared.opts.data.get(UNITS, 3)
    return max(1, int(given)) if isinstance(given, (int, float)) else 3
