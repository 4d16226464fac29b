"""Stories as jobs: checked, made asset by asset, and continued after a kill and a restart."""

import io
import os
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from lib_ctrlgen.cluster.job_runs import Outcome, Report, outcome_of
from lib_ctrlgen.models.bundled import bundled_folders
from lib_ctrlgen.projects.story.asset_list import AssetList
from lib_ctrlgen.projects.story.pictures import read_story
from lib_ctrlgen.projects.story.posted import posted_story, sent_story
from lib_ctrlgen.projects.story.story_file import StoryFile
from lib_ctrlgen.request.spec import parse_request
from tests.support.serve_jobs import ANNA, data_url, ended, png, story_of, wait_for

pytest.importorskip("fastapi", minversion="0.115", reason="test of the server: install the extra `serve`")
from lib_ctrlgen.serve.checks import EngineChecks
from lib_ctrlgen.serve.engine_runner import EngineOptions, EngineRunner
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.local_worker import LocalWorker
from lib_ctrlgen.serve.models import EngineModels
from lib_ctrlgen.serve.service import Service
from lib_ctrlgen.serve.stories import checked_story
from tests.support.serve_team import Team, error_of

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "story" / "story.yaml"
FOLDERS = tuple(map(str, bundled_folders()))
EDGES = {"kind": "edges", "picture": "pictures/run.png", "model": "ctrlgen-tiny-edges"}
MANY = [{"name": str(number)} for number in range(64)]
RUN = {"name": "Run", "controls": [EDGES]}


def test_a_story_is_made_and_its_assets_are_fetched(team: Team) -> None:
    form = {"story": ("story.yaml", yaml.safe_dump(story_of(poses=[RUN]))), "a": ("run.png", png())}
    job = team.ended(team.ask("POST", "/stories", files=form))
    assert (job["kind"], job["state"], job["title"], job["pictures"]) == ("story", "done", "Small", 2)
    assert [each["name"] for each in job["assets"]] == ["mia--sea--run", "mia--hill--run"]
    assert [(each["made"], each["picture"]) for each in job["assets"]] == [(True, 0), (True, 1)]
    assert job["assets"][1]["place"] == "Hill"
    assert job["settings"]["poses"][0]["controls"][0]["picture"].startswith("sha256:")
    url = f"/jobs/{job['id']}"
    pictures = [team.ask("GET", f"{url}/{path}") for path in ("assets/mia--hill--run", "pictures/1")]
    assert pictures[0].content == pictures[1].content
    assert Image.open(io.BytesIO(pictures[0].content)).getpixel((0, 0)) == (40, 80, 160)
    archive = zipfile.ZipFile(io.BytesIO(team.ask("GET", f"{url}/zip").content))
    assert {"index.html", "assets/mia--sea--run/recipe.yaml"} <= set(archive.namelist())
    sent = yaml.safe_load(team.ask("GET", f"{url}/job").text)
    assert sent["poses"][0]["controls"][0]["picture"] == data_url(png())
    for path in (url, f"{url}/assets/mia--hill--run", f"{url}/job"):
        assert error_of(team.ask("GET", path, "bert"), 404)
    for name in ("mia--moon--run", ".ctrlgen.lock"):
        assert team.ask("GET", f"{url}/assets/{name}").status_code == 404


def test_a_running_story_shows_its_finished_assets_and_is_cancelled(team: Team) -> None:
    posted = team.ask("POST", "/stories", json=story_of("slow")).json()
    assert [each["made"] for each in posted["assets"]] == [False, False]
    url = f"/jobs/{posted['id']}"
    wait_for(lambda: team.ask("GET", url).json()["assets"][0]["made"])
    assert team.ask("GET", f"{url}/assets/mia--sea").headers["content-type"] == "image/png"
    assert error_of(team.ask("GET", f"{url}/assets/mia--hill"), 404)
    wait_for(lambda: team.ask("GET", url).json()["done"] == 1)
    assert team.ask("POST", f"{url}/cancel").json()["stopping"]
    wait_for(lambda: team.state(posted["id"]) == "cancelled")
    assert team.ask("POST", f"{url}/cancel").json()["state"] == "cancelled"  # not removed, as by DELETE


@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({"width": 136}, "$.width", "128 pixels"),
        ({"places": [{"name": str(n)} for n in range(7)]}, "$", "7 pictures are more than this server's 6"),
        (dict.fromkeys(("characters", "places", "poses", "styles"), MANY), "$", "16777216 pictures"),
        ({"heroes": []}, "$.heroes", "unknown field"),
        ({"model": "nothing"}, "$.model", "no model"),
        ({"styles": [{"name": "x", "board": "/etc"}]}, "$.styles[0].board", "a server reads no folder"),
        ({"poses": [RUN]}, "$.poses[0].controls[0].picture", "no file 'run.png' was sent with the story"),
        ({"characters": [{"name": "Mia", "picture": "/etc/passwd"}]}, "$.characters[0].picture", "base64"),
        ({"poses": [{"name": "x", "controls": [{"kind": "pose", "picture": data_url(png())}]}]},
         "$.poses[0].controls[0].kind", "no model for 'pose'"),
    ],
)  # fmt: skip
def test_a_wrong_story_is_refused_before_it_is_queued(
    idle: Team, fields: dict[str, Any], path: str, problem: str
) -> None:
    found = error_of(idle.ask("POST", "/stories", json=story_of(**fields)), 422)
    assert (found[0], problem in found[1]) == (path, True), found
    assert idle.ask("GET", "/jobs").json() == []


def test_what_is_sent_again_with_its_key_is_queued_once(idle: Team) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first, again = (idle.ask("POST", "/stories", json=story_of(), headers=headers).json() for _ in range(2))
    assert first["id"] == again["id"]
    other = idle.ask("POST", "/stories", json=story_of("Other"), headers=headers)
    assert "another job was sent" in error_of(other, 422)[1]
    assert idle.ask("POST", "/stories", "bert", json=story_of("Other"), headers=headers).status_code == 201
    assert "1 to 255" in error_of(idle.ask("POST", "/jobs", json={}, headers={"Idempotency-Key": ""}), 422)[1]
    idle.ask("POST", f"/jobs/{first['id']}/cancel")
    idle.ask("DELETE", f"/jobs/{first['id']}")
    assert idle.ask("POST", "/stories", json=story_of(), headers=headers).json()["id"] != first["id"]
    assert len(idle.ask("GET", "/jobs").json()) == 1


def test_a_story_that_is_sent_has_the_requests_of_the_file(tmp_path: Path) -> None:
    """Pictures become data URLs and folders of mood boards lists, and the requests stay the same."""
    models = EngineModels(EngineChecks(bundled_folders()))
    content = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    content["styles"][0] |= {"board": str(EXAMPLE.parent / "board"), "pictures": []}
    for part in (*content["places"], *content["poses"]):
        for control in part.get("controls", ()):
            control["picture"] = str(EXAMPLE.parent / control["picture"])
    (tmp_path / "story.yaml").write_text(yaml.safe_dump(content), "utf-8")
    read = read_story(tmp_path / "story.yaml")
    sent = sent_story(read)
    assert len(sent["styles"][0]["pictures"]) == 2
    planners = [models.planner(each) for each in (read, posted_story(sent))]
    requests = [[planner.request(asset, "") for asset in planner.assets()] for planner in planners]
    assert requests[0] == requests[1]
    checked_story(sent, Limits(), models)


@pytest.mark.parametrize("consistency", ["seed", "reference", "aligned", "independent"])
def test_assets_are_counted_without_being_made(consistency: str) -> None:
    content = yaml.safe_load(EXAMPLE.read_text("utf-8")) | {"consistency": consistency}
    content["characters"].append({"name": "Fox", "picture": "fox.png"})
    listed = AssetList(story=parse_request(content, StoryFile))
    assets = listed.assets()
    assert listed.count == len(assets)
    shared = [each for each in assets if consistency == "aligned" and not each.role and each.pose]
    assert listed.pictures == len(assets) + len(shared)


class InThisProcess:
    """A worker whose engine is in this process."""

    name = "worker"

    def __init__(self, runner: EngineRunner) -> None:
        self.runner = runner

    def start(self) -> None:
        pass

    def run(self, work: Any, folder: Path, report: Report) -> Outcome:
        return outcome_of(self.runner, work, folder, report)

    cancel = abandon = close = lambda *_: None


def test_a_story_goes_on_after_kill_9_and_a_restart_and_makes_nothing_twice(tmp_path: Path) -> None:
    places = [{"name": name} for name in ("Sea", "Hill", "Town")]
    checks = EngineModels(EngineChecks(bundled_folders()))
    checked = checked_story(story_of(places=places, steps=6), Limits(), checks)
    worker = LocalWorker("worker", {"folders": FOLDERS, "threads": 1})
    service = Service(tmp_path / "data", [worker], Limits())
    job = service.submit(ANNA, checked)
    first = service.folders.work(job) / "assets" / "mia--sea" / "result.png"
    service.start()
    wait_for(first.is_file, 200)
    assert worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    service.stop(0)
    assert not service.folders.result(job).exists()
    before = first.stat().st_mtime_ns
    runner = EngineRunner(EngineOptions(folders=FOLDERS, threads=1))
    again = Service(tmp_path / "data", [InThisProcess(runner)], Limits())  # type: ignore[list-item]
    again.start()
    wait_for(lambda: ended(again, job), 200)
    found = again.store.require(job.id)
    again.stop(0)
    assert (found.state, found.attempts) == ("done", 2), found.error
    assert found.result is not None
    assert found.result["assets"] == ["mia--sea", "mia--hill", "mia--town"]
    result = again.folders.result(job)
    assert (result / "assets" / "mia--sea" / "result.png").stat().st_mtime_ns == before
    assert {"index.html", *found.result["sheets"], *found.result["pictures"]} <= set(
        again.folders.files(found)
    )
    page = (result / "index.html").read_text("utf-8")
    assert "ctrlgen run assets/NAME/recipe.yaml" in page
    assert str(tmp_path) not in page
    assert not list((result / "assets").glob(".*"))
