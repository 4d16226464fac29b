"""Serves the page of one product on this computer until it is told to stop."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.projects.product.run import ProductRun

from .session import Session
from .views import FILES, STYLE

HOST = "127.0.0.1"
OWN_NAMES = [HOST, "localhost"]
FONTS = ["system-ui", "sans-serif"]  # nothing is fetched from other servers
CONNECTION_SECONDS = 2  # for open connections, when the server stops
PATIENCE = 60.0  # seconds for a task's current step
READING = {b"GET", b"HEAD", b"OPTIONS"}
LARGEST_UPLOAD = 64 << 20  # bytes


class OwnPagesOnly:
    """Refuses what the pages of other sites send: they may not start anything here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to a request that changes something and names another site as its origin."""
        headers = dict(scope.get("headers", ()))
        origin = headers.get(b"origin", b"").decode("latin-1")
        host = headers.get(b"host", b"").decode("latin-1")
        changes = scope["type"] == "http" and scope["method"].encode() not in READING
        if changes and origin and urlsplit(origin).netloc != host:
            await PlainTextResponse("not from this page", status_code=403)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def application(session: Session, cache: str) -> Any:
    """The application; uploads are kept in the folder `cache`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = cache
    import gradio

    from .handlers import Handlers
    from .layout import build_page

    app = FastAPI(openapi_url=None)
    app.add_middleware(OwnPagesOnly)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=OWN_NAMES)
    app.mount(FILES, StaticFiles(directory=session.out), "files")
    page = build_page(Handlers(session))
    page.has_launched = True  # or gradio does not check that a picture's path is an upload
    return gradio.mount_gradio_app(
        app,
        page,
        path="/",
        allowed_paths=[str(session.out)],
        max_file_size=LARGEST_UPLOAD,
        show_error=False,
        footer_links=[],
        ssr_mode=False,
        theme=gradio.themes.Default(font=FONTS, font_mono=["monospace"]).set(
            block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300"
        ),
        css=STYLE,
    )


def serve_app(run: ProductRun, port: int) -> None:
    """Serve the page of a run until Ctrl-C. Raises HostError if the port is taken, and RequestError."""
    with socket.socket() as listening, TemporaryDirectory(prefix="ctrlgen-page-") as cache:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            text = f"cannot listen on {HOST}:{port}: {error.strerror or error}"
            raise HostError(f"{text}; choose another port with --port") from error
        session = Session(run)
        app = application(session, cache)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=CONNECTION_SECONDS
        )
        run.tell(f"the page is at http://{HOST}:{listening.getsockname()[1]} (Ctrl-C ends it)")
        try:
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            session.worker.cancel()
            session.worker.wait(PATIENCE)
