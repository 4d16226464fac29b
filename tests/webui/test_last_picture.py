"""Units with `image_from: last`: the last picture that this process of the WebUI made."""

import json
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.unit_fields import read_request
from lib_ctrlgen.images.files import encode_image, image_hash
from tests.support.constant_control import Pushes
from tests.support.fake_webui import FakeWebUI, Processing

UNIT = {"model": "edges", "image_from": "last", "preprocessor": "invert"}
RED, BLUE, GRID = (Image.new("RGB", (16, 8), colour) for colour in ("red", "blue", "grey"))


@pytest.fixture(autouse=True)
def nothing_made(script: Any) -> Iterator[None]:
    """The state of a server that was just started."""
    last = sys.modules["lib_ctrlgen.webui.last_picture"].last_picture
    last.cache_clear()
    yield
    last.cache_clear()


def made(script: Any, *images: Image.Image, grids: int = 0) -> None:
    """A generation of any client, without a control, has ended with these pictures."""
    p = SimpleNamespace(sample=lambda: None, script_args=(0,))
    script.postprocess(p, SimpleNamespace(images=list(images), infotexts=[""], index_of_first_image=grids))


def entry(host: FakeWebUI, script: Any, unit: dict[str, Any]) -> dict[str, Any]:
    """The unit in the infotext of a generation."""
    p = Processing(host)
    host.process_images(script, p, {"units": [unit]})
    return dict(json.loads(p.extra_generation_params["CtrlGen"])["units"][0])


def test_the_unit_has_the_first_picture_of_the_last_generation(
    host: FakeWebUI, script: Any, control: Pushes
) -> None:
    made(script, RED)
    made(script, GRID, BLUE, RED, grids=1)
    made(script)  # interrupted before its first picture
    recorded = entry(host, script, UNIT)
    assert recorded["image"] == f"sha:{image_hash(BLUE)}"
    assert "image_from" not in recorded, "the infotext names the picture, not whatever is the last one later"


def test_without_a_last_picture_the_request_is_refused(host: FakeWebUI, script: Any, control: Pushes) -> None:
    with pytest.raises(RequestError, match="has made no picture") as raised:
        host.process_images(script, Processing(host), {"units": [UNIT]})
    assert raised.value.path == "$.units[0].image_from"
    off = read_request([{"units": [UNIT | {"enabled": False}]}])
    assert off.units[0].image_from == "last"


def test_a_picture_beside_it_is_refused() -> None:
    for given in ({"image": encode_image(RED)}, {"images": [encode_image(RED)]}):
        with pytest.raises(RequestError, match="has a picture, too") as raised:
            read_request([{"units": [UNIT | given]}], last=BLUE)
        assert raised.value.path == "$.units[0].image_from"
