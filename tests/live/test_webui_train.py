"""Trainings in the real WebUI: over REST and by the tab; what is trained acts there as headless.

Needs the folder of the WebUI (CTRLGEN_WEBUI_ROOT), and playwright with a Chromium for the tab. What these
tests train begins with `live-train` and is removed at the end.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image, ImageDraw

from tests.live.conftest import PLAIN, WebUI, close, encoded
from tests.support.browser_page import opened_page, shot

pytestmark = pytest.mark.live

NAME, BY_TAB = "live-train-mug", "live-train-tab"
QUICK = {"resolution": 64, "save_every": 2, "validate_every": 10, "preview_steps": 2, "rank": 4, "lr": 0.003}
TAB = "#ctrlgen_train_"


def view(number: int) -> Image.Image:
    """A view of the object: a striped ball."""
    picture = Image.new("RGB", (96, 96), (240 - number * 20, 240, 200))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((16 + number * 4, 16, 72 + number * 4, 72), fill=(200, 30, 30 + number * 20))
    for column in range(0, 96, 8):
        draw.line((column, 0, column + number * 5, 96), fill=(10, 10, 120))
    return picture


@pytest.fixture(scope="module")
def routes(webui: WebUI, webui_root: Path) -> Iterator[str]:
    address = f"{webui.url}/ctrlgen/v1/train"
    removed(address, webui_root)
    yield address
    removed(address, webui_root)


def removed(address: str, root: Path) -> None:
    """Stop and remove what these tests have trained, also before a run that follows a killed one."""
    for each in requests.get(address, timeout=60).json():
        if each["name"].startswith("live-train"):
            requests.post(f"{address}/{each['name']}/stop", timeout=60)
            awaited(address, each["name"], lambda state: state["state"] in ENDED)
            requests.delete(f"{address}/{each['name']}", timeout=60)
    for file in (root / "models" / "Lora").glob("live-train*"):
        file.unlink()
    shutil.rmtree(root / "ctrlgen-training-pictures" / NAME, ignore_errors=True)


ENDED = frozenset({"stopped", "failed", "finished"})


def awaited(address: str, name: str, wanted: Callable[[Any], bool], limit: float = 300) -> Any:
    """The state of a training when it is as wanted."""
    deadline = time.monotonic() + limit
    while True:
        state = requests.get(f"{address}/{name}", timeout=60).json()
        if wanted(state):
            return state
        assert time.monotonic() < deadline, state
        time.sleep(0.3)


def answered(answer: requests.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def process_of(root: Path, name: str) -> int:
    return int(json.loads((root / "ctrlgen-training" / name / "job.json").read_text("utf-8"))["process"])


def test_a_training_over_rest_is_checked_stopped_killed_and_finished(routes: str, webui_root: Path) -> None:
    pictures = [{"image": encoded(view(number)), "caption": "a mug"} for number in range(4)]
    body = {"name": NAME, "kind": "lora", "base": "ctrlgen-tiny", "pictures": pictures, **QUICK, "steps": 60}
    cost = answered(requests.post(f"{routes}/check", json={**body, "install": True}, timeout=900))["cost"]
    assert cost["seconds"] > 0
    assert cost["bytes"] > 0
    one = f"{routes}/{NAME}"
    assert requests.get(one, timeout=60).status_code == 404, "a check starts nothing"
    assert answered(requests.post(routes, json=body, timeout=60), 202)["state"] in ("starting", "training")
    assert requests.post(routes, json={**body, "name": f"{NAME}2"}, timeout=60).status_code == 409
    awaited(routes, NAME, lambda state: state["step"] >= 3)
    answered(requests.post(f"{one}/stop", timeout=60))
    stopped = awaited(routes, NAME, lambda state: state["state"] in ENDED)
    assert (stopped["state"], stopped["step"] < 60) == ("stopped", True)
    answered(requests.post(f"{one}/resume", timeout=60))
    awaited(routes, NAME, lambda state: state["step"] > stopped["step"])
    os.kill(process_of(webui_root, NAME), signal.SIGKILL)
    killed = awaited(routes, NAME, lambda state: state["state"] in ENDED)
    assert killed["state"] == "failed"
    assert "resuming goes on from the last checkpoint" in killed["error"]
    answered(requests.post(f"{one}/resume", timeout=60))
    done = awaited(routes, NAME, lambda state: state["state"] in ENDED)
    assert (done["state"], done["step"], done["error"]) == ("finished", 60, "")
    preview = requests.get(f"{one}/files/{done['previews'][0]}", timeout=60)
    assert preview.headers["content-type"] == "image/png"
    assert "<html" in requests.get(f"{one}/files/report.html", timeout=60).text.lower()
    for path in ("checkpoint.pt", "../job.json", "..%2Fjob.json"):
        assert requests.get(f"{one}/files/{path}", timeout=60).status_code == 404


def test_what_was_trained_acts_in_the_webui_as_headless(
    routes: str, webui: WebUI, webui_root: Path, plain: Any
) -> None:
    from lib_ctrlgen.headless.engine import Engine
    from lib_ctrlgen.request.spec import GenerationRequest, parse_request

    assert answered(requests.get(f"{routes}/{NAME}", timeout=60))["state"] == "finished", "the test before"
    prompt = f"{PLAIN['prompt']} <lora:{NAME}:1>"
    made = webui.generate(prompt=prompt)
    assert made.status == 200
    assert int(np.abs(made.images[0].astype(int) - plain.images[0].astype(int)).max()) > 8
    models = webui_root / "models"
    engine = Engine([models / "Stable-diffusion", models / "Lora"])
    payload = {("sampler" if key == "sampler_name" else key): value for key, value in PLAIN.items()}
    request = parse_request({**payload, "prompt": prompt, "model": "ctrlgen-tiny"}, GenerationRequest)
    assert close(made.images[0], np.asarray(engine.generate(request).images[0]))
    assert webui.generate().same(plain)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"pictures": "/etc"}, "$.pictures"),
        ({"pictures": "../models"}, "$.pictures"),
        ({"base": "no such"}, "$.base"),
        ({"name": "../out"}, "$.name"),
        ({"out": "/tmp/x.safetensors"}, "$.out"),
        ({"rank": 0}, "$.rank"),
        ({"token": "sks"}, "$.token"),
        ({"masks": "/root"}, "$.masks"),
    ],
)
def test_mistakes_are_told_with_their_place(routes: str, webui_root: Path, change: Any, path: str) -> None:
    folder = webui_root / "ctrlgen-training-pictures" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    view(0).save(folder / "view.png")
    body = {"name": f"{NAME}-wrong", "kind": "lora", "base": "ctrlgen-tiny", "pictures": NAME, **change}
    answer = answered(requests.post(routes, json=body, timeout=60), 422)
    assert answer["detail"]["path"] == path
    assert not list((webui_root / "ctrlgen-training").glob("*-wrong")), "nothing is left"


def test_an_embedding_is_a_word_of_the_webui_at_once(routes: str, webui: WebUI, webui_root: Path) -> None:
    name = "live-train-word"
    fields = {key: value for key, value in QUICK.items() if key != "rank"} | {"lr": 0.05, "vectors": 2}
    pictures = [encoded(view(number)) for number in range(3)]
    body = {"name": name, "kind": "textual-inversion", "base": "ctrlgen-tiny", "pictures": pictures, **fields}
    answered(requests.post(routes, json={**body, "initial": "red circle", "steps": 6}, timeout=60), 202)
    done = awaited(routes, name, lambda state: state["state"] in ENDED)
    assert (done["state"], done["error"]) == ("finished", "")
    try:
        assert f'TI hashes: "{name}: ' in webui.infotext(webui.generate(prompt=name))
    finally:
        (webui_root / "embeddings" / f"{name}.safetensors").unlink()


def test_the_tab_trains_and_a_reload_keeps_the_training(
    routes: str, webui_root: Path, webui_url: str, tmp_path: Path
) -> None:
    pictures = tmp_path / "views"
    pictures.mkdir()
    for number in range(4):
        view(number).save(pictures / f"{number}.png")
    with opened_page(webui_url) as page:
        page.set_default_timeout(120_000)
        open_tab(page)
        for name, value in {"name": BY_TAB, "captions": "a mug", "pictures": str(pictures)}.items():
            page.fill(f"{TAB}{name} textarea, {TAB}{name} input", value)
        for name, value in {"resolution": "64", "steps": "3000", "rank": "4"}.items():
            page.fill(f"{TAB}{name} input", value)
        assert page.is_disabled(f"{TAB}start")
        page.click(f"{TAB}check")
        page.wait_for_selector(f"{TAB}cost .ctrlgen-cost", timeout=300_000)
        page.wait_for_selector(f"{TAB}start:not([disabled])")
        shot(page, "train-cost")
        page.click(f"{TAB}start")
        page.wait_for_selector(
            f"{TAB}state [data-live='1'] progress[value]:not([value='0'])", timeout=300_000
        )
        page.wait_for_selector(f"{TAB}previews img", timeout=120_000)
        shot(page, "train-running")
        process = process_of(webui_root, BY_TAB)
        page.click(
            "#footer a:has-text('Reload UI'), .versions ~ a:has-text('Reload UI'), a:has-text('Reload UI')"
        )
        time.sleep(5)
        awaited_answer(routes)
    with opened_page(webui_url) as page:
        page.set_default_timeout(120_000)
        open_tab(page)
        page.wait_for_selector(f"{TAB}state [data-live='1']", timeout=120_000)
        assert process_of(webui_root, BY_TAB) == process
        page.click(f"{TAB}stop")
        page.wait_for_selector(f"{TAB}state [data-live='0']", timeout=300_000)
        assert "It was stopped" in page.inner_text(f"{TAB}state")
        page.wait_for_selector(f"{TAB}resume:not([disabled])")
        assert quiet(page), "nothing asks the server while no training runs"
        shot(page, "train-stopped")
        page.click(f"{TAB}remove")
        page.wait_for_function(
            "name => !document.querySelector(`#ctrlgen_train_state`).innerText.includes(name)", arg=BY_TAB
        )


def open_tab(page: Any) -> None:
    """Open the tab, and wait for its first look."""
    page.click("#tabs > .tab-nav button:has-text('CtrlGen Train')")
    page.wait_for_selector(f"{TAB}state [data-live]")


def quiet(page: Any) -> bool:
    """Whether no request is sent for some seconds."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.wait_for_timeout(5_000)
    return not [url for url in sent if "/run/" in url or "/queue/" in url or "ctrlgen" in url]


def awaited_answer(address: str) -> None:
    """Wait until the WebUI answers again after a reload."""
    for _ in range(120):
        try:
            if requests.get(address, timeout=10).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(1)
    pytest.fail("the WebUI does not answer after the reload")
