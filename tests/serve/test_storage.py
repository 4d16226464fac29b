"""What users keep: counted exactly also after a kill, limited, and removed when it is old."""

import sqlite3
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("fastapi", minversion="0.115", reason="test of the server: install the extra `serve`")
from lib_ctrlgen.serve import service as service_module
from lib_ctrlgen.serve import storage
from lib_ctrlgen.serve.database import SCHEMAS
from lib_ctrlgen.serve.results import size_of
from lib_ctrlgen.serve.service import Service
from tests.support.serve_jobs import ANNA, BERT, ended, job_of, story_of, wait_for
from tests.support.serve_team import Team, error_of

Make = Callable[..., Service]


class Disk(NamedTuple):
    """What `shutil.disk_usage` returns."""

    free: int


def finished(service: Service, **fields: Any) -> Any:
    job = service.submit(ANNA, job_of(**fields))
    wait_for(lambda: ended(service, job))
    return service.store.require(job.id)


def on_disk(service: Service, job: Any) -> int:
    """The bytes of a job as the disk and the file have them, counted in another way."""
    query = "SELECT payload, settings FROM jobs JOIN payloads USING (number) WHERE number = ?"
    sent = sum(len(text.encode()) for text in service.store.database.row(query, job.number))
    return sent + sum(
        path.stat().st_size for path in service.folders.result(job).rglob("*") if path.is_file()
    )


def test_a_user_who_keeps_too_much_is_told_what_to_do_and_others_go_on(make: Make, tmp_path: Path) -> None:
    first = make(1)
    first.start()
    job = finished(first)
    kept = first.store.kept.of("anna")
    assert kept == on_disk(first, job) > 0
    first.stop(0)
    team = Team(make(1, stored=kept + 100), tmp_path)
    team.service.start()
    assert team.ask("GET", "/me").json()["kept"] == kept
    path, message = error_of(team.post(), 507)
    assert (path, "remove jobs or recipes" in message) == ("", True)
    assert error_of(team.ask("POST", "/recipes", json={"job": job.id, "name": "Star"}), 507)[1] == message
    assert team.post("bert").status_code == 201
    assert team.ask("DELETE", f"/jobs/{job.id}").status_code == 200
    assert team.ask("GET", "/me").json()["kept"] == 0
    assert team.post().status_code == 201


def test_what_earlier_jobs_made_keeps_a_later_one_from_starting(make: Make) -> None:
    service = make(1)
    sizes = [service.submit(user, job_of(seed=3)) for user in (ANNA, BERT)]
    sent = service.store.kept.of("anna")
    service.stop(0)
    service = make(1, stored=2 * sent + 10)
    late = service.submit(ANNA, job_of(seed=4))
    service.start()
    wait_for(lambda: ended(service, late, *sizes))
    assert [service.store.require(job.id).state for job in (*sizes, late)] == ["done", "done", "failed"]
    assert "remove jobs or recipes" in service.store.require(late.id).error["message"]


def test_the_counts_are_exact_after_a_kill_between_any_two_steps(make: Make, tmp_path: Path) -> None:
    service = make(1)
    service.start()
    removed, old = finished(service), finished(service, prompt="old")
    team = Team(service, tmp_path)
    saved = {"job": old.id, "name": "Star"}
    assert team.ask("POST", "/recipes", "bert", json=saved).status_code == 404  # it is anna's job
    team.ask("POST", "/recipes", json=saved)
    recipe = service.folders.recipes / "Star"
    noted = service.store.kept.of("anna")
    assert noted == sum(on_disk(service, job) for job in (removed, old)) + size_of(recipe)
    service.store.remove(removed)  # killed before its files went
    service.store.kept.recipe_gone("Star")  # killed before its bytes were noted
    service.store.kept.recipe_has("Gone", 1000, "anna")  # killed while it was deleted
    service.store.database.row("UPDATE jobs SET made_bytes = NULL")  # of an earlier version
    service.stop(0)
    service = make(0)
    service.start()
    assert not service.folders.has_files(removed.id)
    assert service.store.kept.removals() == []
    assert service.store.kept.recipes() == {"Star": size_of(recipe)}
    assert service.store.kept.of("anna") == on_disk(service, old) + size_of(recipe)


def test_a_file_of_an_earlier_version_is_counted(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "jobs.sqlite") as old:
        for number, schema in enumerate(SCHEMAS[:2], 1):
            old.executescript(f"{schema} PRAGMA user_version = {number};")
        values = ("a1", "anna", "run", "", "done", "{}", 1.0)
        columns = "id, user, kind, title, state, settings, created"
        old.execute(f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        old.execute("INSERT INTO payloads VALUES (1, ?)", ('{"prompt": "a star"}',))
    old.close()
    (tmp_path / "data" / "results" / "a1").mkdir(parents=True)
    (tmp_path / "data" / "results" / "a1" / "00000.png").write_bytes(b"12345")
    service = make(0)
    service.start()
    assert service.store.kept.of("anna") == len("{}") + len('{"prompt": "a star"}') + 5


def test_a_version_of_a_recipe_is_its_authors(make: Make, tmp_path: Path) -> None:
    team = Team(make(1), tmp_path)
    team.service.start()
    jobs = {name: team.done(name, seed=number)["id"] for number, name in enumerate(("anna", "bert"))}
    for name, job in jobs.items():
        assert team.ask("POST", "/recipes", name, json={"job": job, "name": "Star"}).status_code == 201
    kept = {name: team.service.store.kept.of(name) for name in jobs}
    recipe = size_of(team.service.folders.recipes / "Star")
    job_sizes = sum(on_disk(team.service, team.service.store.require(job)) for job in jobs.values())
    assert sum(kept.values()) == recipe + job_sizes
    assert all(size > 1000 for size in kept.values())
    assert team.ask("DELETE", "/recipes/Star").status_code == 200
    assert sum(team.service.store.kept.of(name) for name in jobs) == job_sizes


def test_a_disk_that_is_nearly_full_takes_nothing_and_jobs_wait(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Team(make(1, floor=1000), tmp_path)
    waiting = team.post().json()["id"]
    free = [999]
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _folder: Disk(free[0]))
    monkeypatch.setattr(service_module, "FREE_SECONDS", 0.01)
    team.service.start()
    wait_for(lambda: team.service.ready)
    for path, body in (("/jobs", {"prompt": "a star"}), ("/stories", story_of())):
        assert "free on the server's disk" in error_of(team.ask("POST", path, json=body), 507)[1]
    upload = team.ask("POST", "/page/gradio_api/upload", files={"files": b"1"})
    assert "free on the server's disk" in error_of(upload, 507)[1]
    assert team.state(waiting) == "queued"
    free[0] = 1000
    wait_for(lambda: team.state(waiting) == "done")


def test_old_jobs_are_removed_and_recipes_stay(make: Make, tmp_path: Path) -> None:
    team = Team(make(1, days=2), tmp_path)
    team.service.start()
    old, new = (team.done(seed=seed)["id"] for seed in (1, 2))
    team.ask("POST", "/recipes", json={"job": old, "name": "Star"})
    failed, queued = team.done(prompt="fail")["id"], team.post(prompt="slow").json()["id"]
    past = time.time() - 2 * storage.DAY - 5
    team.service.store.database.row("UPDATE jobs SET ended = ? WHERE id <> ?", past, new)
    team.service.storage.remove_old()
    assert {job["id"] for job in team.ask("GET", "/jobs").json()} == {new, queued}
    assert not any(team.service.folders.has_files(job) for job in (old, failed))
    assert [recipe["name"] for recipe in team.ask("GET", "/recipes").json()] == ["Star"]


def test_a_zip_is_sent_as_it_is_written(make: Make) -> None:
    service = make(1)
    service.start()
    job = finished(service)
    (service.folders.result(job) / "large.bin").write_bytes(b"x" * 3_000_000)
    parts = list(service.folders.zip(job))
    assert len(parts) > 2
    with zipfile.ZipFile(BytesIO(b"".join(parts))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == service.folders.files(job)
        assert archive.read("large.bin") == b"x" * 3_000_000
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
