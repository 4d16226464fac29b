"""A stranger's first minutes with the real WebUI: the example of docs/rest.md, bodies that are wrong, NaN."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image, ImageDraw

from tests.live.conftest import DEPTH, EDGES, PICTURE, PLAIN, Answer, WebUI

pytestmark = pytest.mark.live
REST = Path(__file__).resolve().parents[2] / "docs" / "rest.md"


def test_the_example_of_the_readme_makes_a_circle(
    webui: WebUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(import base64\n.*?)```", REST.read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(requests, "post", webui.session.post)
    exec(code.replace("http://127.0.0.1:7860", webui.url), {})
    made = np.asarray(Image.open("circle.png").convert("RGB")).astype(int)
    truth = Image.new("1", made.shape[1::-1])
    ImageDraw.Draw(truth).ellipse((24, 34, 84, 94), fill=1)
    red, green, _ = np.moveaxis(made, 2, 0)
    found, wanted = red > green, np.asarray(truth)
    assert (found & wanted).sum() / (found | wanted).sum() > 0.8


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"units": [EDGES]}, "$.alwayson_scripts.CtrlGen.units"),
        ({"args": {"units": [EDGES]}}, "$.alwayson_scripts.CtrlGen.args"),
        ({"args": None}, "$.alwayson_scripts.CtrlGen.args"),
        (None, "$.alwayson_scripts.CtrlGen"),
        ({"args": [{"units": [EDGES]}, True]}, "$.alwayson_scripts.CtrlGen.args[1]"),
    ],
    ids=str,
)
@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_nothing_that_is_said_to_us_is_ignored(webui: WebUI, tab: str, entry: Any, path: str) -> None:
    body = PLAIN | {"alwayson_scripts": {"CtrlGen": entry}, "init_images": [EDGES["image"]]}
    response = webui.post(f"/sdapi/v1/{tab}", body)
    assert response.status_code == 422
    assert response.json()["detail"]["path"] == path


@pytest.mark.parametrize("body", [{"CtrlGen": {}}, {"script_name": "CtrlGen X/Y tuner"}], ids=str)
def test_a_body_in_another_form_is_refused(webui: WebUI, body: Any) -> None:
    assert webui.post("/sdapi/v1/txt2img", PLAIN | body).status_code == 422


def test_a_body_in_chunks_arrives(webui: WebUI) -> None:
    response = webui.session.post(
        webui.url + "/sdapi/v1/txt2img",
        data=iter([b'{"alwayson_scripts": {"Ctrl', b'Gen": {"units": []}}}']),
        headers={"content-type": "application/json"},
        timeout=600,
    )
    assert response.json()["detail"]["path"] == "$.alwayson_scripts.CtrlGen.units"


@pytest.mark.parametrize(
    "fields", [{}, {"sampler_name": "DDIM", "batch_size": 2}, {"prompt": "a AND b"}], ids=str
)
def test_a_unit_that_is_not_finite_is_named(
    webui: WebUI, damaged: str, plain: Answer, fields: dict[str, Any]
) -> None:
    answer = webui.generate(PICTURE, EDGES | {"model": damaged}, DEPTH, **fields)
    assert answer.status == 422
    assert answer.images == []
    assert answer.detail["path"] == "$.units[1]"
    assert damaged in answer.detail["message"]
    assert webui.generate().same(plain)
