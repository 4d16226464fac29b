"""The page of `ctrlgen product --app` in a browser, by mouse and by keyboard; nothing is trained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.projects.product.app.session import Session
from lib_ctrlgen.projects.product.history import entries
from tests.support.browser_page import shot
from tests.support.product import SHOTS, WatchedEngine, run_of, write_ball
from tests.support.script_page import browser
from tests.support.serve_jobs import wait_for

pytest.importorskip("fastapi", minversion="0.115", reason="test of the page: install the extra `serve`")
pytest.importorskip("gradio", minversion="6", reason="test of the page: install the extra `serve`")
from fastapi.testclient import TestClient

from lib_ctrlgen.projects.product.app.handlers import Handlers
from lib_ctrlgen.projects.product.app.program import application

EVIL = '<img src=x onerror="window.hacked=1"> ${window.hacked=1} {{x}}'


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ball(tmp_path_factory.mktemp("product") / "ball")


@pytest.fixture(scope="module")
def engine() -> WatchedEngine:
    return WatchedEngine()


@pytest.fixture
def opened(ball: Path, engine: WatchedEngine, tmp_path: Path) -> Callable[[], Session]:
    return lambda: Session(run_of(ball, tmp_path / "out", engine))


@contextmanager
def serving(session: Session, cache: Path, chromium: Any) -> Iterator[Any]:
    """The page in the browser, filled."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            application(session, str(cache)), port=0, log_level="warning", timeout_graceful_shutdown=1
        )
    )
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    page = chromium.new_context(viewport={"width": 1400, "height": 1500}).new_page()
    page.set_default_timeout(60_000)
    page.goto(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    page.wait_for_selector("#plan svg")
    yield page
    page.context.close()
    server.should_exit = True
    thread.join()
    session.worker.wait()


def field(page: Any, name: str) -> Any:
    return page.locator(f"#{name} input, #{name} textarea").first


def said(page: Any, place: str, text: str) -> None:
    page.wait_for_function(
        "([place, text]) => document.querySelector(place).innerText.includes(text)", arg=[place, text]
    )


def choose(page: Any, prompt: str) -> None:
    page.click("#chosen input")
    page.click(f"ul[role=listbox] >> text={prompt}")


def test_the_page_by_mouse(
    opened: Callable[[], Session], engine: WatchedEngine, chromium: Any, tmp_path: Path
) -> None:
    with serving(opened(), tmp_path, chromium) as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        before = engine.made
        field(page, "identity").fill("3")
        said(page, "#plan", "Identity: must stay within 0..2, is 3")
        page.click("#try")
        said(page, "#said", "Identity: must stay within 0..2, is 3")
        field(page, "environments").fill(f"{EVIL}\non a red background")
        field(page, "identity").fill("1>0.5 in 0.5..1")
        page.wait_for_selector("#plan svg")
        choose(page, "<img")
        said(page, "#plan", EVIL)
        page.click("#plan summary")
        said(page, "#plan", "0, 0.75")  # the first of two steps is outside the window
        assert engine.made == before
        choose(page, "on a red background")
        said(page, "#plan", "a circle on a red background")
        page.click("#try")
        page.wait_for_selector("#tried img")
        said(page, "#tried", "the threshold is known when")
        field(page, "identity").fill("0")
        page.click("#make")
        said(page, "#status", f"{SHOTS} pictures made; 2 of 2 lost the product")
        assert page.locator("#batch .lost").count() == 2
        report = page.request.get(page.locator("#batch a").evaluate("(link) => link.href"))
        assert "lost" in report.text()
        shot(page, "product-app")
        assert page.evaluate("window.hacked") is None
        own = ("data:", "blob:", page.url)
        assert all(url.startswith(own) for url in sent)  # nothing from elsewhere
    with serving(opened(), tmp_path, chromium) as page:  # as after a restart
        assert field(page, "identity").input_value() == "0"
        page.wait_for_selector("#history img")
        assert page.locator("#history img").count() == 3
        page.click("#history button:has-text('1>0.5 in 0.5..1')")
        said(page, "#said", "The settings of this picture are back.")
        assert field(page, "identity").input_value() == "1>0.5 in 0.5..1"
        assert field(page, "chosen").input_value() == "on a red background"


def test_the_page_by_keyboard(
    opened: Callable[[], Session], engine: WatchedEngine, chromium: Any, tmp_path: Path
) -> None:
    session = opened()
    with serving(session, tmp_path, chromium) as page:
        reach(page, "subject")
        page.keyboard.type("a mug")
        said(page, "#plan", "a mug on a red background")
        engine.begun.clear()
        engine.going.clear()
        reach(page, "make")
        page.keyboard.press("Enter")
        page.wait_for_selector("#status [role=progressbar]")
        assert engine.begun.wait(60)
        reach(page, "cancel")
        page.keyboard.press("Space")
        said(page, "#status", "Cancelled. What is finished stays")
        engine.going.set()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        said(page, "#status", f"{SHOTS} pictures made")
        reach(page, "history")
        page.keyboard.press("Enter")
        said(page, "#said", "are back")
    assert {each.prompt.partition(" on ")[0] for each in entries(session.out)} == {"a mug"}


def reach(page: Any, name: str) -> None:
    """Press Tab until an element, or one in it, has the focus."""
    for _ in range(60):
        if page.evaluate(f"!!document.activeElement.closest('#{name}')"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} cannot be reached with Tab")


def test_other_sites_and_other_files_get_nothing(opened: Callable[[], Session], tmp_path: Path) -> None:
    session = opened()
    (tmp_path / "secret.txt").write_text("secret")
    http = TestClient(application(session, str(tmp_path / "cache")), base_url="http://127.0.0.1")
    assert http.get("/").status_code == 200
    assert http.get("/", headers={"host": "evil.example"}).status_code == 400  # a name that leads here
    asked = {"data": [], "fn_index": 0, "session_hash": "a"}
    predict = "/gradio_api/run/predict"
    assert http.post(predict, json=asked, headers={"origin": "http://evil.example"}).status_code == 403
    assert http.post(predict, json=asked, headers={"origin": "http://127.0.0.1"}).status_code != 403
    for path in (
        "/files/../secret.txt",
        "/files/%2e%2e/secret.txt",
        f"/gradio_api/file={tmp_path}/secret.txt",
    ):
        assert http.get(path).status_code in (403, 404)


def test_a_depth_picture_is_put_behind_its_environment(opened: Callable[[], Session]) -> None:
    handlers = Handlers(opened())
    text, picture = "on a rock\nat sea | x=0.2", Image.new("RGB", (64, 64), "grey")
    message, found = handlers.with_depth(text, "at sea", picture)
    assert "at sea has this depth picture now" in message
    first, second = found.splitlines()
    assert (first, second.startswith("at sea | depth=depths/")) == ("on a rock", True)
    assert handlers.form(with_text(handlers, found)).environments[1].x == 0.2
    for chosen, given, problem in (("at sea", None, "choose a picture"), ("gone", picture, "choose the env")):
        assert problem in handlers.with_depth(text, chosen, given)[0]
    assert "has no environments" in handlers.with_depth("", "at sea", picture)[0]


def with_text(handlers: Handlers, text: str) -> list[Any]:
    from lib_ctrlgen.projects.product.app.form import FIELDS, values_of

    fields = dict(zip(FIELDS, values_of(handlers.session.form), strict=True)) | {"environments": text}
    return [fields[name] for name in FIELDS]
