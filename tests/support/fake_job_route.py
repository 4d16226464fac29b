"""A fake of a WebUI's tuner route over HTTP; each cell's picture is of one colour."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.tuner.axes import applied, parse_axis
from lib_ctrlgen.tuner.cells import TuneSpec, key_of
from lib_ctrlgen.tuner.scoring.catalogue import VERSION

ROUTE = "/ctrlgen/v1/tune"


def colour(payload: Any, number: int = 0) -> tuple[int, int, int]:
    """What a cell's picture shows."""
    weight = payload["units"][0]["weight"] if payload.get("units") else 1
    return int(payload["steps"]), int(100 * float(weight)), int(payload["seed"]) + number


class Jobs:
    """The jobs of one server. `dies_after` cells it answers nothing more; `pauses`: jobs stay running."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.done: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.deleted: list[str] = []
        self.made: list[tuple[int, ...]] = []
        self.dies_after: int | None = None
        self.pauses = False
        self.failure = ""
        self.auth = ""

    @property
    def dead(self) -> bool:
        return self.dies_after is not None and len(self.made) >= self.dies_after

    def post(self, body: Any) -> Any:
        self.bodies.append(body)
        name = key_of(body)
        self.done[name] = self.ran(name, body)
        return {"id": name, "cells": len(self.done[name]["cells"]), "pictures": 0}

    def ran(self, name: str, body: Any) -> Any:
        if self.failure:
            return self.status(name, "failed", [], self.failure)
        request = body["request"]
        base = {"steps": request["steps"], "seed": request["seed"], "prompt": request["prompt"]}
        base |= request["alwayson_scripts"]["CtrlGen"]["args"][0]
        tune = parse_request(body["tune"], TuneSpec)
        axis = parse_axis(tune.x.path, tune.x.values)
        cells = [self.cell(name, applied(base, axis, at), at, tune.seeds) for at in range(len(axis))]
        state = "running" if self.pauses else "done"
        return self.status(name, state, cells)

    def status(self, name: str, state: str, cells: list[Any], error: str = "") -> Any:
        found = {"id": name, "state": state, "done": len(cells), "total": len(cells), "seconds_left": None}
        return found | {"cells": cells, "recommended": None, "error": error, "scores_version": VERSION}

    def cell(self, name: str, payload: Any, at: int, seeds: int) -> Any:
        files = [f"cells/{at}-{number}.png" for number in range(seeds)]
        for number, file in enumerate(files):
            info = PngInfo()
            info.add_itxt("parameters", f"Steps: {payload['steps']}")
            stream = io.BytesIO()
            Image.new("RGB", (64, 64), colour(payload, number)).save(stream, "PNG", pnginfo=info)
            self.files[f"{name}/files/{file}"] = stream.getvalue()
        self.made.append(colour(payload))
        error = "no such sampler" if payload["steps"] == 99 else ""
        scores = {
            "scores": {"over_control": 0.25},
            "sd": {"over_control": 0.5},
            "reasons": {"prompt": "none"},
        }
        return {"coords": [at], "values": [str(at)], "files": [] if error else files, "error": error} | scores


class Handler(BaseHTTPRequestHandler):
    """Answers from `jobs`."""

    jobs: Jobs

    def log_message(self, *_args: Any) -> None:
        """Be quiet."""

    def handle(self) -> None:
        with suppress(OSError, ValueError):  # a client that is gone, a server that plays dead
            super().handle()

    def answer(self, content: Any, status: int = 200) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def allowed(self) -> bool:
        if self.jobs.dead:
            self.connection.close()
            return False
        if self.jobs.auth and self.headers.get("Authorization") != self.jobs.auth:
            self.answer({"detail": "no"}, 401)
            return False
        return True

    def do_POST(self) -> None:
        if self.allowed():
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(self.jobs.post(body), 202)

    def do_GET(self) -> None:
        if not self.allowed():
            return
        name = self.path.removeprefix(ROUTE).lstrip("/")
        found = self.jobs.files.get(name) or self.jobs.done.get(name) or ([] if not name else None)
        self.answer({"detail": "none"} if found is None else found, 404 if found is None else 200)

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        self.jobs.deleted.append(name)
        self.answer(self.jobs.done[name])


@contextmanager
def serving(jobs: Jobs) -> Iterator[str]:
    """The address of a server of these jobs, on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"jobs": jobs}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
