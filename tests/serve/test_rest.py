"""The REST routes with fake engines: tokens, limits, errors, results, events, the OpenAPI document."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.serve_fakes import REFUSED
from tests.support.serve_jobs import content_of, data_url, png

pytest.importorskip("fastapi", minversion="0.115", reason="test of the server: install the extra `serve`")
from lib_ctrlgen.serve.access import COOKIE
from tests.support.serve_team import Team, error_of

STEPS = {"path": "steps", "values": "2, 3"}
EDGES = {"model": "ctrlgen-tiny-edges", "image": "layout.png"}


def test_a_job_is_made_and_its_files_are_fetched(team: Team) -> None:
    job = team.done(seed=7)
    assert (job["state"], job["pictures"], job["user"], job["error"]) == ("done", 1, "anna", None)
    assert job["settings"]["seed"] == 7
    assert job["files"] == ["00000.png", "job.json"]
    picture = team.ask("GET", f"/jobs/{job['id']}/pictures/0")
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(picture.content)).getpixel((0, 0)) == (7, 0, 0)
    saved = team.ask("GET", f"/jobs/{job['id']}/files/job.json")
    assert saved.headers["content-disposition"].startswith("attachment")
    archive = zipfile.ZipFile(io.BytesIO(team.ask("GET", f"/jobs/{job['id']}/zip").content))
    assert archive.namelist() == job["files"]
    assert archive.read("00000.png") == picture.content
    assert team.ask("DELETE", f"/jobs/{job['id']}").status_code == 200
    assert team.ask("GET", f"/jobs/{job['id']}/pictures/0").status_code == 404
    assert not list((team.service.folders.root / "results").iterdir())


def test_events_end_with_the_whole_job(team: Team) -> None:
    posted = team.post(prompt="a star", steps=4).json()
    with team.http.stream("GET", f"/jobs/{posted['id']}/events", headers=bearer(team)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = "".join(answer.iter_text()).strip().split("\n\n")
    events = [part.split("\n") for part in told if not part.startswith(":")]
    *first, (name, data) = events
    assert all(each == "event: progress" for each, _ in first)
    assert name == "event: end"
    assert json.loads(data.removeprefix("data: "))["files"] == ["00000.png", "job.json"]


def bearer(team: Team, user: str = "anna") -> dict[str, str]:
    return {"Authorization": f"Bearer {team.tokens[user]}"}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic YTpi", "bearer  "])
def test_nothing_is_answered_without_a_token(idle: Team, header: str) -> None:
    routes = [
        (method, route.path)
        for route in idle.http.app.routes  # type: ignore[attr-defined]
        for method in getattr(route, "methods", None) or ()
        if getattr(route, "include_in_schema", False) and route.path != "/health"
    ]
    assert len(routes) >= 14
    for method, path in routes:
        url = re.sub(r"\{.+?\}", "0", path)
        answer = idle.http.request(method, url, headers={"Authorization": header} if header else {})
        assert error_of(answer, 401)[1]
        assert answer.headers["www-authenticate"] == "Bearer"
    assert idle.http.get("/health").json()["status"] == "no worker"


def test_a_removed_user_and_an_open_file_end_the_access(idle: Team) -> None:
    assert idle.ask("GET", "/me").json()["role"] == "user"
    idle.users.remove("anna")
    assert idle.ask("GET", "/me").status_code == 401
    idle.users.path.chmod(0o644)
    assert idle.ask("GET", "/me", "bert").status_code == 503


def test_users_see_only_their_own_jobs_and_an_admin_all(team: Team) -> None:
    job = team.done("anna")["id"]
    for method, path in [
        ("GET", ""), ("GET", "/events"), ("GET", "/pictures/0"), ("GET", "/files/00000.png"), ("GET", "/zip"),
        ("DELETE", ""),
    ]:  # fmt: skip
        assert error_of(team.ask(method, f"/jobs/{job}{path}", "bert"), 404)
    assert team.ask("GET", "/jobs", "bert").json() == []
    assert team.ask("GET", "/jobs?user=anna", "bert").json() == []
    assert [each["id"] for each in team.ask("GET", "/jobs", "chef").json()] == [job]
    assert team.ask("GET", "/jobs?user=bert", "chef").json() == []
    assert team.ask("GET", f"/jobs/{job}/pictures/0", "chef").status_code == 200


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"steps": 0}, "$.steps"),
        ({"stpes": 4}, "$.stpes"),
        ({"model": "nothing"}, "$.model"),
        ({"width": 136}, "$.width"),
        ({"batch_size": 7}, "$.batch_size"),
        ({"tune": {"x": {"path": "steps", "values": "2, 0"}}}, "$.tune.x.values[1]"),
        ({"tune": {"x": {"path": "steps", "values": "1-9 [9]"}}}, "$.tune"),
        ({"tune": {"x": {"path": "width", "values": "64, 256"}}}, "$.tune.x.values[1]"),
        ({"tune": {"auto": {"budget": 7, "ranges": [STEPS]}}}, "$.tune.auto.budget"),
        ({"units": [{"model": "ctrlgen-tiny-edges", "weight": "1@2"}]}, "$.units[0].weight"),
    ],
)  # fmt: skip
def test_a_wrong_job_is_refused_before_it_is_queued(idle: Team, fields: dict[str, Any], path: str) -> None:
    assert error_of(idle.post(**fields), 422)[0] == path
    assert idle.ask("GET", "/jobs").json() == []


def test_the_queue_of_a_user_is_limited(idle: Team) -> None:
    for _ in range(3):
        assert idle.post().status_code == 201
    assert "3 of your jobs" in error_of(idle.post(), 429)[1]
    assert idle.post("bert").status_code == 201
    first = idle.ask("GET", "/jobs").json()[-1]["id"]
    assert idle.ask("DELETE", f"/jobs/{first}").json()["state"] == "cancelled"
    assert idle.post().status_code == 201
    assert idle.ask("GET", "/me").json()["jobs"] == {"queued": 3, "cancelled": 1}


def test_pictures_come_in_the_job_or_beside_it_and_never_from_the_server(idle: Team, tmp_path: Path) -> None:
    unit = "{model: ctrlgen-tiny-edges, image: 'pictures/layout.png'}"
    job = f"prompt: a star\nwidth: 64\nheight: 64\nunits: [{unit}]\n"
    form = {"files": {"job": ("job.yaml", job), "a": ("layout.png", png())}}
    posted = idle.ask("POST", "/jobs", **form)
    assert posted.status_code == 201, posted.text
    yaml = idle.ask("POST", "/jobs", content=job.replace("pictures/layout.png", data_url(png())))
    read = idle.ask("GET", f"/jobs/{yaml.json()['id']}")
    shown = [each.json()["settings"]["units"][0]["image"] for each in (yaml, read)]
    assert shown[0] == shown[1]
    assert shown[0].startswith("sha256:")
    own = tmp_path / "own.png"
    own.write_bytes(png())
    for name in (str(own), "../own.png", "/etc/passwd", f"file://{own}", "layout.png"):
        path, message = error_of(idle.post(units=[{**EDGES, "image": name}]), 422)
        assert path == "$.units[0].image"
        assert "base64" in message
    assert error_of(idle.post(units=[{"model": "x", "images": str(tmp_path)}]), 422)[0] == "$.units[0].images"
    unused = {"files": {"job": ("job.yaml", "prompt: a star"), "a": ("layout.png", png())}}
    assert "layout.png" in error_of(idle.ask("POST", "/jobs", **unused), 422)[1]


def test_a_body_that_is_too_large_or_no_job_is_refused(idle: Team) -> None:
    assert "MiB" in error_of(idle.ask("POST", "/jobs", content=b"x" * 200_001), 413)[1]
    chunks = (b"x" * 50_000 for _ in range(5))
    assert error_of(idle.ask("POST", "/jobs", content=chunks), 413)
    laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in (b"", b"[1]", b"a: b: c", b"\xff", b"{", laughs.encode()):
        assert error_of(idle.ask("POST", "/jobs", content=text), 422)[1]


def test_a_failed_job_says_why(team: Team) -> None:
    job = team.done(prompt="fail")
    assert (job["state"], job["error"]) == (
        "failed",
        {"path": "$.prompt", "message": REFUSED},
    )
    assert error_of(team.ask("GET", f"/jobs/{job['id']}/zip"), 404)


def test_a_browser_logs_in_with_the_token(team: Team) -> None:
    job = team.done()["id"]
    assert team.http.get("/").text.count("Your token") == 1
    wrong = team.http.post("/login", data={"token": "<b>x</b>"})
    assert (wrong.status_code, "<b>" in wrong.text) == (401, False)
    right = team.http.post("/login", data={"token": team.tokens["anna"]})
    assert right.status_code == 303
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert team.http.get(f"/jobs/{job}/pictures/0").status_code == 200
    assert team.http.get("/").headers["location"] == "./page/"
    assert team.http.delete(f"/jobs/{job}").status_code == 401  # only a token changes anything
    old = team.http.cookies[COOKIE]
    team.http.get("/logout")
    team.http.cookies.set(COOKIE, old)
    assert team.http.get("/me").status_code == 401


def test_the_openapi_document_is_true(idle: Team) -> None:
    document = idle.http.get("/openapi.json").json()
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references <= schemas.keys()
    served = {
        (route.path.replace(":path", ""), method.lower())
        for route in idle.http.app.routes  # type: ignore[attr-defined]
        for method in getattr(route, "methods", ()) or ()
        if getattr(route, "include_in_schema", False)
    }
    written = {(path, method) for path, entry in document["paths"].items() for method in entry}
    assert written == served
    answer = idle.post().json()
    assert answer.keys() == schemas["WholeJobAnswer"]["properties"].keys()
    assert content_of().keys() <= schemas["Job"]["properties"].keys()
    assert "tune" in schemas["Job"]["properties"]
