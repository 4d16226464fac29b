"""The routes of trainings in a real WebUI with `--api-auth`: nothing works without the login.

Needs the login as USER:PASSWORD in CTRLGEN_WEBUI_AUTH, the folder of the WebUI (CTRLGEN_WEBUI_ROOT), and the
packages of trainings, or the setting that lets clients install them.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image, ImageDraw

from tests.live.conftest import encoded, login

pytestmark = pytest.mark.live

NAME = "live-login"
PREFIX = "/ctrlgen/v1/train"
DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
ENDED = frozenset({"stopped", "failed", "finished"})


def routes() -> list[tuple[str, str]]:
    """The methods and paths of all routes of trainings, as the OpenAPI document lists them."""
    paths = json.loads(DOCUMENT.read_text("utf-8"))["paths"]
    return [(method, path) for path, each in paths.items() if path.startswith(PREFIX) for method in each]


def body(**fields: Any) -> dict[str, Any]:
    """A short training of an embedding."""
    pictures = []
    for number in range(3):
        picture = Image.new("RGB", (96, 96), (240 - number * 40, 240, 200))
        ImageDraw.Draw(picture).ellipse((16, 16 + 8 * number, 72, 72), fill=(200, 30, 30 + number * 40))
        pictures.append(encoded(picture))
    quick = {"resolution": 64, "steps": 500, "save_every": 1, "validate_every": 0, "preview_steps": 1}
    return {
        "name": NAME,
        "kind": "textual-inversion",
        "base": "ctrlgen-tiny",
        "pictures": pictures,
        **quick,
        **fields,
    }


class Server:
    """The WebUI, asked with its login or with another one."""

    def __init__(self, url: str) -> None:
        self.url, self.login = url, login()

    def ask(self, method: str, path: str, auth: Any = None, **options: Any) -> requests.Response:
        """An answer, without a login unless `auth` is one."""
        session = requests.Session()
        session.trust_env = False
        return session.request(method, self.url + path, auth=auth, timeout=900, **options)

    def known(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The answer to who has the login, as JSON."""
        answer = self.ask(method, path, self.login, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def ended(self) -> Any:
        """The state of the training when it has ended."""
        deadline = time.monotonic() + 300
        while (state := self.known("GET", f"{PREFIX}/{NAME}"))["state"] not in ENDED:
            assert time.monotonic() < deadline, state
            time.sleep(0.3)
        return state

    def remove(self) -> None:
        """Stop and remove the training, also that of a killed run of these tests."""
        if any(each["name"] == NAME for each in self.known("GET", PREFIX)):
            self.ask("POST", f"{PREFIX}/{NAME}/stop", self.login)
            self.ended()
            self.known("DELETE", f"{PREFIX}/{NAME}")


@pytest.fixture
def server(webui_url: str, webui_root: Path) -> Iterator[Server]:
    if login() is None:
        pytest.skip("live test: set CTRLGEN_WEBUI_AUTH, and start the WebUI with --api-auth")
    found = Server(webui_url)
    found.remove()
    yield found
    found.remove()
    for folder in ("embeddings", "ctrlgen-training-pictures"):
        for path in (webui_root / folder).glob(f"{NAME}*"):
            assert path.is_file()
            path.unlink()


@pytest.mark.parametrize(
    "auth", [None, ("", ""), ("user", ""), ("nobody", "secret")], ids=["none", "empty", "user alone", "other"]
)
def test_no_route_answers_without_the_login(server: Server, webui_root: Path, auth: Any) -> None:
    """It is refused before anything is read: nothing is started, and a missing training is no 404."""
    before = sorted((webui_root / "ctrlgen-training").glob("*"))
    assert len(routes()) >= 8
    for method, path in routes():
        named = path.replace("{name}", NAME).replace("{path}", "state.json")
        answer = server.ask(method, named, auth, **({"json": body()} if method == "post" else {}))
        assert answer.status_code == 401, (method, path, answer.text)
    assert sorted((webui_root / "ctrlgen-training").glob("*")) == before


def test_who_has_the_login_trains(server: Server) -> None:
    """Others can neither see nor stop the training, nor read its files."""
    cost = server.known("POST", f"{PREFIX}/check", json=body(install=True))["cost"]
    assert cost["bytes"] > 0
    server.known("POST", PREFIX, 202, json=body())
    one = f"{PREFIX}/{NAME}"
    for method, path in (("GET", one), ("POST", f"{one}/stop"), ("DELETE", one)):
        assert server.ask(method, path).status_code == 401
    while server.known("GET", one)["step"] < 1:
        assert server.known("GET", one)["state"] not in ENDED
        time.sleep(0.2)
    server.known("POST", f"{one}/stop")
    state = server.ended()
    assert (state["state"], state["error"]) == ("stopped", "")
    assert server.known("GET", f"{one}/files/state.json")["step"] == state["step"]
    assert server.ask("GET", f"{one}/files/state.json").status_code == 401
    server.known("POST", f"{one}/resume")
    server.known("POST", f"{one}/stop")
    server.ended()
    assert server.known("DELETE", one) == {"removed": NAME}
    assert server.ask("GET", one, server.login).status_code == 404
