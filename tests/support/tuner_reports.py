"""Reports of runs without a model, and a server that serves one as the WebUI does."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import TuneSpec, grid_of
from lib_ctrlgen.tuner.coarse import grid_tuner
from lib_ctrlgen.tuner.progress import TunerResult
from lib_ctrlgen.tuner.ratings import RatingsFile, read_body
from lib_ctrlgen.tuner.run import Tuner
from tests.support.analytic_host import PAYLOAD, AnalyticHost

X = {"path": "Weight of unit 0", "values": "0.5, 1, 1.5"}
Y = {"path": "Weight of unit 1", "values": "0.25, 0.5"}


def tuner_of(out: Path, host: AnalyticHost, **tune: Any) -> Tuner:
    """The tuner of a grid of three by two cells."""
    spec = parse_request({"x": X, "y": Y, "seeds": 2} | tune, TuneSpec)
    payload = PAYLOAD | {"prompt": "a </script><img src=x onerror=alert(1)>"}
    grid = grid_of(payload, spec, GenerationRequest)
    return grid_tuner(host, grid, out, GenerationRequest, spec.coarse)


def report_in(out: Path, host: AnalyticHost | None = None, **tune: Any) -> TunerResult:
    """Run the grid, and write its report."""
    return tuner_of(out, host or AnalyticHost(), **tune).run(lambda _progress: None)


def _saved(body: dict[str, Any]) -> tuple[int, bytes]:
    """The answer of the route that saves a cell as a recipe; a name with a slash is wrong."""
    if "/" in body["recipe"]:
        return 422, json.dumps({"detail": {"path": "$.name", "message": "it contains /"}}).encode()
    notes = [f"cell {body['cell']}, picture {body['picture']}"]
    return 200, json.dumps({"name": body["recipe"], "version": {"id": "1a2b3c4d5e"}, "notes": notes}).encode()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the report of a folder, on a server with the routes of a tuner job."""

    class Job(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/tune/job/ratings":
                self.answer(200, json.dumps(RatingsFile(folder).read().as_json).encode())
                return
            file = folder / self.path.partition("?")[0].removeprefix("/tune/job/files/")
            found = file.read_bytes() if file.is_file() else b""
            self.answer(200 if found else 404, found, "text/html" if file.suffix == ".html" else "")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/tune/job/recipe":
                self.answer(*_saved(body))
                return
            RatingsFile(folder).add(read_body(body))
            self.answer(200, b"{}")

        def answer(self, status: int, content: bytes, kind: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind or "application/octet-stream")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Job)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/tune/job/files/report.html"
    finally:
        server.shutdown()
        server.server_close()
