"""Recipes of the team: saved from jobs by their users, made again, compared, deleted by their makers."""

import io
import zipfile
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.support.serve_jobs import story_of

pytest.importorskip("fastapi", minversion="0.115", reason="test of the server: install the extra `serve`")
from tests.support.serve_team import Team, error_of

SEED = {"seed": 7, "width": 64, "height": 64}


def saved(team: Team, user: str = "anna", **body: Any) -> list[dict[str, Any]]:
    answer = team.ask("POST", "/recipes", user, json=body)
    assert answer.status_code == 201, answer.text
    return list(answer.json())


def test_a_picture_becomes_a_recipe_with_its_history_and_is_made_again(team: Team) -> None:
    first, second = team.done(prompt="a star", **SEED), team.done("bert", prompt="a red star", **SEED)
    (recipe,) = saved(team, job=first["id"], name="Star", message="first try")
    assert (recipe["name"], recipe["version"]["author"], recipe["notes"]) == ("Star", "anna", [])
    saved(team, "bert", job=second["id"], name="star")
    (row,) = team.ask("GET", "/recipes", "bert").json()
    assert (row["name"], row["version"]["author"]) == ("Star", "bert")
    history = team.ask("GET", "/recipes/Star/history").json()
    assert [each["author"] for each in history] == ["bert", "anna"]
    assert history[1]["message"] == "first try"
    whole = team.ask("GET", "/recipes/star").json()
    assert (whole["creator"], whole["settings"]["prompt"], whole["missing"]) == ("anna", "a red star", [])
    difference = team.ask("GET", "/recipes/Star/diff").json()
    assert "-prompt: a star\n+prompt: a red star" in difference["text"]
    assert [pair["place"] for pair in difference["pictures"]] == ["result"]

    old = {"version": history[1]["id"]}
    again = team.ended(team.ask("POST", "/recipes/Star/jobs", "bert", json=old), "bert")
    assert (again["state"], again["user"], again["settings"]["prompt"]) == ("done", "bert", "a star")
    text = team.ask("GET", "/recipes/Star/job", params=old).text
    assert team.ended(team.ask("POST", "/jobs", content=text))["settings"] == again["settings"]
    assert team.ask("POST", "/recipes/Star/restore", json=old).json()["author"] == "anna"
    assert team.ask("GET", "/recipes/Star").json()["settings"]["prompt"] == "a star"
    picture = Image.open(io.BytesIO(team.ask("GET", "/recipes/Star/result").content))
    assert picture.getpixel((0, 0)) == (7, 0, 0)
    archive = zipfile.ZipFile(io.BytesIO(team.ask("GET", "/recipes/Star/zip").content))
    assert archive.namelist() == ["recipe.yaml", "result.png"]


def test_who_made_a_recipe_or_an_admin_deletes_it(team: Team) -> None:
    job = team.done(**SEED)["id"]
    saved(team, job=job, name="One")
    saved(team, job=job, name="Two")
    assert "anna or an admin deletes" in error_of(team.ask("DELETE", "/recipes/One", "bert"), 403)[1]
    assert team.ask("DELETE", "/recipes/one").json() == {"name": "One", "versions": 1}
    assert team.ask("DELETE", "/recipes/Two", "chef").status_code == 200
    assert team.ask("GET", "/recipes").json() == []


def test_all_assets_of_a_story_become_recipes(team: Team) -> None:
    job = team.ended(team.ask("POST", "/stories", json=story_of()))
    names = [each["name"] for each in saved(team, job=job["id"])]
    assert names == ["Small mia--sea", "Small mia--hill"]
    assert [each["name"] for each in saved(team, job=job["id"], picture=1, name="Hill")] == ["Hill"]
    assert saved(team, job=job["id"])[0]["version"]["message"] == f"The job {job['id']}"
    assert len(team.ask("GET", "/recipes/Small mia--sea/history").json()) == 1  # the same files, no version
    text = team.ask("GET", f"/jobs/{job['id']}/pictures/1/job").text
    assert yaml.safe_load(text)["prompt"] == "mia--hill"


def test_what_cannot_be_saved_or_found_is_told(team: Team) -> None:
    job = team.done(**SEED)["id"]
    failed = team.done(prompt="fail")["id"]
    for body, code, words in (
        ({"job": job, "name": "a/b"}, 422, "contains /"),
        ({"job": job}, 422, "1 to 80 letters"),
        ({"job": job, "name": "a", "picture": 1}, 404, "has 1 pictures"),
        ({"job": job, "names": "a"}, 422, "unknown field"),
        ({"job": failed, "name": "a"}, 404, "it is failed"),
        ([1], 422, "expected an object"),
    ):
        assert words in error_of(team.ask("POST", "/recipes", json=body), code)[1]
    assert "no job" in error_of(team.ask("POST", "/recipes", "bert", json={"job": job, "name": "a"}), 404)[1]
    assert error_of(team.ask("GET", "/recipes/a"), 404)
    saved(team, job=job, name="a")
    for path in ("a/history?variant=b", "a/job?version=xyz", "a/zip?version=1234567"):
        assert error_of(team.ask("GET", f"/recipes/{path}"), 422)
    assert not [path for path in (team.service.folders.root / "recipes").iterdir() if path.name[0] == "."][1:]
