"""The route that finds the faces of a picture."""

import base64
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.faces.embeddings import read_embeddings
from lib_ctrlgen.images.files import encode_image
from tests.support.face_networks import FakeRuntime, face_picture, write_pack
from tests.support.fake_webui import FakeWebUI, fresh

LEFT, RIGHT = (80, 320), (480, 160)
PICTURE = encode_image(face_picture(RIGHT, LEFT))


class Route:
    """The route of an app with the API's login, called as FastAPI calls it."""

    def __init__(self, host: FakeWebUI) -> None:
        self.api = fresh("api")
        self.options: dict[str, Any] = {}
        host.flags.api_auth = "me:secret"
        self.api.add_routes(SimpleNamespace(add_api_route=self.add), None)

    def add(self, path: str, answer: Any, **options: Any) -> None:
        if path == "/ctrlgen/v1/faces":
            self.answer, self.options = answer, options

    def post(self, **body: Any) -> Any:
        return json.loads(json.dumps(self.answer(body), allow_nan=False))


@pytest.fixture
def route(host: FakeWebUI, runtime: FakeRuntime, tmp_path: Path) -> Route:
    write_pack(tmp_path / "models" / "insightface" / "models" / "buffalo_l")
    return Route(host)


def test_it_answers_every_face_with_its_embedding(route: Route, runtime: FakeRuntime) -> None:
    assert route.options["methods"] == ["POST"]
    assert len(route.options["dependencies"]) == 1, "the login"
    found = route.post(image=PICTURE)
    assert (found["pack"], found["recogniser"]) == ("buffalo_l", "w600k_r50.onnx")
    left, right = found["faces"]
    assert left["box"] == [56, 296, 104, 344]
    assert right["points"][2] == [480, 160]
    assert left["score"] == pytest.approx(0.9)
    both = read_embeddings(found["embeddings"], "$", "buffalo_l").values
    assert both == tuple(read_embeddings(face["embedding"], "$").values[0] for face in (left, right))
    assert route.post(image=PICTURE, face_choice="2")["faces"] == [right]
    assert len(runtime.sizes) == 1, "the store keeps the faces"


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ({}, "$.image", "required"),
        ({"image": 3}, "$.image", "expected"),
        ({"image": "x.png"}, "$.image", "server are not read"),
        ({"image": base64.b64encode(b"GIF89a").decode()}, "$.image", "no readable picture"),
        ({"image": PICTURE, "pack": "antelopev2"}, "$.pack", "glintr100.onnx"),
        ({"image": PICTURE, "pack": "../x"}, "$.pack", "unknown model pack"),
        ({"image": PICTURE, "face_choice": "3"}, "$.face_choice", "2 faces were found"),
        ({"image": PICTURE, "face_choice": "best"}, "$.face_choice", "expected 'largest'"),
        ({"image": PICTURE, "choice": "1"}, "$.choice", "unknown field"),
        ({"image": encode_image(Image.new("RGB", (64, 64)))}, "$.image", "no face was found"),
    ],
)
def test_a_wrong_body_is_refused_at_its_place(route: Route, body: Any, path: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        route.post(**body)
    assert (raised.value.path, raised.value.status_code) == (path, 422)


def test_without_a_package_it_says_what_to_install(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RequestError, match=r"\$\.pack: .*pip install --no-deps onnxruntime"):
        route.post(image=PICTURE)
