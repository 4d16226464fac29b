"""Preprocessors with an environment of their own in the WebUI: the setting, and what Interrupt does."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.preprocessors.isolated import running
from lib_ctrlgen.preprocessors.isolated.terms import terms_here
from tests.support import control_files as files
from tests.support.constant_control import REQUEST, Pushes
from tests.support.fake_webui import FakeWebUI, Processing, fresh
from tests.support.fake_worker import FACES, FAKE_MESH, worker

SETTING = "ctrlgen_install_environments"
BODY = {"preprocessor": "mediapipe_face", "image": encode_image(files.picture(40, 24))}
SLEEPS = FACES.replace("import fake_mesh", "import time").replace(
    "return fake_mesh.found(header, data)", "time.sleep(60)"
)


def post(body: Any, stays: int = 10_000) -> Any:
    """The answer of the route `detect` to a client that hangs up after some looks."""
    looks = iter(range(stays))

    async def stream() -> Any:
        yield json.dumps(body).encode()

    async def is_disconnected() -> bool:
        return next(looks, None) is None

    client = SimpleNamespace(stream=stream, is_disconnected=is_disconnected)
    return asyncio.run(fresh("detect").detect(client))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path / "own"))


def test_the_error_names_the_command_and_the_setting(host: FakeWebUI, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"preprocessors install mediapipe --yes, or switch on") as raised:
        post(BODY)
    assert raised.value.path == "$.preprocessor"
    rows = {each["name"]: each["environment"] for each in fresh("api").preprocessors()["preprocessors"]}
    assert rows["mediapipe_face"] == {"name": "mediapipe", "installed": False}
    assert rows["mobile_sam"] is None
    assert not (tmp_path / "own").exists()


def test_the_setting_is_consent_and_only_the_user_can_give_it(
    host: FakeWebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(running, "_install", lambda environment: asked.append(environment.name))
    fresh("settings").register_settings()
    option = host.opts.data_labels[SETTING]
    assert option.restrict_api
    with pytest.raises(RequestError):
        post(BODY)
    assert asked == []
    host.opts.data[SETTING] = True
    with pytest.raises(RequestError):  # nothing was installed really
        post(BODY)
    assert asked == ["mediapipe"]


def test_a_face_mesh_over_rest(host: FakeWebUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FACES.replace("import fake_mesh", FAKE_MESH).replace("fake_mesh.", "")
    made = worker(tmp_path, text)
    monkeypatch.setattr("lib_ctrlgen.preprocessors.mediapipe_face.worker_of", lambda *_: made)
    (image,) = post({**BODY, "params": {"max_faces": 2, "resolution": 256}})["images"]
    assert image.startswith("data:image/png")
    with pytest.raises(RequestError, match=r"max_faces"):
        post({**BODY, "params": {"max_faces": 11}})
    made.stop()


def test_a_client_that_hangs_up_ends_the_process(
    host: FakeWebUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = worker(tmp_path, SLEEPS)
    monkeypatch.setattr("lib_ctrlgen.preprocessors.mediapipe_face.worker_of", lambda *_: made)
    monkeypatch.setattr("lib_ctrlgen.webui.detect.LOOKED_AT", 0.01)
    with pytest.raises(HostError, match="the worker of fake was cancelled"):
        post(BODY, stays=3)
    assert made.pid is None


def test_interrupt_cancels_what_a_generation_waits_for(host: FakeWebUI, script: Any, control: Pushes) -> None:
    host.opts.data[SETTING] = True
    seen = []

    def step(_step: Any) -> None:
        seen.append((terms_here().installs, terms_here().cancelled()))
        host.state.interrupted = True

    host.process_images(script, Processing(host, on_step=step), REQUEST)
    assert seen[:2] == [(True, False), (True, True)]
    assert terms_here().installs is False, "only during the generation"
