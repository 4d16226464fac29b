"""Tuner jobs in the real WebUI: post one, wait for it, fetch its pictures."""

import time
import uuid
from typing import Any

import numpy as np
from PIL import Image

from tests.live.conftest import PLAIN, WebUI

ROUTE = "/ctrlgen/v1/tune"
X = {"path": "Unit 0 weight", "values": "0, 1"}


def posted(webui: WebUI, *units: Any, fields: Any = None, **tune: Any) -> Any:
    """The answer to a job, in a folder of its own unless a name is given."""
    request = {**PLAIN, "alwayson_scripts": {"CtrlGen": {"args": [{"units": list(units)}]}}, **(fields or {})}
    return webui.post(ROUTE, {"request": request, "tune": {"x": X, "name": uuid.uuid4().hex} | tune})


def waited(webui: WebUI, name: str, *states: str) -> dict[str, Any]:
    """What a job says once it is in one of these states."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        said: dict[str, Any] = webui.get(f"{ROUTE}/{name}").json()
        if said["state"] in states:
            return said
        time.sleep(0.2)
    raise TimeoutError(f"the job is {said['state']}")


def picture(webui: WebUI, name: str, file: str, folder: Any) -> Any:
    """A job's picture, and the infotext in it."""
    answer = webui.get(f"{ROUTE}/{name}/files/{file}")
    assert answer.status_code == 200
    path = folder / "cell.png"
    path.write_bytes(answer.content)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")), image.info["parameters"]
