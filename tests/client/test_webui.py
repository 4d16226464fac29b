"""What the client posts and what it makes of answers: pictures, maps, jobs, progress."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.client import NotAWebUIError, WebUI
from lib_ctrlgen.client.bodies import body_of
from lib_ctrlgen.client.jobs import inside
from lib_ctrlgen.client.pictures import sent
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.request.spec import ControlRequest, GenerationRequest, parse_request
from tests.support.fake_job_route import Jobs, serving
from tests.support.scripted_server import answers, in_turn, never_answers, routed, scripted
from tests.support.webui_answers import PROGRESS, encoded, generation

UNIT = {"model": "edges", "image": "data:image/png;base64,AAAA"}
SCRIPTS = "alwayson_scripts"


def colours(pictures: Any) -> list[tuple[int, ...]]:
    return [picture.image.convert("RGB").getpixel((0, 0)) for picture in pictures]


# Bodies


def test_requests_of_every_kind_become_bodies(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4), "red")
    picture.save(tmp_path / "red.png")
    units = [{"model": "edges", "image": picture, "masks": [tmp_path / "red.png"]}]
    body = body_of({"units": units}, {"prompt": "a", "steps": 3})
    (unit,) = body[SCRIPTS]["CtrlGen"]["args"][0]["units"]
    for text in (unit["image"], *unit["masks"]):
        data = base64.b64decode(text.removeprefix("data:image/png;base64,"))
        assert Image.open(io.BytesIO(data)).tobytes() == picture.tobytes()
    assert units[0]["image"] is picture
    assert (body["prompt"], body["steps"]) == ("a", 3)
    controls = parse_request({"units": [UNIT]}, ControlRequest)
    assert body_of(controls, {})[SCRIPTS] == {"CtrlGen": {"args": [{"units": [UNIT]}]}}
    assert body_of(None, {"prompt": "a"}) == body_of({}, {"prompt": "a"}) == {"prompt": "a"}


def test_a_headless_request_says_everything_and_fields_come_first() -> None:
    given = {"model": "/models/big one.ckpt", "seed": 3, "units": [UNIT], "cfg_scale": "7>3", "batch_size": 2}
    body = body_of(parse_request(given, GenerationRequest), {"steps": 5, "enable_hr": True})
    wanted = {"steps": 5, "enable_hr": True, "seed": 3, "batch_size": 2, "sampler_name": "DPM++ 2M"}
    assert wanted.items() <= body.items()
    assert body["override_settings"] == {"sd_model_checkpoint": "big one"}
    (controls,) = body[SCRIPTS]["CtrlGen"]["args"]
    assert controls == {"units": [UNIT], "cfg_scale": "7@0, 3@1"}
    assert SCRIPTS not in body_of(GenerationRequest(prompt="a"), {})


def test_other_scripts_stay_beside_ctrlgen_and_two_requests_are_refused() -> None:
    body = body_of({"units": [UNIT]}, {SCRIPTS: {"ADetailer": {"args": []}}})
    assert set(body[SCRIPTS]) == {"ADetailer", "CtrlGen"}
    with pytest.raises(RequestError, match="beside the request"):
        body_of({"units": [UNIT]}, {SCRIPTS: {"ctrlgen": {"args": []}}})
    with pytest.raises(RequestError, match=r"\$\.units\[0\]\.image: .*nothing\.png"):
        body_of({"units": [{"image": Path("nothing.png")}]}, {})
    with pytest.raises(RequestError, match="expected a picture"):
        sent(3)  # type: ignore[arg-type]


# Answers


def test_pictures_sheets_and_maps_are_told_apart() -> None:
    warned = {"extra_generation_params": {"CtrlGen warnings": ["one | two", "one"]}}
    answer = generation("red", "lime", seeds=2, others=3, **warned)
    blend = {"blend": {"mode": "trajectory", "concepts": []}, "units": [UNIT]}
    with scripted(answers(answer)) as (url, server):
        made = WebUI(url).txt2img(blend, prompt="a")
    assert server.received[0].path == "/sdapi/v1/txt2img"
    assert colours(made.pictures) == [(255, 0, 0), (0, 255, 0)]
    assert (made.seeds, len(made.sheets), len(made.control_maps)) == ((0, 1), 1, 2)
    assert [text.partition("\n")[0] for text in made.infotexts] == ["a red wall", "a lime wall"]
    assert made.warnings == ("one", "two")
    assert made.pictures[0].image.info["parameters"] == made.infotexts[0]


def test_an_interrupted_generation_has_fewer_pictures_and_still_its_maps() -> None:
    with scripted(answers(generation("red", seeds=3, others=1))) as (url, _):
        made = WebUI(url).txt2img({"units": [UNIT]})
    assert (len(made.pictures), len(made.control_maps)) == (1, 1)


def test_files_without_infotext_are_counted_by_their_seeds() -> None:
    with scripted(answers(generation("red", "lime", seeds=2, others=1, kind="JPEG"))) as (url, _):
        made = WebUI(url).txt2img()
    assert (len(made.pictures), len(made.control_maps)) == (2, 1)
    assert (made.pictures[1].suffix, made.pictures[1].infotext[:11]) == (".jpg", "a lime wall")


def test_img2img_posts_its_pictures() -> None:
    with scripted(answers(generation("red"))) as (url, server):
        WebUI(url).img2img(init_images=[Image.new("L", (2, 2))], mask="BBBB", denoising_strength=0.5)
    body = server.received[0].json
    assert server.received[0].path == "/sdapi/v1/img2img"
    assert body["init_images"][0].startswith("data:image/png;base64,")
    assert (body["mask"], body["denoising_strength"]) == ("BBBB", 0.5)


@pytest.mark.parametrize("answer", [{}, {"images": ["!"], "info": "{}"}, {"images": [], "info": 3}, [1]])
def test_an_answer_of_another_form_is_no_webuis(answer: Any) -> None:
    with scripted(answers(answer)) as (url, _):
        with pytest.raises(NotAWebUIError):
            WebUI(url).txt2img()
        with pytest.raises(NotAWebUIError):
            WebUI(url).progress()
        with pytest.raises(NotAWebUIError):
            WebUI(url).models()


def test_progress_with_a_preview_and_an_interrupt() -> None:
    shown = PROGRESS | {"current_image": encoded("lime")}
    with scripted(routed(progress=answers(shown), interrupt=answers({}))) as (url, server):
        found = WebUI(url).progress(preview=True)
        WebUI(url).interrupt()
    assert (found.share, found.step, found.steps, found.busy) == (0.25, 5, 20, True)
    assert found.preview is not None
    assert colours([found.preview]) == [(0, 255, 0)]
    assert [each.path for each in server.received] == ["/sdapi/v1/progress", "/sdapi/v1/interrupt"]


def test_models_are_listed_also_those_of_a_later_version() -> None:
    row = dict.fromkeys(("name", "hash", "kind", "variant", "base", "purpose", "error"), "") | {"size": 1}
    answer = {"version": "9", "models": ["a"], "files": [row | {"colour": "red"}], "more": 1}
    with scripted(answers(answer)) as (url, server):
        assert WebUI(url).models(refresh=True, details=True).files[0].size == 1
    assert server.received[0].path == "/ctrlgen/v1/models?refresh=true&hashes=false&details=true"


def test_maps_and_plans_of_requests() -> None:
    detection = {"images": [f"data:image/png;base64,{encoded('red')}"], "poses": [None], "warnings": ["grey"]}
    plan = {"labels": ["0 edges"], "weights": [[1.0]], "note": "", "table": "t", "svg": "<svg/>"}
    with scripted(routed(detect=answers(detection), plan=answers(plan))) as (url, server):
        (found,) = WebUI(url).detect("canny", ["AAAA"], {"low_threshold": 5})
        request = GenerationRequest(units=parse_request({"units": [UNIT]}).units, prompt="b", width=64)
        assert WebUI(url).plan(request, steps=1, prompt="a").weights == [[1.0]]
    assert colours([found.map]) == [(255, 0, 0)]
    assert (found.pose, found.warnings) == (None, ("grey",))
    body = {"preprocessor": "canny", "images": ["AAAA"], "params": {"low_threshold": 5}}
    assert server.received[0].json == body
    assert server.received[1].json == {"units": [UNIT], "steps": 1, "prompt": "a", "negative_prompt": ""}


def test_faces_have_boxes_and_embeddings() -> None:
    face = {"box": [1, 2, 3, 4], "points": [[1, 2]] * 5, "score": 0.5, "embedding": "AAAA"}
    answer = {"pack": "buffalo_l", "recogniser": "w600k_r50", "faces": [face], "embeddings": "AAAA"}
    with scripted(answers(answer)) as (url, server):
        assert WebUI(url).faces("BBBB", face_choice="largest").faces[0].box == [1, 2, 3, 4]
    assert server.received[0].json == {"image": "BBBB", "face_choice": "largest"}


# Jobs


def test_a_job_is_posted_followed_and_fetched(tmp_path: Path) -> None:
    fields = {"prompt": "a", "steps": 3, "seed": 1}
    with serving(jobs := Jobs()) as url:
        axis = {"x": {"path": "Unit 0 weight", "values": [0, 1]}, "seeds": 2}
        job = WebUI(url).tune(axis, {"units": [UNIT]}, **fields)
        assert job.follow().state == "done"
        written = job.fetch(tmp_path, job.pictures())
        job.interrupt()
    assert jobs.bodies[0]["request"]["prompt"] == "a"
    names = [path.relative_to(tmp_path).as_posix() for path in written]
    assert names == ["cells/0-0.png", "cells/0-1.png", "cells/1-0.png", "cells/1-1.png"]
    with Image.open(written[0]) as picture:
        assert picture.info["parameters"] == "Steps: 3"
    assert jobs.deleted == [job.id]


STATUS: dict[str, Any] = {"id": "a", "state": "running", "done": 0, "total": 1, "seconds_left": None}
STATUS |= {"cells": [], "recommended": None, "error": "", "scores_version": 1}


def test_questions_that_are_not_answered_are_asked_again() -> None:
    done = STATUS | {"state": "done", "done": 1}
    act = in_turn(answers(STATUS), never_answers, answers({}, 500), answers(done))
    seen: list[str] = []
    with scripted(act) as (url, server):
        job = WebUI(url, timeout=0.2).job("a b/c")
        assert job.follow(lambda status: seen.append(status.state), pause=0).done == 1
    assert seen == ["running", "done"]
    assert server.received[0].path == "/ctrlgen/v1/tune/a%20b%2Fc"


@pytest.mark.parametrize("name", ["../report.html", "/etc/passwd", "cells/../../x", "C:x", "a\\..\\b", ""])
def test_a_server_cannot_name_files_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(HostError, match="outside"):
        inside(tmp_path, name)


def test_the_client_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, json, lib_ctrlgen.client as c; print(json.dumps(sorted({*sys.modules})))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "numpy", "cv2", "fastapi"} & set(json.loads(found.stdout))
