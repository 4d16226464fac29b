"""Serves an application on a free port of loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from tests.support.serve_jobs import wait_for


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of the application, within the block."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
