"""A control whose residuals are a constant, for tests of the WebUI's script."""

from typing import Any

import torch
from PIL import Image

from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.residuals import Residuals


class Pushes:
    """A control that adds a constant and remembers the calls it saw."""

    def __init__(self) -> None:
        self.calls: list[UNetCall] = []
        self.value = 1.0

    def residuals(self, call: UNetCall) -> Residuals:
        self.calls.append(call)
        b, (h, w) = call.batch, call.size
        pushed = torch.full((b, 4, h, w), self.value)
        return Residuals((pushed, pushed), pushed)

    def control_map(self, width: int, height: int) -> Image.Image:
        return Image.new("RGB", (width, height))


def hooks(unet: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules())


PICTURE = encode_image(Image.new("RGB", (8, 8), "red"))
REQUEST = {"units": [{"model": "edges", "image": PICTURE, "weight": "1 in 0..0.5"}]}
