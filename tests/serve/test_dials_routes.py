"""The routes of the page of dials: sessions, other users, other sites, wrong inputs, and a preview's life."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.headless.job_text import parse_yaml
from lib_ctrlgen.headless.jobs import parse_job
from lib_ctrlgen.serve.users import UsersFile
from tests.support.serve_jobs import ANNA, FakeModels, content_of, ended, job_of, png, story_of, wait_for
from tests.support.serve_requests import PICTURE, everything

pytest.importorskip("fastapi", minversion="0.115", reason="test of the server: install the extra `serve`")
from fastapi.testclient import TestClient

from lib_ctrlgen.serve.access import Access
from lib_ctrlgen.serve.app import create_app
from lib_ctrlgen.serve.dials.routes import ASSETS, add_dials
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.recipes import SaveRecipe, TeamRecipes
from lib_ctrlgen.serve.stories import checked_story

OWN = {"X-CtrlGen": "dials"}
EDGES = {"model": "ctrlgen-tiny-edges", "image": PICTURE}


class Team:
    """A server with browsers of two users, and one that did not log in."""

    def __init__(self, service: Any, folder: Path) -> None:
        self.service, users = service, UsersFile(folder / "users.yaml")
        access, models = Access(users), FakeModels()
        app = create_app(service, access, models)
        add_dials(app, service, access, models)
        self.anna, self.bert, self.nobody = (TestClient(app, follow_redirects=False) for _ in range(3))
        for name, client in (("anna", self.anna), ("bert", self.bert)):
            client.post("/login", data={"token": users.add(name)})


@pytest.fixture
def team(make: Any, tmp_path: Path) -> Team:
    service = make(1, side=128, upload=200_000)
    service.start()
    return Team(service, tmp_path)


@pytest.fixture
def idle(make: Any, tmp_path: Path) -> Team:
    return Team(make(0, side=128, upload=200_000), tmp_path)


def error_of(answer: Any, code: int) -> tuple[str, str]:
    assert answer.status_code == code, answer.text
    detail = answer.json()["detail"]
    return detail["path"], detail["message"]


def test_a_preview_is_made_fetched_and_gone(team: Team) -> None:
    content = content_of(seed=9, units=[EDGES])
    posted = team.anna.post("/dials/previews", json={"request": content}, headers=OWN)
    job = posted.json()["id"]
    with team.anna.stream("GET", f"/jobs/{job}/events") as events:
        assert "event: end" in "".join(events.iter_text())
    found = team.anna.get(f"/jobs/{job}").json()
    assert (found["kind"], found["files"][:2]) == ("preview", ["00000-map-0-edges.png", "00000.png"])
    picture = team.anna.get(f"/jobs/{job}/pictures/0")
    assert Image.open(io.BytesIO(picture.content)).getpixel((0, 0)) == (9, 0, 0)
    assert team.anna.get("/jobs").json() == []
    assert team.anna.get("/me").json()["jobs"] == {}
    for path in (f"/jobs/{job}", f"/jobs/{job}/pictures/0", f"/jobs/{job}/files/00000.png"):
        assert team.bert.get(path).status_code == 404
    assert team.bert.delete(f"/dials/previews/{job}", headers=OWN).status_code == 200
    assert team.anna.get(f"/jobs/{job}").status_code == 200, "another user removes nothing"
    assert team.anna.delete(f"/dials/previews/{job}", headers=OWN).status_code == 200
    assert team.anna.get(f"/jobs/{job}").status_code == 404
    assert not list((team.service.folders.root / "results").iterdir())


def test_an_ordinary_job_is_no_preview_to_remove(idle: Team) -> None:
    made = idle.anna.post("/dials/jobs", json={"request": content_of()}, headers=OWN)
    assert made.status_code == 201
    assert idle.anna.delete(f"/dials/previews/{made.json()['id']}", headers=OWN).status_code == 200
    (job,) = idle.service.store.listed("anna")
    assert (job.id, job.state, job.kind) == (made.json()["id"], "queued", "run")


def test_a_request_with_everything_is_opened_exported_made_and_opened_again(idle: Team) -> None:
    content = everything()
    text = idle.anna.post("/dials/yaml", json={"request": content}, headers=OWN)
    assert parse_yaml(text.text, "it") == content
    opened = idle.anna.post("/dials/open", files={"job": (None, text.text)}, headers=OWN)
    assert opened.json()["request"] == content
    content["units"][0]["storage"] = "auto"
    made = idle.anna.post("/dials/jobs", json={"request": content}, headers=OWN)
    assert made.status_code == 201, made.text
    job = idle.anna.get(f"/dials/jobs/{made.json()['id']}").json()["request"]
    assert job["seed"] >= 0
    assert parse_job(job) == parse_job({**content, "seed": job["seed"]})
    assert idle.bert.get(f"/dials/jobs/{made.json()['id']}").status_code == 404


def test_the_requests_of_pictures_and_recipes_are_opened(team: Team) -> None:
    checked = checked_story(story_of(), Limits(), FakeModels())
    story = team.service.submit(ANNA, checked)
    cell = team.service.submit(ANNA, job_of("a cell", units=[EDGES]))
    wait_for(lambda: ended(team.service, story, cell))
    assert "open one of its pictures" in error_of(team.anna.get(f"/dials/jobs/{story.id}"), 404)[1]
    asset = team.anna.get(f"/dials/jobs/{story.id}/pictures/1").json()["request"]
    assert asset["prompt"] == "mia--hill"
    assert asset["units"][0]["image"].startswith("data:image/png")
    assert team.anna.get(f"/dials/jobs/{cell.id}/pictures/0").json()["request"]["prompt"] == "a cell"
    assert "has 2 pictures" in error_of(team.anna.get(f"/dials/jobs/{story.id}/pictures/2"), 404)[1]
    assert error_of(team.bert.get(f"/dials/jobs/{story.id}/pictures/1"), 404)
    story = team.service.store.require(story.id)
    recipes = TeamRecipes(team.service, FakeModels())
    for number, message in enumerate(("first", "second")):
        recipes.save(ANNA, story, SaveRecipe(job=story.id, picture=number, name="Tale", message=message))
    first = recipes.find("Tale").history()[-1].id
    found = [team.bert.get(f"/dials/recipes/Tale?version={version}").json() for version in ("", first)]
    assert [each["request"]["prompt"] for each in found] == ["mia--hill", "mia--sea"]
    for path in (f"jobs/{story.id}/pictures/1", "recipes/Tale"):
        assert team.nobody.get(f"/dials/{path}").status_code == 401
    assert error_of(team.bert.get("/dials/recipes/Other"), 404)


def test_a_file_is_opened_with_the_pictures_that_it_names(idle: Team) -> None:
    job = "units: [{model: ctrlgen-tiny-edges, image: pictures/a.png}]"
    files = {"job": (None, job), "a.png": ("a.png", png())}
    opened = idle.anna.post("/dials/open", files=files, headers=OWN).json()["request"]
    assert opened["units"][0]["image"] == PICTURE
    path, message = error_of(idle.anna.post("/dials/open", files={"job": (None, job)}, headers=OWN), 422)
    assert path == "$.units[0].image"
    assert "no file 'a.png'" in message
    assert error_of(idle.anna.post("/dials/open", files={"job": (None, "units: 1")}, headers=OWN), 422)[
        0
    ] == ("$.units")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"request": content_of(units=[{**EDGES, "weight": "1@2"}])}, "$.units[0].weight"),
    ({"request": content_of(units=[{**EDGES, "params": {"low": 0}}])}, "$.units[0].params.low"),
    ({"request": content_of(width=512)}, "$.width"),
    ({"request": {"units": [None]}}, "$.units[0]"),
    ({"request": []}, "$.request"),
    ({"request": {}, "size": {"side": 1}}, "$.size.side"),
    ({"request": content_of(), "size": {"only": 3}}, "$.units"),
    ({"request": {"model": "ctrlgen-tiny"}, "more": 1}, "$.more"),
]


def test_a_wrong_request_queues_nothing(idle: Team) -> None:
    for body, path in WRONG:
        assert error_of(idle.anna.post("/dials/previews", json=body, headers=OWN), 422)[0] == path
    answer = idle.anna.post("/dials/previews", content=b"{", headers=OWN)
    assert "not JSON" in error_of(answer, 422)[1]
    assert idle.anna.post("/dials/yaml", content=b"0" * 300_000, headers=OWN).status_code == 413
    assert idle.service.store.listed() == idle.service.store.previews() == []


def test_only_the_page_of_a_session_changes_anything(idle: Team) -> None:
    body = {"request": content_of()}
    for method, path in (
        ("POST", "previews"), ("POST", "jobs"), ("POST", "yaml"), ("POST", "open"), ("DELETE", "previews/x"),
    ):  # fmt: skip
        assert idle.anna.request(method, f"/dials/{path}", json=body).status_code == 401, (
            "another site's form"
        )
        assert idle.nobody.request(method, f"/dials/{path}", json=body, headers=OWN).status_code == 401
    for path in ("names", "example", "jobs/x", "static/page.js"):
        assert idle.nobody.get(f"/dials/{path}").status_code == 401
    assert idle.nobody.get("/dials/").headers["location"] == "../"
    asked = {"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "x-ctrlgen"}  # fmt: skip
    allowed = idle.anna.options("/dials/jobs", headers=asked)
    assert "access-control-allow-origin" not in allowed.headers
    assert idle.service.store.listed() == idle.service.store.previews() == []


def test_the_page_serves_its_own_files_and_no_others(idle: Team) -> None:
    page = idle.anna.get("/dials/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    for name in (*(path.name for path in ASSETS.iterdir()), "curve.js", "schedule.js"):
        assert idle.anna.get(f"/dials/static/{name}").status_code == 200, name
    for name in ("routes.py", "..%2Froutes.py", "%2Fetc%2Fpasswd", "pose.js", ""):
        assert idle.anna.get(f"/dials/static/{name}").status_code == 404, name
    assert idle.anna.get("/dials/names").json()["user"] == "anna"
    example = idle.anna.get("/dials/example").json()["request"]
    assert len(example["units"]) == 3
