"""A server with its pages on a free port, and a browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from lib_ctrlgen.serve.users import UsersFile
from tests.support.serve_jobs import FakeModels, wait_for


class Site:
    """A server with the page on a free port, and a browser."""

    def __init__(self, service: Any, browser: Any, url: str, tokens: dict[str, str]) -> None:
        self.service, self.browser, self.url, self.tokens = service, browser, url, tokens

    def page(self, **options: Any) -> Any:
        context = self.browser.new_context(viewport={"width": 1400, "height": 1100}, **options)
        page = context.new_page()
        page.set_default_timeout(30_000)
        return page

    def logged_in(self, user: str) -> Any:
        page = self.page()
        page.goto(self.url)
        page.fill("#token", self.tokens[user])
        page.click("button")
        page.wait_for_selector("#queue")
        page.wait_for_function("document.querySelector('#model input')?.value === 'ctrlgen-tiny'")
        return page


@contextmanager
def site_of(chromium: Any, make: Callable[..., Any], folder: Path) -> Iterator[Site]:
    """A server with a fast fake engine, within the block."""
    import uvicorn

    from lib_ctrlgen.serve.program import ServerOptions, application

    users = UsersFile(folder / "users.yaml")
    tokens = {name: users.add(name) for name in ("anna", "bert")}
    service = make(1, side=128)
    service.start()
    options = ServerOptions(folder=folder / "data", users=users.path)
    app = application(service, users, FakeModels(), options)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Site(service, chromium, f"http://127.0.0.1:{port}", tokens)
    server.should_exit = True
    thread.join()
