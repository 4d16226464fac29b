"""Non-maximum suppression: one box of several that overlap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def distinct(boxes: Array, scores: Array, most_overlap: float) -> npt.NDArray[np.intp]:
    """The rows to keep of overlapping boxes, the most certain first (non-maximum suppression).

    A box is dropped if it shares more than `most_overlap` of the area of both with a more certain one that
    is kept. Boxes [N, 4] are left, top, right and bottom in pixels, and one from 0 to 9 is 10 pixels wide, as
    in insightface and YOLOX.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    kept = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        corners = np.maximum(boxes[first, :2], boxes[rest, :2]), np.minimum(boxes[first, 2:], boxes[rest, 2:])
        common = np.prod(np.maximum(corners[1] - corners[0] + 1, 0), axis=1)
        order = rest[common / (areas[first] + areas[rest] - common) <= most_overlap]
    return np.asarray(kept, np.intp)
