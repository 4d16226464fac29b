"""The queue: every job once, turns of users, cancelling, lost workers, and a server that is killed."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.results import JobFolders
from lib_ctrlgen.serve.store import JobStore
from lib_ctrlgen.serve.users import User
from lib_ctrlgen.tuner.lock import FolderInUseError
from tests.support.serve_fakes import lines_of
from tests.support.serve_jobs import ANNA, BERT, ended, job_of, wait_for

ROOT = Path(__file__).resolve().parents[2]
TEAM = {"anna": 80, "bert": 60, "cora": 40, "dora": 20}


def turns_of(order: list[str], counts: dict[str, int]) -> int:
    """The largest difference between the starts of two users at a time at which both have waiting jobs."""
    started, worst = Counter[str](), 0
    for user in order:
        started[user] += 1
        waiting = [name for name, count in counts.items() if started[name] < count]
        if waiting:
            worst = max(worst, *(abs(started[a] - started[b]) for a in waiting for b in waiting))
    return worst


def test_200_jobs_of_four_users_are_made_once_in_turns_though_a_worker_dies(
    make: Any, tmp_path: Path
) -> None:
    service = make(2, queue=100)
    jobs = {}
    for name, count in TEAM.items():
        for number in range(count):
            steps = 200 if (name, number) == ("bert", 20) else 2
            checked = job_of(f"{name}-{number}", seed=number, steps=steps)
            job = service.submit(User(name=name, role="user"), checked)
            jobs[job.id] = job
    doomed = next(job for job in jobs.values() if job.title == "bert-20")
    for worker in service.workers:
        worker.options["seconds"] = 0.004
    service.start()
    wait_for(lambda: service.progress(doomed)[0] > 3)
    os.kill(service.running[doomed.id].worker.pid, signal.SIGKILL)
    wait_for(lambda: ended(service, *jobs.values()), 60)
    found = {job.id: job for job in service.store.listed(most=-1)}
    assert found.keys() == jobs.keys()
    assert {job.state for job in found.values()} == {"done"}
    assert {job.id: job.attempts for job in found.values() if job.attempts != 1} == {doomed.id: 2}
    finished = [line[1] for line in lines_of(tmp_path / "log.txt", "end")]
    assert sorted(finished) == sorted(jobs)
    assert len(lines_of(tmp_path / "log.txt", "start")) == 201
    order = sorted(found.values(), key=lambda job: job.started)
    assert turns_of([job.user for job in order], TEAM) <= 2  # 1, and the job that was started twice
    for name in TEAM:
        numbers = [job.number for job in order if job.user == name and job.id != doomed.id]
        assert numbers == sorted(numbers)
        assert {job.user for job in service.store.listed(name)} == {name}
    for job in found.values():
        assert service.folders.files(job) == ["00000.png", "job.json"]
        picture = Image.open(service.folders.result(job) / "00000.png")
        assert picture.getpixel((0, 0)) == (int(job.title.partition("-")[2]), 0, 0)
    assert not list((tmp_path / "data" / "work").iterdir())


@given(st.lists(st.sampled_from("abcd"), max_size=30))
def test_users_with_waiting_jobs_take_turns(sent: list[str]) -> None:
    store = JobStore(Path(":memory:"))
    for user in sent:
        store.add(user, "run", "", {}, {}, Limits())
    claimed = []
    while (job := store.claim()) is not None:
        claimed.append(job)
    order = [job.user for job in claimed]
    assert turns_of(order, dict(Counter(sent))) <= 1
    for user in "abcd":
        numbers = [job.number for job in claimed if job.user == user]
        assert numbers == sorted(numbers)
    assert sorted(order) == sorted(sent)
    store.close()


def test_a_user_who_comes_later_does_not_wait_for_all_jobs_of_another(make: Any) -> None:
    service = make(0)
    for _ in range(5):
        service.submit(ANNA, job_of())
    service.store.claim()
    late = service.submit(BERT, job_of())
    assert service.store.claim().id == late.id


def test_a_server_that_is_killed_again_and_again_loses_and_repeats_nothing(tmp_path: Path) -> None:
    jobs, kills = 30, 2
    chance = random.Random(4)
    command = [sys.executable, "-m", "tests.support.serve_queue", str(tmp_path), "2", str(jobs)]
    done: dict[str, bytes] = {}
    starts_of_done: Counter[str] = Counter()
    for attempt in range(kills + 1):
        server = subprocess.Popen(command, cwd=ROOT)
        if attempt == kills:
            assert server.wait(60) == 0
            break
        log = tmp_path / "log.txt"
        before = len(lines_of(log, "end"))
        wait_for(lambda log=log, before=before: len(lines_of(log, "end")) >= before + 6)
        time.sleep(chance.random() * 0.02)
        server.send_signal(signal.SIGKILL)
        server.wait()
        starts = Counter(line[1] for line in lines_of(log, "start"))
        for name in finished(tmp_path):
            content = (tmp_path / "data" / "results" / name / "00000.png").read_bytes()
            assert done.setdefault(name, content) == content
            starts_of_done.setdefault(name, starts[name])
    starts = Counter(line[1] for line in lines_of(tmp_path / "log.txt", "start"))
    assert {name: starts[name] for name in starts_of_done} == starts_of_done  # never run again
    assert len(starts) == jobs
    assert sum(starts.values()) <= jobs + kills * 2  # at most what the two workers were doing
    assert len(finished(tmp_path)) == jobs
    assert len(list((tmp_path / "data" / "results").iterdir())) == jobs
    assert not list((tmp_path / "data" / "work").iterdir())


def finished(folder: Path) -> list[str]:
    store = JobStore(folder / "data" / "jobs.sqlite")
    try:
        return [job.id for job in store.listed(state="done", most=-1)]
    finally:
        store.close()


def test_a_result_that_was_complete_at_the_kill_is_not_made_again(make: Any, tmp_path: Path) -> None:
    service = make(0)
    job = service.submit(ANNA, job_of())
    service.store.claim()
    (service.folders.work(job) / "cells").mkdir(parents=True)
    (service.folders.work(job) / "00000.png").write_bytes(b"made")
    service.folders.publish(job, {"pictures": ["00000.png"]})
    service.stop(0)  # as if it ended between the two
    again = make(1)
    again.start()
    found = again.store.require(job.id)
    assert (found.state, found.result) == ("done", {"pictures": ["00000.png"]})
    assert not lines_of(tmp_path / "log.txt", "start")


def test_a_waiting_and_a_running_job_are_cancelled(make: Any, tmp_path: Path) -> None:
    service = make(1)
    running, waiting = service.submit(ANNA, job_of("slow")), service.submit(ANNA, job_of("waits"))
    service.start()
    wait_for(lambda: service.progress(running)[0] > 1)
    assert service.cancel(waiting).state == "cancelled"
    pid = service.running[running.id].worker.pid
    service.cancel(running)
    wait_for(lambda: ended(service, running))
    assert service.store.require(running.id).state == "cancelled"
    assert not service.folders.work(running).exists()
    after = service.submit(ANNA, job_of("after"))
    wait_for(lambda: ended(service, after))
    assert service.store.require(after.id).state == "done"
    assert service.workers[0].pid == pid  # it was interrupted, not killed
    assert [line[2] for line in lines_of(tmp_path / "log.txt", "start")] == ["slow", "after"]


def test_a_cancelled_job_that_does_not_stop_is_stopped_with_its_worker(make: Any) -> None:
    service = make(1)
    job = service.submit(ANNA, job_of("hang"))
    service.start()
    wait_for(lambda: service.progress(job)[1])
    service.cancel(job)
    wait_for(lambda: ended(service, job))
    assert service.store.require(job.id).state == "cancelled"
    after = service.submit(ANNA, job_of())
    wait_for(lambda: ended(service, after))
    assert service.store.require(after.id).state == "done"


def test_a_job_that_ends_its_workers_is_given_up(make: Any) -> None:
    service = make(1)
    once, always = (
        service.submit(ANNA, job_of("kill", steps=1)),
        service.submit(ANNA, job_of("always kill", steps=1)),
    )
    service.start()
    wait_for(lambda: ended(service, once, always))
    assert (service.store.require(once.id).state, service.store.require(once.id).attempts) == ("done", 2)
    failed = service.store.require(always.id)
    assert (failed.state, failed.attempts) == ("failed", 3)
    assert "3 workers were lost" in failed.error["message"]


def test_a_server_that_is_told_to_stop_returns_its_job_to_the_queue(make: Any) -> None:
    service = make(1)
    job = service.submit(ANNA, job_of("slow"))
    service.start()
    wait_for(lambda: service.progress(job)[0] > 1)
    pid = service.running[job.id].worker.pid
    service.stop(0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    again = make(0)
    assert [each.state for each in again.store.listed()] == ["queued"]


def test_a_server_stops_though_a_worker_only_starts(make: Any, tmp_path: Path) -> None:
    service = make(1)
    service.workers[0].options["hangs"] = True
    service.start()
    wait_for((tmp_path / "log.txt").exists)
    pid = service.workers[0].pid
    service.stop(600)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_stop_that_kills_a_worker_is_not_counted_against_its_job(make: Any) -> None:
    service = make(1)
    job = service.submit(ANNA, job_of("hang"))
    service.start()
    wait_for(lambda: service.progress(job)[1])
    service.stop(0)
    (found,) = make(0).store.listed()
    assert (found.state, found.losses) == ("queued", 0)


def test_a_job_whose_result_cannot_be_kept_fails_once_that_can_be_noted(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make(1)
    job = service.submit(ANNA, job_of())

    def full(*_: Any, **__: Any) -> None:
        raise HostError("cannot write job.json: No space left on device")

    def locked(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(JobFolders, "publish", full)
    monkeypatch.setattr(service.store, "end", locked)
    service.start()
    wait_for(lambda: service.unsettled)
    monkeypatch.undo()
    wait_for(lambda: ended(service, job))
    failed = service.store.require(job.id)
    assert (failed.state, failed.attempts) == ("failed", 1)
    assert "No space left" in failed.error["message"]
    assert not service.folders.work(job).exists()
    after = service.submit(ANNA, job_of())
    wait_for(lambda: ended(service, after))
    assert service.store.require(after.id).state == "done"


def test_a_second_server_and_a_newer_file_are_refused(make: Any, tmp_path: Path) -> None:
    service = make(0)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.serve_queue", str(tmp_path), "1", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert FolderInUseError.__name__ in ended.stderr
    service.store.database.row("PRAGMA user_version = 99")
    with pytest.raises(HostError, match="newer version"):
        JobStore(tmp_path / "data" / "jobs.sqlite")


def test_a_worker_whose_builder_fails_is_tried_again(make: Any) -> None:
    service = make(1)
    service.workers[0].options = {"log": "x", "broken": "no such folder"}
    service.start()
    job = service.submit(ANNA, job_of())
    time.sleep(0.5)
    assert not service.ready
    assert service.store.require(job.id).state == "queued"


def test_a_result_has_no_files_outside_of_its_folder(make: Any) -> None:
    service = make(0)
    job = service.submit(ANNA, job_of())
    folders: JobFolders = service.folders
    folders.result(job).mkdir(parents=True)
    (folders.result(job) / "a.png").write_bytes(b"a")
    for name in ("../../jobs.sqlite", str(folders.root / "jobs.sqlite"), ".result.json", "", "..", "a.png/"):
        assert folders.file(job, name) is None
    assert folders.file(job, "a.png") is not None
