"""The routes of sd-webui-controlnet, called as FastAPI calls them."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from lib_ctrlgen.preprocessors import preprocessor
from tests.support import control_files as files
from tests.support.fake_libraries import HTTPException
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.poses import document
from tests.support.rest_client import Client

PICTURE = files.picture(40, 64, 1)
TEXT = encode_image(PICTURE).partition(",")[2]


class App:
    """The app's routes by path, with the options that they were added with."""

    def __init__(self) -> None:
        self.router = SimpleNamespace(routes=["first"])
        self.openapi_schema = None
        self.openapi = dict

    @property
    def routes(self) -> dict[str, Any]:
        """The routes by their paths."""
        late = [each for each in self.router.routes if each != "first"]
        return {path: options for each in late for path, options in each.routes}


class Routes:
    """The routes of a WebUI with `--api-auth`."""

    def __init__(self, host: FakeWebUI) -> None:
        host.flags.api_auth = "me:secret"
        self.module, self.app = fresh("controlnet.routes"), App()
        fresh("started").add_controlnet_routes(None, self.app)

    def get(self, name: str, **query: Any) -> Any:
        return json.loads(json.dumps(self.app.routes[f"/controlnet/{name}"].answer(**query), allow_nan=False))

    def post(self, name: str, body: Any) -> Any:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = asyncio.run(self.app.routes[f"/controlnet/{name}"].answer(Client(text)))
        return json.loads(json.dumps(answer, allow_nan=False))


@pytest.fixture
def routes(host: FakeWebUI) -> Routes:
    return Routes(host)


def test_every_route_has_its_method_and_the_login(routes: Routes) -> None:
    found = {path.rpartition("/")[2]: each.methods for path, each in routes.app.routes.items()}
    gets = ("version", "model_list", "module_list", "control_types", "settings")
    posts = ("detect", "render_openpose_json")
    assert found == {name: ["GET"] for name in gets} | {name: ["POST"] for name in posts}
    assert all(len(each.dependencies) == 1 for each in routes.app.routes.values())
    assert routes.get("version") == {"version": 3}
    assert routes.get("settings") == {"control_net_unit_count": 3}
    assert len(routes.get("module_list", alias_names=True)["module_list"]) == 72
    assert "All" in routes.get("control_types")["control_types"]


def test_they_are_added_only_where_they_are_wanted(host: FakeWebUI) -> None:
    other = type("Script", (), {"title": lambda _self: "ControlNet"})
    data = [SimpleNamespace(script_class=other, basedir="extensions/old")]
    host.loaded["modules.scripts"].scripts_data = data
    assert Routes(host).app.routes == {}
    host.opts.data["ctrlgen_controlnet_api"] = "always"
    assert Routes(host).app.router.routes[1:] == ["first"], "they answer before the other extension's"
    host.opts.data.clear()
    host.loaded["modules.scripts"].scripts_data = []
    host.flags.api = False
    assert Routes(host).app.routes == {}


def test_models_have_their_short_hash_and_are_found_by_it(host: FakeWebUI, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "ControlNet"
    (folder / "sub").mkdir(parents=True)
    bodies = {"Control_Canny": b"a", "control_canny_long": b"b", "sub/depth": b"c"}
    for name, end in bodies.items():
        (folder / f"{name}.safetensors").write_bytes(bytes(2**20) + end)
    (folder / "depth.safetensors").write_bytes(bytes(2**20) + b"d")
    routes = Routes(host)
    # The hashes are `sha256(end).hexdigest()[:8]`: 64 KiB at 1 MiB are all that follows.
    labels = routes.get("model_list")["model_list"]
    assert labels == [
        "Control_Canny [ca978112]",
        "control_canny_long [3e23e816]",
        "depth [18ac3e73]",
        "depth [2e7d2c03]",
    ]
    names, store = fresh("controlnet.model_names"), fresh("settings").model_store().files
    found = {text: names.resolved(text, store) for text in (*labels, "CONTROL_CANNY", "canny", "epth", "x")}
    assert [found[label] for label in labels] == ["Control_Canny", "control_canny_long", "depth", "sub/depth"]
    assert (found["CONTROL_CANNY"], found["canny"]) == ("Control_Canny", "Control_Canny")
    assert found["epth"] in ("depth", "sub/depth")
    assert found["x"] == "x"
    assert names.resolved("depth [ffffffff]", store) == "depth [ffffffff]", (
        "the store's error tells the hashes"
    )


@pytest.mark.parametrize("field", ["controlnet_input_images", "controlnet_images"])
def test_detect_makes_the_map_at_its_resolution(routes: Routes, field: str) -> None:
    body = {"controlnet_module": "canny", field: [TEXT], "controlnet_processor_res": 80}
    found = routes.post("detect", body | {"controlnet_threshold_a": 30, "controlnet_threshold_b": 9999})
    assert found["info"] == "Success"
    (text,) = found["images"]
    assert text.startswith("iVBOR"), "plain base64 of a PNG"
    wanted = preprocessor("canny")(
        PICTURE.resize((80, 128), Image.BICUBIC), low_threshold=30, high_threshold=200
    )
    shown = decode_image(text, "")
    assert shown.size == wanted.size
    assert "poses" not in found


def test_detect_of_a_mask_shows_it_as_transparency(routes: Routes) -> None:
    mask = Image.new("L", PICTURE.size)
    mask.paste(255, (0, 0, 20, 20))
    body = {"controlnet_module": "inpaint_global_harmonious", "controlnet_images": [TEXT]}
    found = routes.post("detect", body | {"controlnet_masks": [encode_image(mask)]})
    shown = decode_image(found["images"][0], "")
    assert shown.getchannel("A").getextrema() == (128, 255)
    assert shown.convert("RGB").tobytes() == PICTURE.tobytes()


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"controlnet_module": "x", "controlnet_images": [TEXT]}, "Module not available"),
        ({"controlnet_module": 7}, "Module not available"),
        ({"controlnet_module": "clip_vision", "controlnet_images": [TEXT]}, "Module not supported"),
        ({"controlnet_module": "canny"}, "No image selected"),
        (
            {"controlnet_module": "inpaint", "controlnet_images": [TEXT]},
            "Preprocessor inpaint requires `controlnet_masks` param.",
        ),
    ],
)
def test_detect_refuses_with_the_details_of_sd_webui_controlnet(
    routes: Routes, body: Any, detail: str
) -> None:
    with pytest.raises(HTTPException) as raised:
        routes.post("detect", body)
    assert (raised.value.status_code, raised.value.detail) == (422, detail)


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (b"{", "$", "not JSON"),
        ([], "$", "expected an object"),
        ({"controlnet_images": "x"}, "$.controlnet_images", "expected a list"),
        ({"controlnet_images": [TEXT, "/etc/x"]}, "$.controlnet_images[1]", "server are not read"),
        ({"controlnet_images": [TEXT, None]}, "$.controlnet_images[1]", "is empty"),
        ({"controlnet_images": ["x"] * 65}, "$.controlnet_images", "more than 64"),
        (
            {"controlnet_images": [TEXT], "controlnet_module": "canny", "controlnet_threshold_b": "x"},
            "$.controlnet_threshold_b",
            "expected a number",
        ),
        (
            {"controlnet_images": [TEXT], "controlnet_module": "ip-adapter_clip_h"},
            "$.controlnet_module",
            "features",
        ),
        (
            {"controlnet_images": [TEXT], "controlnet_module": "depth_hand_refiner"},
            "$.controlnet_module",
            "does not have",
        ),
        ({"controlnet_images": [TEXT], "controlnet_module": "hed"}, "$.controlnet_module", "ControlNetHED"),
    ],
)
def test_detect_names_the_place_of_other_mistakes(routes: Routes, body: Any, path: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        routes.post("detect", body)
    assert raised.value.path == path


def test_poses_of_people_and_animals_are_drawn(routes: Routes) -> None:
    people = document()
    animals = {"people": [], "animals": [[30.0, 40.0, 1.0] * 17], "canvas_width": 64, "canvas_height": 48}
    found = routes.post(
        "render_openpose_json", [people, animals, {**people, **animals, "people": people["people"]}]
    )
    assert found["info"] == "Success"
    first, second, _ = (decode_image(each, "") for each in found["images"])
    assert first.tobytes() == draw(pose_of(people), pose_of(people).size).tobytes()
    assert (second.size, second.getbbox() is not None) == ((64, 48), True)
    assert routes.post("render_openpose_json", []) == {"info": "No pose data detected."}
    assert routes.post("render_openpose_json", b"") == {"info": "No pose data detected."}


@pytest.mark.parametrize(
    ("body", "path"),
    [({}, "$"), ([1], "$[0]"), ([{"people": [{}], "canvas_width": 8, "canvas_height": 8}], "$[0].people[0]")],
)
def test_a_wrong_pose_is_named(routes: Routes, body: Any, path: str) -> None:
    with pytest.raises(RequestError) as raised:
        routes.post("render_openpose_json", body)
    assert raised.value.path == path
