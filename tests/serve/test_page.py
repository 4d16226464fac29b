"""The page in a browser: by mouse, by keyboard, and what must not get into it."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from lib_ctrlgen.serve.users import UsersFile
from tests.support.browser_page import shot
from tests.support.script_page import browser
from tests.support.serve_jobs import FakeModels, png, story_of
from tests.support.serve_site import Site, site_of

pytest.importorskip("fastapi", minversion="0.115", reason="test of the page: install the extra `serve`")
pytest.importorskip("gradio", minversion="6", reason="test of the page: install the extra `serve`")

EVIL = '<img src=x onerror="window.hacked=1"> ${window.hacked=1} {{x}}'


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture
def site(chromium: Any, make: Callable[..., Any], tmp_path: Path) -> Iterator[Site]:
    with site_of(chromium, make, tmp_path) as opened:
        yield opened


def fill(page: Any, **values: Any) -> None:
    for name, value in values.items():
        page.locator(f"#{name} input, #{name} textarea").first.fill(str(value))


def test_the_page_by_mouse(site: Site, tmp_path: Path) -> None:
    page = site.page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto(f"{site.url}/page/")  # leads to the login
    page.fill("#token", "wrong")
    page.click("button")
    assert "not valid" in page.inner_text("[role=alert]")
    page.fill("#token", site.tokens["anna"])
    page.click("button")
    page.wait_for_function("document.querySelector('#model input')?.value === 'ctrlgen-tiny'")
    fill(page, prompt=EVIL, width=256, height=64, steps=2, seed=5)
    page.click("#queue")
    page.wait_for_selector("#message [role=alert]")
    assert "$.width" in page.inner_text("#message")
    fill(page, width=64)
    page.click("#unit0 button >> nth=0")
    (tmp_path / "layout.png").write_bytes(png(side=64))
    page.set_input_files("#unit0_image input[type=file]", str(tmp_path / "layout.png"))
    page.wait_for_selector("#unit0_image img")
    page.click("#unit0_model input")
    page.click("ul[role=listbox] >> text=ctrlgen-tiny-edges")
    fill(page, unit0_weight="1@0, 0@0.6")
    page.click("#queue")
    page.wait_for_selector("#result img")
    shot(page, "serve-page")
    assert EVIL in page.inner_text("#jobs")
    assert page.evaluate("window.hacked") is None
    (job,) = site.service.store.listed()
    assert job.settings["units"][0]["weight"] == "1@0, 0@0.6"
    assert job.settings["units"][0]["image"].startswith("sha256:")
    source = page.get_attribute("#result img", "src")
    shown = page.request.get(f"{site.url}/{source.removeprefix('../')}")
    assert Image.open(io.BytesIO(shown.body())).getpixel((0, 0)) == (5, 0, 0)
    assert all(url.startswith((site.url, "data:", "blob:")) for url in sent)  # nothing from elsewhere
    require_hidden(site, job.id)
    page.click("#remove button, #remove")
    page.wait_for_selector("#jobs p")
    assert site.service.store.listed() == []


def require_hidden(site: Site, job: str) -> None:
    """Another user sees nothing of a job, and nobody sees anything without a token."""
    other = site.logged_in("bert")
    other.wait_for_selector("#jobs p")
    assert "No jobs yet" in other.inner_text("#jobs")
    assert other.request.get(f"{site.url}/jobs/{job}/pictures/0").status == 404
    for path in ("config", "gradio_api/info", "gradio_api/file=/etc/hostname"):
        assert site.page().request.get(f"{site.url}/page/{path}").status == 401
        assert other.request.get(f"{site.url}/page/gradio_api/file=/etc/hostname").status in (403, 404)


def test_the_page_by_keyboard(site: Site) -> None:
    page = site.page()
    page.goto(site.url)
    page.wait_for_selector("#token:focus")  # a browser may give a field its focus only after the load
    page.keyboard.type(site.tokens["anna"])
    page.keyboard.press("Enter")
    page.wait_for_selector("#model input")  # the page of the login forbids the evaluation of a text
    page.wait_for_function("document.querySelector('#model input')?.value === 'ctrlgen-tiny'")
    reach(page, "prompt")
    page.keyboard.type("slow")
    for name, value in (("width", 64), ("height", 64), ("steps", 2)):
        reach(page, name)
        page.keyboard.press("Control+a")
        page.keyboard.type(str(value))
    reach(page, "queue")
    page.keyboard.press("Enter")
    page.wait_for_selector("#jobs [role=progressbar]")
    shot(page, "serve-running")
    reach(page, "cancel")
    page.keyboard.press("Space")
    page.wait_for_selector("#jobs >> text=cancelled")
    (job,) = site.service.store.listed()
    assert job.state == "cancelled"


def reach(page: Any, name: str) -> None:
    """Press Tab until an element, or one in it, has the focus."""
    for _ in range(60):
        if page.evaluate(f"!!document.activeElement.closest('#{name}')"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} cannot be reached with Tab")


def test_a_forged_picture_reads_no_file_of_the_server(make: Callable[..., Any], tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from lib_ctrlgen.serve.program import ServerOptions, application

    users, service = UsersFile(tmp_path / "users.yaml"), make(0)
    options = ServerOptions(folder=tmp_path / "data", users=users.path)
    http = TestClient(application(service, users, FakeModels(), options), raise_server_exceptions=False)
    http.post("/login", data={"token": users.add("anna")}, follow_redirects=False)
    config = http.get("/page/config").json()
    events = config["dependencies"]
    event = next(each["id"] for each in events if len(each["inputs"]) > 10)
    (tmp_path / "own.png").write_bytes(png(side=64))
    uploaded = http.post("/page/gradio_api/upload", files={"files": ("a.png", png(side=64))}).json()[0]
    for path, count in ((str(tmp_path / "own.png"), 0), ("docs/images/panel.png", 0), (uploaded, 1)):
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        unit = ["ctrlgen-tiny-edges", picture, "none", "1"]
        data = ["p", "", "ctrlgen-tiny", 64, 64, 2, "7", 1, 1, *unit, "None", None, "none", "1", ""]
        asked = {"data": data, "fn_index": event, "session_hash": "a"}
        assert http.post("/page/gradio_api/run/predict", json=asked).status_code == (200 if count else 500)
        assert len(service.store.listed()) == count
    own_story = tmp_path / "own.yaml"
    own_story.write_text(yaml.safe_dump(story_of()))
    files = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "story_files")
    event = next(each["id"] for each in events if each["inputs"] == [files])
    forged = [{"path": str(own_story), "meta": {"_type": "gradio.FileData"}}]
    asked = {"data": [forged], "fn_index": event, "session_hash": "a"}
    assert http.post("/page/gradio_api/run/predict", json=asked).status_code == 500
    with own_story.open("rb") as stream:
        forged[0]["path"] = http.post("/page/gradio_api/upload", files={"files": stream}).json()[0]
    assert http.post("/page/gradio_api/run/predict", json=asked).status_code == 200
    assert [job.kind for job in service.store.listed()] == ["story", "run"]
