"""The client, `ctrlgen send` and the OpenAPI document beside the real WebUI."""

import json
import threading
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.client import NotAWebUIError, NotInstalledError, RefusedError
from lib_ctrlgen.client import WebUI as Client
from lib_ctrlgen.client.watched import watched
from lib_ctrlgen.request.spec import ControlRequest, parse_request
from tests.live.conftest import DEPTH, EDGES, PICTURE, PLAIN, Answer, WebUI, scene
from tests.support.openapi import answer_schema, operations, problems

pytestmark = pytest.mark.live
DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text("utf-8"))
ROOT = "/ctrlgen/v1"


@pytest.fixture(scope="module")
def client(webui: WebUI) -> Client:
    return Client(webui.url)


def without_nulls(found: Any) -> Any:
    """FastAPI leaves out null in the examples of its document."""
    if isinstance(found, dict):
        return {name: without_nulls(value) for name, value in found.items() if value is not None}
    return [without_nulls(each) for each in found] if isinstance(found, list) else found


def test_the_document_is_the_webuis_own(webui: WebUI) -> None:
    live = webui.get("/openapi.json").json()["paths"]
    assert {path for path in live if path.startswith(ROOT)} == set(DOCUMENT["paths"])
    for path, method, operation in operations(DOCUMENT):
        found = {name: value for name, value in live[path][method].items() if name != "security"}
        assert found == without_nulls(operation), f"{method} {path}"


def test_answers_have_the_form_of_the_document(webui: WebUI, client: Client) -> None:
    connection = client.connection
    for name in ("models?hashes=true", "models?details=false", "preprocessors", "schema", "tune"):
        schema = answer_schema(DOCUMENT, "get", f"{ROOT}/{name.partition('?')[0]}")
        assert problems(schema, connection.json("GET", f"{ROOT}/{name}")) == []
    posts = {
        "plan": {"units": [EDGES], "steps": 3},
        "detect": {"preprocessor": "canny", "image": EDGES["image"]},
    }
    for name, body in posts.items():
        schema = answer_schema(DOCUMENT, "post", f"{ROOT}/{name}")
        assert problems(schema, connection.json("POST", f"{ROOT}/{name}", body)) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "plan", {"units": [{"modl": 1}]}, 422),
        ("POST", "plan", 3, 422),
        ("POST", "detect", {"preprocessor": "nope", "image": "A"}, 422),
        ("POST", "faces", {"image": "A"}, 422),
        ("POST", "tune", {"tab": "x"}, 422),
        ("GET", "models?refresh=perhaps", None, 422),
        ("GET", "tune/nobody", None, 404),
        ("DELETE", "tune/nobody", None, 404),
    ],
)
def test_errors_have_the_form_of_the_document(
    client: Client, method: str, path: str, body: Any, status: int
) -> None:
    answer = client.connection.answer(method, f"{ROOT}/{path}", body)
    described = f"{ROOT}/{path.partition('?')[0].replace('nobody', '{name}')}"
    assert answer.status_code == status
    assert problems(answer_schema(DOCUMENT, method.lower(), described, status), answer.json()) == []


def test_a_body_that_is_no_text_is_another_error(client: Client) -> None:
    connection, headers = client.connection, {"Content-Type": "application/json"}
    answer = connection.session.post(f"{client.url}{ROOT}/plan", data=b"\x00\xff\x02", headers=headers)
    schema = DOCUMENT["paths"][f"{ROOT}/plan"]["post"]["responses"]["default"]["content"]["application/json"]
    assert answer.status_code == 400
    assert problems(schema["schema"], answer.json()) == []


def test_pictures_are_those_of_the_route_and_maps_are_apart(webui: WebUI, client: Client) -> None:
    fields = PLAIN | {"batch_size": 2}
    posted = webui.generate(EDGES, PICTURE, batch_size=2)
    made = client.txt2img({"units": [EDGES | {"image": scene()}, PICTURE]}, **fields)
    assert made.seeds == (1, 2)
    assert [np.array_equal(p.image, q) for p, q in zip(made.pictures, posted.images, strict=False)] == [
        True
    ] * 2
    assert len(made.control_maps) == len(posted.images) - 2
    assert [picture.image.info["parameters"] for picture in made.pictures] == list(made.infotexts)
    assert "CtrlGen:" in made.infotexts[0]


def test_a_checked_request_and_an_ordinary_one(client: Client, plain: Answer) -> None:
    request = parse_request({"units": [EDGES | {"weight": 0}]}, ControlRequest)
    made = client.txt2img(request, **PLAIN)
    assert "does nothing" in made.warnings[0]
    assert np.array_equal(client.txt2img(**PLAIN).pictures[0].image, plain.images[0])


def test_img2img_starts_from_pictures(client: Client) -> None:
    own: Any = EDGES | {"image_from": "init", "image": ""}
    fields = PLAIN | {"denoising_strength": 0.6}
    made = client.img2img({"units": [own]}, init_images=[scene()], mask=scene(), **fields)
    assert (made.seeds, len(made.control_maps)) == ((1,), 1)


def test_what_is_wrong_is_said_with_its_path(client: Client) -> None:
    with pytest.raises(RefusedError) as caught:
        client.txt2img({"units": [EDGES, DEPTH | {"model": "nobody"}]}, **PLAIN)
    assert (caught.value.path, caught.value.http_status) == ("$.units[1].model", 422)
    with pytest.raises(RefusedError) as caught:
        client.txt2img(**PLAIN | {"steps": "many"})
    assert caught.value.path == "$.steps"
    with pytest.raises(NotAWebUIError):
        Client(client.url + "/sub").models()
    with pytest.raises(NotInstalledError):
        client.connection.json("GET", f"{ROOT}/nothing")


def test_detection_and_lists(client: Client) -> None:
    maps = client.detect("canny | invert", [scene(), EDGES["image"]], {"low_threshold": 50})
    assert [found.map.image.size for found in maps] == [(64, 64)] * 2
    assert EDGES["model"] in client.models(refresh=True).models
    assert any(each.name == "openpose_json" and each.reads == "pose" for each in client.preprocessors())
    assert client.plan({"units": [EDGES | {"weight": "1>0"}]}, steps=2).weights == [[1.0, 0.5]]


def test_a_job_is_followed_and_its_files_fetched(client: Client, tmp_path: Path) -> None:
    axes = {"x": {"path": "Unit 0 weight", "values": "0, 1"}, "name": uuid.uuid4().hex}
    seen: list[int] = []
    job = client.tune(axes, {"units": [EDGES]}, **PLAIN)
    status = job.follow(lambda each: seen.append(each.done))
    assert (status.state, status.done, seen[-1]) == ("done", 2, 2)
    raw = client.connection.json("GET", job.path)
    assert problems(answer_schema(DOCUMENT, "get", f"{ROOT}/tune/{{name}}"), raw) == []
    report, *pictures = job.fetch(tmp_path)
    assert report.read_text("utf-8").lstrip().startswith("<!")
    assert len(pictures) == 2
    assert job.id in [each.id for each in client.jobs()]


def test_a_watched_generation_can_be_interrupted(client: Client) -> None:
    states: list[str] = []

    def stop_when_it_runs(progress: Any) -> None:
        states.append(progress.state)
        if progress.share > 0:
            raise KeyboardInterrupt

    body = PLAIN | {"steps": 150}
    with pytest.raises(KeyboardInterrupt):
        watched(client, "txt2img", body, stop_when_it_runs, pause=0.1)
    assert states[-1] == "running"
    assert not client.progress().busy
    made = watched(client, "txt2img", PLAIN, pause=0.1)
    assert made.seeds == (1,)


def test_send_writes_the_pictures_of_a_job(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene().save(tmp_path / "circle.png")
    job = {"prompt": "a red circle", "steps": 4, "width": 64, "height": 64, "seed": 1, "sampler": "Euler"}
    unit = {"model": EDGES["model"], "image": "circle.png", "preprocessor": "canny"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job | {"cfg_scale": 5, "units": [unit]}))
    out = tmp_path / "out"
    assert main(["send", str(tmp_path / "job.yaml"), "--webui", client.url, "--out", str(out)]) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["00000-1.png", "00000-map-0.png", "00000-result.json"]
    fields = PLAIN | {"negative_prompt": ""}
    direct = client.txt2img({"units": [EDGES]}, **fields).pictures[0]
    with Image.open(out / names[0]) as written:
        assert np.array_equal(written, direct.image)
        assert "CtrlGen:" in written.info["parameters"]


def test_two_threads_use_a_connection_each(client: Client) -> None:
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(Client(client.url).models().version)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_a_converted_request_makes_the_picture_of_the_old_one(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = {"enabled": True, "module": "canny", "model": EDGES["model"], "image": EDGES["image"]}
    unit |= {"weight": 0.8, "guidance_end": 0.5, "control_mode": 1, "threshold_a": 50}
    old = PLAIN | {"alwayson_scripts": {"ControlNet": {"args": [unit]}}}
    file, job = tmp_path / "old.json", tmp_path / "job.yaml"
    file.write_text(json.dumps(old))
    assert main(["convert", str(file), "--payload"]) == 3  # the request names no checkpoint
    payload = json.loads(capsys.readouterr().out)
    wanted = client.generate("txt2img", old).pictures[0].image
    assert np.array_equal(client.generate("txt2img", payload).pictures[0].image, wanted)
    assert main(["convert", str(file), "--out", str(job)]) == 3
    assert main(["send", str(job), "--webui", client.url, "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "00000-1.png") as written:
        assert np.array_equal(written, wanted)
