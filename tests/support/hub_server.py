"""A server on loopback in the place of the Hugging Face Hub, which can break off and answer wrongly."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class FakeHub:
    """The files that are served, by path, and what the next answers do.

    breaks     after how many bytes each of the next answers breaks off; the later ones are whole
    ranges     whether a range of a file can be asked for
    status     another status than 200 or 206 for every answer
    linked     whether large files are redirected to the storage, with their size and SHA-256, as on the Hub
    requests   path and range of each request for a file
    """

    files: dict[str, bytes]
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 0
    linked: bool = True
    kind: str = "application/octet-stream"
    requests: list[tuple[str, str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = handler.path.removeprefix("/storage")
        content = self.files.get(path)
        if self.linked and not handler.path.startswith("/storage") and content is not None:
            self.logins.append(handler.headers.get("Authorization", ""))
            handler.send_response(302)
            handler.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            handler.send_header("Location", f"/storage{path}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        asked = handler.headers.get("Range", "")
        self.requests.append((path, asked))
        if content is None or self.status:
            handler.send_response(self.status or 404)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self._send(handler, content, asked)

    def _send(self, handler: BaseHTTPRequestHandler, content: bytes, asked: str) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", asked) if self.ranges else None
        start = int(found[1]) if found else 0
        if found and start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if found else 200)
        handler.send_header("Content-Type", self.kind)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        end = start + self.breaks.pop(0) if self.breaks else len(content)
        handler.wfile.write(content[start:end])
        handler.wfile.flush()
        handler.close_connection = True


@contextmanager
def served(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub at an address of loopback, `hub.url`, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
