"""Headless requests whose control image has a hole."""

from typing import Any

import torch
from PIL import Image

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support.pictures import holed

CPU = Place(device=torch.device("cpu"), dtype=torch.float16)


def request(name: str, image: Image.Image | None = None, **fields: Any) -> GenerationRequest:
    whole = {key: fields.pop(key) for key in ("sampler", "steps", "seed") if key in fields}
    picture = encode_image(holed() if image is None else image)
    item = {"model": "ctrlgen-tiny-edges", "image": picture, "preprocessor": name, **fields}
    payload = {"prompt": "a red star", "width": 64, "height": 64, "steps": 3, "sampler": "DDIM", **whole}
    return parse_request({**payload, "units": [item]}, GenerationRequest)
