"""The ratings of a tuner job over REST, and the link to its report."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.tuner.ratings import NAME
from tests.support.fake_libraries import HTTPException
from tests.support.fake_webui import FakeWebUI, fresh, served
from tests.support.openapi import answer_schema, problems

A, B = "0" * 16, "f" * 16
VOTE = {"shown": [A, B], "order": [B], "at": 7}


@pytest.fixture
def grids(tmp_path: Path) -> Path:
    return tmp_path / "g"


@pytest.fixture
def webui(tmp_path: Path, grids: Path) -> Iterator[FakeWebUI]:
    with served(FakeWebUI(), tmp_path) as found:
        found.opts.data |= {"outdir_txt2img_grids": str(grids), "outdir_img2img_grids": str(tmp_path / "i")}
        found.opts.data |= {"outdir_grids": ""}
        yield found


@pytest.fixture
def job(webui: FakeWebUI, grids: Path) -> Path:
    """The folder of a finished job."""
    return run_in(grids, "a chair")


def run_in(root: Path, name: str) -> Path:
    folder = root / "ctrlgen-tuner" / name
    fresh("tuner.plan").progress_file(folder).write("running", done=2, total=5)
    (folder / "report.html").write_text("<html>")
    return folder


def test_ratings_are_added_and_answered_with_strengths(job: Path) -> None:
    routes = fresh("tuner.ratings").RatingRoutes()
    empty = {"cells": {}, "votes": {}, "strengths": {}}
    assert routes.get("a chair") == empty
    said = routes.post("a chair", {"cells": {A: {"stars": 4, "at": 5}}, "votes": {"v": VOTE}})
    assert said["cells"] == {A: {"stars": 4, "at": 5}}
    assert said["strengths"][B]["share"] > 0.5 > said["strengths"][A]["share"]
    assert routes.get("a chair") == said
    older = routes.post("a chair", {"cells": {A: {"stars": 1, "at": 4}}})
    assert older == said
    written = json.loads(Path("docs/openapi.json").read_text("utf-8"))
    path = "/ctrlgen/v1/tune/{name}/ratings"
    for method in ("get", "post"):
        assert problems(answer_schema(written, method, path), json.loads(json.dumps(said))) == []
    assert json.loads((job / NAME).read_text())["votes"] == {"v": VOTE}


def test_wrong_ratings_and_jobs_say_what_is_wrong(job: Path) -> None:
    routes = fresh("tuner.ratings").RatingRoutes()
    with pytest.raises(RequestError):
        routes.post("a chair", {"cells": {"<script>": {"stars": 1}}})
    for call in (lambda: routes.get("table"), lambda: routes.post("table", {})):
        with pytest.raises(HTTPException) as caught:
            call()
        assert caught.value.status_code == 404
    (job / NAME).write_text("[")
    with pytest.raises(HostError, match="move the file away"):
        routes.post("a chair", {})


def test_the_link_names_the_newest_report_and_its_progress(
    webui: FakeWebUI, job: Path, grids: Path, tmp_path: Path
) -> None:
    link = fresh("tuner.report_link").report_link
    assert 'href="ctrlgen/v1/tune/a%20chair/files/report.html"' in link("txt2img")
    assert link("txt2img").endswith("Report of a chair</a>: 2 of 5 cells, running</p>")
    assert "no report yet" in link("img2img")
    run_in(grids, "<b>")
    assert 'tune/%3Cb%3E/files/report.html">Report of &lt;b&gt;</a>' in link("txt2img", "")
    assert "Report of a chair" in link("txt2img", " a chair ")
    os.utime(job, (1, 1))
    run_in(tmp_path / "i", "a chair")  # takes the name
    assert f'href="file={job.as_posix().replace(" ", "%20")}/report.html"' in link("txt2img", "a chair")


def test_runs_of_the_page_in_another_folder_are_found(webui: FakeWebUI, tmp_path: Path) -> None:
    webui.opts.data["outdir_grids"] = str(tmp_path / "all grids")
    folder = run_in(tmp_path / "all grids", "chair")
    assert "tune/chair/files/report.html" in fresh("tuner.report_link").report_link("img2img")
    fresh("tuner.ratings").RatingRoutes().post("chair", {"cells": {A: {"stars": 4, "at": 5}}})
    assert (folder / NAME).exists()
