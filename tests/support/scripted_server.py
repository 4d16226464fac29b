"""An HTTP server that does with each request what the test says: answer, hang up at some phase, or wait."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

END = b"\r\n\r\n"


@dataclass
class Received:
    """A request as it arrived: as far as it was read."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Act = Callable[["Talk"], None]


@dataclass
class Talk:
    """One connection of the server."""

    socket: socket.socket
    server: "Scripted"

    def head(self) -> tuple[str, dict[str, str], bytes]:
        data = b""
        while END not in data:
            part = self.socket.recv(4096)
            if not part:
                raise ConnectionError("the client hung up")
            data += part
        head, _, rest = data.partition(END)
        line, *lines = head.decode().split("\r\n")
        return line, {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}, rest

    def read(self) -> Received:
        """The whole request, which counts as received."""
        line, headers, body = self.head()
        while len(body) < int(headers.get("content-length", 0)):
            body += self.socket.recv(1 << 16)
        self.server.received.append(Received(line, headers, body))
        return self.server.received[-1]

    def send(self, status: int, content: bytes, kind: str, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
        lines += ["Connection: close", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
        self.socket.sendall("\r\n".join(lines).encode() + END + content)

    def reset(self) -> None:
        """Hang up at once, with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@dataclass
class Scripted:
    """What is done with each connection in turn; the last act is done with all others, too."""

    acts: list[Act]
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    tls: ssl.SSLContext | None = None
    released: threading.Event = field(default_factory=threading.Event)

    def serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connected, _ = listening.accept()
            except OSError:
                return
            act = self.acts[min(self.connections, len(self.acts) - 1)]
            self.connections += 1
            threading.Thread(target=self.handle, args=(act, connected), daemon=True).start()

    def handle(self, act: Act, connected: socket.socket) -> None:
        with suppress(OSError):
            if self.tls is not None:
                connected = self.tls.wrap_socket(connected, server_side=True)
            with connected:
                act(Talk(connected, self))


def answers(content: Any, status: int = 200, kind: str = "application/json", **headers: str) -> Act:
    """Read the request, and answer: JSON types, or bytes as they are."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()

    def act(talk: Talk) -> None:
        talk.read()
        talk.send(status, data, kind, **headers)

    return act


def routed(**routes: Act) -> Act:
    """Acts by the last part of the path, which may have a query; `other` for all others.

    An act of a route gets the talk after its request was received.
    """

    def act(talk: Talk) -> None:
        received = talk.read()
        name = received.path.partition("?")[0].rstrip("/").rpartition("/")[2].replace("-", "_")
        routes.get(name, routes.get("other", answers({"detail": "Not Found"}, 404)))(Replay(talk))

    return act


class Replay(Talk):
    """A talk whose request was received already."""

    def __init__(self, talk: Talk) -> None:
        super().__init__(talk.socket, talk.server)

    def read(self) -> Received:
        return self.server.received[-1]


def in_turn(*acts: Act) -> Act:
    """One act after another, the last one for good."""
    left = list(acts)

    def act(talk: Talk) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(talk)

    return act


def hangs_up_at_once(talk: Talk) -> None:
    """Hang up when the first byte arrives; before that, the client could not have connected."""
    talk.socket.recv(1, socket.MSG_PEEK)
    talk.reset()


def hangs_up_in_the_body(talk: Talk) -> None:
    line, headers, body = talk.head()
    talk.server.received.append(Received(line, headers, body))
    talk.reset()


def hangs_up_before_the_answer(talk: Talk) -> None:
    talk.read()


def hangs_up_in_the_answer(talk: Talk) -> None:
    talk.read()
    talk.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


def never_answers(talk: Talk) -> None:
    talk.read()
    talk.server.released.wait(10)


@contextmanager
def scripted(*acts: Act, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, Scripted]]:
    """The address of such a server on loopback, and the server."""
    server = Scripted(list(acts), tls=tls)
    listening = socket.create_server(("127.0.0.1", port))
    threading.Thread(target=server.serve, args=(listening,), daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}", server
    finally:
        server.released.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
