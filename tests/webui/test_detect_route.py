"""The route that makes control maps without a generation, and the list of preprocessors."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from lib_ctrlgen.preprocessors import preprocessor
from tests.support import control_files as files
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.poses import document
from tests.support.rest_client import Client

PICTURES = [files.picture(40, 24, seed) for seed in range(3)]
TEXTS = [encode_image(picture) for picture in PICTURES]


class Route:
    """The route of an app with the API's login."""

    def __init__(self, host: FakeWebUI) -> None:
        self.api, self.module = fresh("api"), fresh("detect")
        self.routes: dict[str, Any] = {}
        host.flags.api_auth = "me:secret"
        router = SimpleNamespace(
            add_api_route=lambda path, answer, **options: self.routes.update({path: options})
        )
        self.api.add_routes(router, None)

    def post(self, body: Any, stays: int = 1000) -> Any:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = asyncio.run(self.module.detect(Client(text, stays)))
        return json.loads(json.dumps(answer, allow_nan=False))


@pytest.fixture
def route(host: FakeWebUI) -> Route:
    return Route(host)


def test_one_picture_and_several(route: Route) -> None:
    options = route.routes["/ctrlgen/v1/detect"]
    assert options["methods"] == ["POST"]
    assert len(options["dependencies"]) == 1, "the login"
    low = {"low_threshold": 30, "high_threshold": 60}
    wanted = [preprocessor("canny")(picture, **low) for picture in PICTURES]
    found = route.post({"preprocessor": "canny", "params": low, "images": TEXTS})
    assert [decode_image(each, "").tobytes() for each in found["images"]] == [
        each.tobytes() for each in wanted
    ]
    assert found["poses"] == [None] * 3
    single = route.post({"preprocessor": ["canny"], "params": low, "image": TEXTS[1]})
    assert single["images"] == found["images"][1:2]
    assert single["warnings"] == []


def test_a_pose_is_drawn_and_returned(route: Route) -> None:
    found = route.post({"preprocessor": "openpose_json", "image": json.dumps(document())})
    pose = pose_of(document())
    assert decode_image(found["images"][0], "").tobytes() == draw(pose, (200, 400)).tobytes()
    assert pose_of(found["poses"][0]) == pose


def test_a_map_is_computed_once(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    canny, seen = type(preprocessor("canny")), []
    before = canny.__call__

    def counted(*args: Any, **given: Any) -> Any:
        seen.append(1)
        return before(*args, **given)

    monkeypatch.setattr(canny, "__call__", counted)
    for _ in range(2):
        route.post({"preprocessor": "canny", "images": [TEXTS[0], TEXTS[0], TEXTS[2]]})
    assert len(seen) == 2


def test_a_client_that_hangs_up_stops_the_work(
    route: Route, host: FakeWebUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route.module, "LOOKED_AT", 0.01)
    lock, client = host.loaded["modules.call_queue"].queue_lock, Client(b"", 1)
    client.body = json.dumps({"preprocessor": "canny", "images": TEXTS}).encode()

    async def busy() -> Any:
        lock.acquire()  # a generation runs
        answer = asyncio.create_task(route.module.detect(client))
        while client.stays >= 0:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        lock.release()
        return await answer

    assert asyncio.run(busy())["images"] == []


def test_maps_are_kept_on_disk_if_the_setting_allows_it(
    route: Route, host: FakeWebUI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path))
    option = fresh("settings").MAP_CACHE
    for gigabytes, files_there in ((0, 0), (1, 3), (0, 3)):
        host.opts.data[option] = gigabytes
        route.module.model_store().clear()
        route.post({"preprocessor": "canny", "images": TEXTS})
        assert len(list(tmp_path.rglob("maps/*/*.png"))) == files_there


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (b"{", "$", "not JSON"),
        ({}, "$.preprocessor", "is required"),
        ({"preprocessor": "canny"}, "$.image", "is required"),
        ({"preprocessor": "canny", "image": TEXTS[0], "images": TEXTS}, "$.images", "beside 'image'"),
        ({"preprocessor": "cany", "image": TEXTS[0]}, "$.preprocessor", "nearest: canny"),
        ({"preprocessor": "canny", "images": [TEXTS[0], "/etc/x"]}, "$.images[1]", "server are not read"),
        ({"preprocessor": "canny", "image": TEXTS[0], "params": {"sigma": 1}}, "$.params.sigma", "unknown"),
        ({"preprocessor": "canny", "image": TEXTS[0], "module": "canny"}, "$.module", "unknown field"),
        ({"preprocessor": "canny", "images": ["x"] * 65}, "$.images", "<= 64"),
        ({"preprocessor": "canny", "image": "{}"}, "$.image", "neither 'people' nor 'animals'"),
        ({"preprocessor": "instant_id_face_keypoints", "image": TEXTS[0]}, "$.preprocessor", "a face"),
    ],
)
def test_a_wrong_body_is_refused_at_its_place(route: Route, body: Any, path: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        route.post(body)
    assert (raised.value.path, raised.value.status_code) == (path, 422)


def test_a_large_body_is_refused_while_it_arrives(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route.module, "LARGEST_BODY", 1500)
    with pytest.raises(RequestError, match="send fewer pictures"):
        route.post(b" " * 3000)


def test_the_list_of_preprocessors_has_ranges_and_defaults(route: Route) -> None:
    listed = {each["name"]: each for each in route.api.preprocessors()["preprocessors"]}
    low = listed["canny"]["params"][0]
    assert (low["name"], low["minimum"], low["maximum"], low["default"]) == ("low_threshold", 1, 255, 100)
    assert listed["canny"]["reads"] == "picture"
    assert (listed["openpose_json"]["reads"], listed["openpose_json"]["pose"]) == ("pose", True)
    assert listed["inpaint"]["marks_holes"]
    json.dumps(listed, allow_nan=False)
