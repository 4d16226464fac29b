"""The files of a job that travel between an actor and the server."""

import importlib
import os
import time
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from lib_ctrlgen.cluster.connect import stay_on_loopback
from lib_ctrlgen.cluster.job_runs import WorkerLostError
from lib_ctrlgen.errors import HostError
from tests.support.serve_fakes import FakeRecipe


def ray_here() -> Any:
    """Ray, in a process that may start a cluster in another test; skips without it."""
    if find_spec("ray") is None:
        pytest.skip("Ray is installed in the newer of the two sets only")
    stay_on_loopback()
    return importlib.import_module("ray")


def test_new_and_changed_files_are_sent_once(tmp_path: Path) -> None:
    ray_here()
    from lib_ctrlgen.cluster.job_actors import FolderChanges, write_files

    changes = FolderChanges(tmp_path)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "a.png").write_bytes(b"a")
    (tmp_path / ".hidden.part.png").write_bytes(b"half")
    (tmp_path / ".draft").mkdir()
    (tmp_path / ".draft" / "b.png").write_bytes(b"half an asset")
    assert changes.take() == {"cells/a.png": b"a"}
    assert changes.take() == {}
    (tmp_path / "cells" / "a.png").write_bytes(b"longer")
    os.utime(tmp_path / "cells" / "a.png", (time.time() + 9, time.time() + 9))
    assert changes.take() == {"cells/a.png": b"longer"}
    write_files({"cells/a.png": b"a"}, tmp_path / "copy")
    assert (tmp_path / "copy" / "cells" / "a.png").read_bytes() == b"a"
    with pytest.raises(HostError, match="outside"):
        write_files({"../a.png": b"a"}, tmp_path / "copy")


class Method:
    """A method of an actor that was called."""

    def remote(self, *_: Any) -> object:
        return self


class Actor:
    """An actor whose job never stops."""

    run, poll, stop = Method(), Method(), Method()


def test_an_actor_is_ended_when_its_job_does_not_stop_and_after_any_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = ray_here()
    from lib_ctrlgen.cluster.job_actors import Poll, RayJobWorker

    killed, actor = Event(), Actor()

    def get(_reference: object) -> Poll:
        if killed.is_set():
            raise ray.exceptions.RayActorError
        worker.cancel("a")
        worker.cancel("another")
        return Poll(0, 1, {})

    monkeypatch.setattr(ray, "wait", lambda *_, **__: (killed.wait(0.05), [])[1:] * 2)
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "kill", lambda _actor: killed.set())
    worker = RayJobWorker("w", FakeRecipe(log=""), actor, patience=0.01)
    with pytest.raises(WorkerLostError):
        worker.run({"id": "a"}, tmp_path, lambda _done, _total: None)
    assert worker.actor is None
    killed.clear()
    worker = RayJobWorker("w", FakeRecipe(log=""), actor)
    monkeypatch.setattr(ray, "get", lambda _reference: Poll(0, 1, {"../a": b""}))
    with pytest.raises(HostError, match="outside"):
        worker.run({"id": "a"}, tmp_path, lambda _done, _total: None)
    assert killed.is_set()


def test_a_worker_that_only_starts_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a cluster that is full: the actor waits for a place."""
    ray = ray_here()
    from lib_ctrlgen.cluster.job_actors import RayJobWorker

    asked, killed = Event(), Event()

    class Remote:
        open = Method()
        options = remote = lambda self, *_, **__: self

    monkeypatch.setattr(ray, "remote", lambda _class: Remote())
    monkeypatch.setattr(ray, "wait", lambda *_, **__: (asked.set(), [])[1:] * 2)
    monkeypatch.setattr(ray, "kill", lambda _actor: killed.set())
    worker = RayJobWorker("w", FakeRecipe(log=""))
    Thread(target=lambda: (asked.wait(), worker.abandon()), daemon=True).start()
    with pytest.raises(WorkerLostError, match="being stopped"):
        worker.start()
    assert killed.is_set()
    assert worker.actor is None
