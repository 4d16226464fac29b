"""The routes of the tuner's report on a WebUI without `--api`, with FastAPI itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.files import png_text
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.tuner.ratings import NAME
from tests.support.fake_webui import FakeWebUI, fresh, served

KEY = "0f3a5c7e9b1d2468"
INFOTEXT = 'a chair\nSteps: 4, Sampler: Euler, Seed: 5, Size: 64x64, CtrlGen: "{}"'
RUN = "/ctrlgen/v1/tune/a grid"
HERE = {"origin": "http://testserver", "content-type": "application/json"}
FOREIGN = {"origin": "https://elsewhere.example", "content-type": "application/json"}


class Host(FakeWebUI):
    """The fake host with the real FastAPI."""

    def modules(self, folder: Path) -> dict[str, Any]:
        found = super().modules(folder)
        return {name: made for name, made in found.items() if not name.startswith("fastapi")}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "page" / "ctrlgen-tuner" / "a grid"
    (folder / "cells").mkdir(parents=True)
    (folder / "report.html").write_text("<html>")
    Image.new("RGB", (8, 8)).save(folder / "cells" / f"{KEY}-00-seed-5.png", pnginfo=png_text(INFOTEXT))
    return folder


@pytest.fixture
def app(tmp_path: Path, run: Path) -> Iterator[Any]:
    fastapi = pytest.importorskip("fastapi")
    host = Host()
    folders = {"outdir_txt2img_grids": str(tmp_path / "g"), "outdir_img2img_grids": str(tmp_path / "i")}
    host.opts.data |= {**folders, "outdir_grids": str(tmp_path / "page")}
    with served(host, tmp_path):
        vars(host.flags).update({"api": False, "nowebui": False, "api_auth": None})
        made = fastapi.FastAPI()
        made.auth, made.tokens = None, {}  # as gradio's application
        fresh("started").add_routes(None, made)
        fresh("rest").guard_api(None, made)
        fresh("tuner.plan").progress_file(run).write("done", done=1, total=1)
        yield made


@pytest.fixture
def client(app: Any) -> Any:
    return pytest.importorskip("fastapi.testclient", reason="httpx").TestClient(app)


def test_the_report_saves_without_the_api(client: Any, run: Path, tmp_path: Path) -> None:
    assert 'href="ctrlgen/v1/tune/a%20grid/files/report.html"' in link()
    assert client.get(f"{RUN}/files/report.html").text == "<html>"
    assert client.get(f"{RUN}/files/../../secret").status_code == 404
    rated = {"cells": {KEY: {"stars": 4, "at": 5}}}
    assert client.post(f"{RUN}/ratings", json=rated, headers=HERE).json()["cells"] == rated["cells"]
    assert client.get(f"{RUN}/ratings").json()["cells"] == rated["cells"]
    assert json.loads((run / NAME).read_text())["cells"] == rated["cells"]
    saved = client.post(f"{RUN}/recipe", json={"recipe": "chair", "cell": KEY}, headers=HERE)
    assert saved.json()["name"] == "chair"
    assert Library(tmp_path / "ctrlgen-recipes").names() == ["chair"]
    assert client.post(f"{RUN}/ratings", json={"cells": {"x": {}}}, headers=HERE).status_code == 422
    assert [client.get(f"/ctrlgen/v1/{path}").status_code for path in ("tune", "models")] == [404, 404]


def test_a_page_of_another_site_writes_nothing(client: Any, run: Path) -> None:
    body = json.dumps({"cells": {KEY: {"stars": 1, "at": 9}}})
    for headers in (FOREIGN, {"origin": "null", "content-type": "application/json"}):
        answer = client.post(f"{RUN}/ratings", content=body, headers=headers)
        assert (answer.status_code, "not by the WebUI's" in answer.text) == (403, True)
    plain = client.post(f"{RUN}/ratings", content=body, headers={"content-type": "text/plain"})
    assert plain.status_code == 422  # what a form of another site can send without asking
    assert not (run / NAME).exists()
    proxied = client.post(f"{RUN}/ratings", content=body, headers=FOREIGN | {"sec-fetch-site": "same-origin"})
    assert proxied.status_code == 200


def test_the_login_of_the_page_is_needed(app: Any, client: Any) -> None:
    app.auth, app.tokens = {"me": "secret"}, {"token": "me"}
    paths = (f"{RUN}/ratings", f"{RUN}/files/report.html")
    assert [client.get(path).status_code for path in paths] == [401, 401]
    assert client.get(paths[0], headers={"cookie": "access-token=other"}).status_code == 401
    assert client.get(paths[0], headers={"cookie": "access-token-unsecure=token"}).status_code == 200


def link() -> str:
    return str(fresh("tuner.report_link").report_link("txt2img"))
