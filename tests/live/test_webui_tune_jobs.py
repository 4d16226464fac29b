"""The tuner's job route in the real WebUI."""

import time
from typing import Any

import numpy as np
import pytest

from tests.live.conftest import EDGES, SIZE, Answer, WebUI, close
from tests.support.live_jobs import ROUTE, X, picture, posted, waited

pytestmark = pytest.mark.live


def test_a_jobs_cells_are_the_generations_alone(webui: WebUI, plain: Answer, tmp_path: Any) -> None:
    answer = posted(webui, EDGES)
    assert answer.status_code == 202, answer.text
    name = answer.json()["id"]
    assert answer.json() == {"id": name, "cells": 2, "pictures": 2}
    said = waited(webui, name, "done", "failed")
    assert (said["state"], said["done"], said["total"]) == ("done", 2, 2), said
    for cell, weight in zip(said["cells"], (0, 1), strict=True):
        pixels, text = picture(webui, name, cell["files"][0], tmp_path)
        assert pixels.shape == (SIZE, SIZE, 3)
        assert close(pixels, webui.generate(EDGES | {"weight": weight}).images[0])
        assert "Steps: 4" in text
        assert "over_control" in cell["scores"]
    assert said["recommended"]["cell"] in (0, 1)
    assert name in [job["id"] for job in webui.get(ROUTE).json()]
    assert webui.get(f"{ROUTE}/{name}/files/report.html").status_code == 200
    assert webui.generate().same(plain)


def test_the_same_job_again_makes_only_what_is_new(webui: WebUI) -> None:
    name = posted(webui, EDGES).json()["id"]
    waited(webui, name, "done")
    assert posted(webui, EDGES, name=name, x=X | {"values": "0, 0.5, 1"}).status_code == 202
    assert waited(webui, name, "done")["total"] == 3


def test_a_running_job_is_refused_and_interrupted(webui: WebUI, plain: Answer) -> None:
    many = {"path": "Unit 0 weight", "values": "0.1-1 [10]"}
    fields = {"steps": 60, "width": 128, "height": 128}
    name = posted(webui, EDGES, x=many, fields=fields).json()["id"]
    waited(webui, name, "running")
    assert posted(webui, EDGES, name=name).status_code == 409
    webui.session.delete(f"{webui.url}{ROUTE}/{name}", timeout=60)
    said = waited(webui, name, "interrupted", "done", "failed")
    assert said["state"] == "interrupted"
    assert said["done"] < 10
    assert webui.generate().same(plain)


def test_one_that_waits_is_removed_and_the_running_one_goes_on(webui: WebUI) -> None:
    first = posted(webui, EDGES, fields={"steps": 60, "width": 128, "height": 128}).json()["id"]
    waited(webui, first, "running")
    second = posted(webui, EDGES).json()["id"]
    webui.session.delete(f"{webui.url}{ROUTE}/{second}", timeout=60)
    assert waited(webui, first, "done", "interrupted")["state"] == "done"
    time.sleep(1)
    said = webui.get(f"{ROUTE}/{second}").json()
    assert (said["state"], said["done"]) == ("interrupted", 0)


def test_places_that_move_together_take_lists(webui: WebUI) -> None:
    values = [["Euler", 3, "a red circle + more"], ["DPM++ 2M", 4, "a blue circle"]]
    answer = posted(webui, x={"path": "sampler+steps+prompt", "values": values})
    assert answer.status_code == 202, answer.text
    said = waited(webui, answer.json()["id"], "done", "failed")
    assert not any(cell["error"] for cell in said["cells"])


def test_what_the_webui_refuses_is_told(webui: WebUI) -> None:
    scripts = {"alwayson_scripts": {"no such script": {"args": []}}}
    name = posted(webui, fields=scripts, x={"path": "Steps", "values": "2, 3"}).json()["id"]
    said = waited(webui, name, "done", "failed")
    assert said["state"] == "failed"
    assert "no such script" in said["error"].lower()


@pytest.mark.parametrize(
    ("tune", "fields", "path"),
    [
        ({"x": {"path": "Unit 0 weight", "values": "1, 2@"}}, {}, "$.tune.x.values[1]"),
        ({"w": 1}, {}, "$.tune.w"),
        ({"name": "../out"}, {}, "$.tune.name"),
        ({}, {"batch_size": 2}, "$.tune.seeds"),
        ({}, {"steps": "many"}, "$.request"),
        ({}, {"script_name": "X/Y/Z plot"}, "$.request.script_name"),
    ],
)
def test_mistakes_are_found_at_once(webui: WebUI, tune: Any, fields: Any, path: str) -> None:
    answer = posted(webui, EDGES, fields=fields, **tune)
    assert answer.status_code == 422
    assert answer.json()["detail"]["path"] == path


@pytest.mark.parametrize("path", ["nothing", "nothing/files/report.html"])
def test_what_is_not_there_is_404(webui: WebUI, path: str) -> None:
    assert webui.get(f"{ROUTE}/{path}").status_code == 404


def test_the_cluster_of_one_webui_makes_the_same(webui: WebUI, tmp_path: Any) -> None:
    from lib_ctrlgen.cluster.webuis import WebUIRecipe
    from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload
    from lib_ctrlgen.tuner.worker import ScoredCell

    base = {"prompt": "a red circle", "negative_prompt": "blue", "width": SIZE, "height": SIZE, "seed": 1}
    base |= {"steps": 4, "sampler": "Euler", "cfg_scale": 5}
    requests = [
        parse_request(base | {"units": [EDGES | {"weight": weight}]}, GenerationRequest)
        for weight in (0.5, 1)
    ]
    cells = [(str(number), to_payload(each, whole=True)) for number, each in enumerate(requests)]
    outcomes = dict(WebUIRecipe(url=webui.url).build().make(cells))
    for key, weight in (("0", 0.5), ("1", 1)):
        judged = outcomes[key]
        assert isinstance(judged, ScoredCell), judged
        alone = webui.generate(EDGES | {"weight": weight}).images[0]
        assert close(np.asarray(judged.made.images[0]), alone)
