"""What the panel says of missing files, and that it downloads them only when its button is pressed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.models import offers, published
from lib_ctrlgen.models.download import BLOCK
from lib_ctrlgen.models.running_downloads import RunningDownloads
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.hub_server import FakeHub, served

CONTENT = bytes(range(256)) * 4096  # 1 MB
WEIGHTS, MODEL = "table5_pidinet.pth", "control_v11p_sd15_canny.pth"
NAMES = (WEIGHTS, MODEL)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub with other content than the published, whose sizes and hashes are not known."""
    known = [each for each in published.published_files() if each.file in NAMES]
    found = tuple(msgspec.structs.replace(each, sha256="", bytes=len(CONTENT)) for each in known)
    for module in (offers, published):
        monkeypatch.setattr(module, "published_files", lambda: found)
    published._by_key.cache_clear()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    paths = {f"/{each.repo}/resolve/main/{each.path_in_repo}": CONTENT for each in found}
    with served(FakeHub(paths)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
    published._by_key.cache_clear()


@pytest.fixture
def box(host: FakeWebUI, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the box, in a panel that was just built."""
    fresh("panel.panel").build_panel("txt2img")
    found = fresh("panel.download_box")
    found.LOOK = 0.01
    running = RunningDownloads(pause=0)
    monkeypatch.setattr(found, "running_downloads", lambda: running)
    return found


def text_of(updates: list[Any]) -> str:
    return str(updates[1])


def titles(updates: list[Any]) -> str:
    return str(updates[3])


def test_a_choice_whose_file_is_missing_is_offered(box: Any, hub: FakeHub, tmp_path: Path) -> None:
    shown = box.missing_of("pidinet | invert", "control_v11p_sd15_canny [d14c016b]")
    area, text, button, wanted, progress = shown
    assert area["visible"] is True
    assert wanted.splitlines() == [WEIGHTS, MODEL]
    assert button == {"__type__": "generic_update", "value": "Download (2.1 MB)", "visible": True}
    for words in (
        WEIGHTS,
        "1.0 MB",
        "licence",
        hub.url,
        "models/ControlNetPreprocessor",
        "models/ControlNet.",
    ):
        assert words in text
    assert box.missing_of("canny", "None")[0]["visible"] is False
    assert box.missing_of("none", "None", f"'x': no model named 'sub/{MODEL}'; nearest: y")[3] == MODEL
    assert hub.requests == [], "nothing is downloaded before the button is pressed"
    assert progress == ""


def test_the_button_downloads_and_the_file_is_found(box: Any, hub: FakeHub, tmp_path: Path) -> None:
    shown = box.missing_of("pidinet", "None")
    *_, last = box.downloaded(titles(shown))
    assert "Downloaded" in last[0]
    assert last[1]["visible"] is False
    place = tmp_path / "models" / "ControlNetPreprocessor" / WEIGHTS
    assert place.read_bytes() == CONTENT
    assert box.missing_of("pidinet", "None")[0]["visible"] is False
    assert "here already" in text_of(box.offer_titled(WEIGHTS))


def test_it_is_cancelled_and_goes_on_later(
    box: Any, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threading import Event

    arrived, go_on = Event(), Event()
    send = hub._send

    def slow(handler: Any, content: bytes, asked: str) -> None:
        if asked:
            return send(handler, content, asked)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: 3 * BLOCK])
        handler.wfile.flush()
        arrived.set()
        go_on.wait(10)
        handler.wfile.write(content[3 * BLOCK :])
        return None

    monkeypatch.setattr(hub, "_send", slow)
    running = box.downloaded(WEIGHTS)
    first = next(running)
    assert (first[1]["visible"], first[2]["visible"]) == (False, True)
    assert arrived.wait(10)
    while " kB of 1.0 MB" not in first[0]:
        first = next(running)
    box.cancelled(WEIGHTS)
    go_on.set()
    *_, last = running
    assert "cancelled" in last[0]
    assert (last[1]["visible"], last[2]["visible"]) == (True, False)
    *_, last = box.downloaded(WEIGHTS)
    assert "Downloaded" in last[0]
    assert (tmp_path / "models" / "ControlNetPreprocessor" / WEIGHTS).read_bytes() == CONTENT
    assert hub.requests[-1][1].startswith("bytes="), "from where it was cancelled"


def test_offline_and_where_the_setting_forbids_it_nothing_is_downloaded(
    box: Any, host: FakeWebUI, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.opts.data["ctrlgen_downloads"] = False
    assert box.missing_of("pidinet", "None")[2]["visible"] is False
    assert "setting" in next(box.downloaded(WEIGHTS))[0]
    host.opts.data["ctrlgen_downloads"] = True
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shown = box.missing_of("pidinet", "None")
    assert shown[2]["visible"] is False
    assert "HF_HUB_OFFLINE is set" in text_of(shown)
    assert "HF_HUB_OFFLINE" in next(box.downloaded(WEIGHTS))[0], "also when a page asks for it all the same"
    assert hub.requests == []


def test_a_failed_download_says_why(box: Any, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status = 403
    *_, last = box.downloaded(WEIGHTS)
    assert "wants a login" in last[0]
    assert last[1]["visible"] is True
    usage = shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    hub.status = 0
    *_, last = box.downloaded(WEIGHTS)
    assert "make room" in last[0]


def test_the_preview_and_a_failed_generation_lead_to_the_box(box: Any, hub: FakeHub) -> None:
    part = {str(c.elem_id).removeprefix("ctrlgen_txt2img_unit0_"): c for c in Component.made}
    fields = unit_fields() | {"image": Image.new("RGB", (64, 64)), "preprocessor": "pidinet"}
    _, error = part["show_map"].events[0][0](64, 64, *fields.values())
    assert WEIGHTS in error
    then, options = part["show_map"].events[1]
    assert [c.elem_id for c in options["inputs"]][-1] == "ctrlgen_txt2img_unit0_map_error"
    assert titles(then("none", "None", error)) == WEIGHTS
    failed, options = part["failed"].events[0]
    assert "ctrlgen.failure('txt2img')" in options["_js"]
    assert (
        titles(failed("none", "None", f"CtrlGen: $.units[0]: the weights {WEIGHTS} are missing")) == WEIGHTS
    )
