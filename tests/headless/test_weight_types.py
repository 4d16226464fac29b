"""On the tiny model the layers of style bring a reference's colour, and those of composition do not."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

RED = encode_image(Image.new("RGB", (64, 64), (220, 30, 30)))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine([tiny_folder()])


def colour(engine: Engine, *units: dict[str, Any]) -> np.ndarray:
    """The mean colour of a picture that is blue without units, [3]."""
    prompt = {"prompt": "a cross on a background", "seed": 3, "steps": 6, "width": 96, "height": 96}
    job = {"model": "ctrlgen-tiny", **prompt, "units": units}
    (picture,) = engine.generate(parse_request(job, GenerationRequest)).images
    return np.asarray(picture.convert("RGB"), float).mean((0, 1))


def test_style_brings_the_colour_and_composition_does_not(engine: Engine) -> None:
    def typed(name: str) -> np.ndarray:
        unit = {"model": "ctrlgen-tiny-ip", "image": RED, "params": {"weight_type": name}}
        return colour(engine, unit)

    plain, linear = colour(engine), typed("linear")
    assert plain[2] > plain[0] + 50, "blue"
    assert linear[0] > linear[2] + 100, "red"
    assert np.abs(typed("style transfer") - linear).max() < 30
    assert np.abs(typed("composition") - plain).max() < 30
