"""Warns of detectors that find nothing, where control maps are made without a generation.

In a generation, `session.blank_maps` warns of every blank map.
"""

from __future__ import annotations

import numpy as np

from lib_ctrlgen.request.notices import Notices

from .chain import PreprocessorChain
from .detection import Detection


def note_blank(chain: PreprocessorChain, found: Detection, path: str, notices: Notices) -> None:
    """Add a warning at a picture's path if the map that detectors made of it has one colour everywhere."""
    pixels = np.asarray(found.map)
    looked = chain.detects or found.pose is not None
    if looked and (pixels.min((0, 1)) == pixels.max((0, 1))).all():
        message = f"the control map has one colour: {chain.label!r} finds nothing in the picture"
        notices.add(path, f"{message} (look at its parameters)")
