"""What the page of `ctrlgen product --app` does, without gradio: the form, the plan, tasks, the history."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import save_text
from lib_ctrlgen.headless.job_text import yaml_text
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.projects.product.app.form import FIELDS, Form, form_of, readable, values_of
from lib_ctrlgen.projects.product.app.plan import plan_of_form, planned_request, step_plan
from lib_ctrlgen.projects.product.app.session import Session
from lib_ctrlgen.projects.product.app.views import (
    batch_view,
    caption,
    findings_view,
    picture_view,
    status_view,
)
from lib_ctrlgen.projects.product.app.worker import Worker
from lib_ctrlgen.projects.product.diagnosis.finding import finding
from lib_ctrlgen.projects.product.history import HISTORY, entries, keep_all
from lib_ctrlgen.projects.product.result import read_numbers
from lib_ctrlgen.projects.product.setup import SETUP, adapter_setup, read_setup
from lib_ctrlgen.request.schedule import parse_schedule
from lib_ctrlgen.request.training import training_payload, training_spec
from tests.support.product import PLACES, SHOTS, WatchedEngine, adapter, run_of, write_ball

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<img src=x onerror=alert(1)>"
Open = Callable[..., Session]


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ball(tmp_path_factory.mktemp("product") / "ball")


@pytest.fixture(scope="module")
def engine() -> WatchedEngine:
    return WatchedEngine()


@pytest.fixture
def opened(ball: Path, engine: WatchedEngine, tmp_path: Path) -> Open:
    """Opens the page's session in the test's folder; again, as after a restart."""

    def open_(**changed: Any) -> Session:
        return Session(run_of(ball, tmp_path / "out", engine, **changed))

    return open_


def values(session: Session, **changed: Any) -> list[Any]:
    fields = dict(zip(FIELDS, values_of(session.form), strict=True)) | changed
    return [fields[name] for name in FIELDS]


def form(session: Session, **changed: Any) -> Form:
    return form_of(values(session, **changed), session.run.settings, session.out)


def done(session: Session, task: Callable[[Form], str], own: Form) -> str:
    """Do a task as a button does; returns its closing sentence."""
    session.start("Task", own, task)
    session.worker.wait()
    status = session.worker.status
    assert status.error is None, status.error
    return status.said


def test_the_plan_has_the_weights_of_each_step_and_nothing_is_made(
    opened: Open, engine: WatchedEngine
) -> None:
    session, before = opened(), engine.made
    own = form(session, identity="1>0.5 in 0.5..1", steps=8)
    request = planned_request(session, own, own.environments[0])
    plan = step_plan(request)
    assert plan.labels == ("placement", "identity")
    assert plan.weights == ((0.8,) * 8, parse_schedule("1>0.5 in 0.5..1").sample(8))
    shown = plan_of_form(session, own, own.environments[1])
    assert shown.prompt == "a circle on a green background"
    assert "about 4 pictures of 8 steps, 64 rows" in shown.cost
    free = form(session, placement="0")
    assert step_plan(planned_request(session, free, free.environments[0])).labels == ("identity",)
    assert engine.made == before
    assert not (session.out / HISTORY).exists()


def planned(session: Session, field: str, value: Any) -> None:
    own = form(session, **{field: value})
    plan_of_form(session, own, own.environments[0])


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("identity", "3", "Identity: must stay within 0..2, is 3"),
        ("placement", "1>>2", "Placement: "),
        ("identity", " ", "Identity: is empty"),
        ("environments", "\n# nothing\n", "Environments: has no environments"),
        ("environments", "on a rock\nat sea | x=2", "Environments, line 2.x: "),
        ("environments", "on a rock | depth=no.png", "Environments, line 1.depth: "),
        (
            "environments",
            "on a rock | dept=no.png",
            "Environments, line 1.dept: unknown field (nearest: depth",
        ),
        ("steps", 0, "Steps: expected"),
        ("seed", None, "Seed: is empty"),
        ("sampler", "Euler b", "Sampler: "),
        ("size", 8, "Size: is 8: from 64"),
    ],
)
def test_a_wrong_field_is_named_by_its_label(opened: Open, field: str, value: Any, problem: str) -> None:
    session = opened()
    with pytest.raises(RequestError) as caught:
        planned(session, field, value)
    assert readable(caught.value).startswith(problem)


def test_one_picture_is_tried_and_is_there_after_a_restart(opened: Open, engine: WatchedEngine) -> None:
    session = opened()
    Image.new("RGB", (64, 64), "grey").save(session.out / "room.png")
    line = "on a red background | depth=room.png x=0.4 share=0.5"
    own = form(session, identity="0.9>0.4 in 0.2..1", environments=line, seed=7)
    before = engine.made
    assert done(session, lambda made: session.try_one(made, made.environments[0]), own) == "Made."
    assert "already" in done(session, lambda made: session.try_one(made, made.environments[0]), own)
    assert engine.made - before == 1
    again = opened()
    assert values_of(again.form)[FIELDS.index("environments")] == line.replace(
        "room", str(session.out / "room")
    )
    (entry,) = entries(again.out)
    assert (entry.settings, entry.environment) == (own.settings, own.environments[0])
    assert "identity 0.9>0.4 in 0.2..1 · placement 0.8 · likeness" in caption(entry, None)
    assert f"likeness {entry.likeness:.2f}" in picture_view(entry, entry.likeness + 0.1)
    assert "lost the product" in picture_view(entry, entry.likeness + 0.1)
    request = read_job(Path(entry.folder) / "job.yaml").request
    assert request.units[-1].weight == parse_schedule("0.9>0.4 in 0.2..1")


def test_all_are_made_flagged_and_kept_when_others_take_their_places(opened: Open) -> None:
    session = opened()
    said = done(session, session.make_all, form(session, identity="0"))
    assert said == f"{SHOTS} pictures made; 2 of 2 lost the product."
    page = batch_view(session.out, read_numbers(session.out))
    assert page.count('class="lost"') == 2
    assert "report.html" in page
    assert "0 of 2 lost" in done(session, session.make_all, form(session, identity="1"))
    kept = entries(session.out)
    assert [each.settings.identity for each in kept if each.settings] == [1.0, 1.0, 0.0, 0.0]
    assert "0 pictures made" in done(opened(), session.make_all, session.form)


def test_a_batch_is_cancelled_and_goes_on(opened: Open, engine: WatchedEngine) -> None:
    session = opened()
    own, before = session.form, engine.made
    engine.begun.clear()
    engine.going.clear()
    session.start("Make all", own, session.make_all)
    assert engine.begun.wait(60)
    with pytest.raises(HostError, match="wait until this has ended, or cancel it: Make all"):
        session.start("Try", own, session.make_all)
    assert session.worker.cancel()
    session.worker.wait()
    engine.going.set()
    assert "Cancelled" in status_view(session.worker.status)
    assert not session.worker.cancel()
    assert (engine.made - before, list((session.out / "pictures").glob(".*"))) == (0, [])
    assert f"{SHOTS} pictures made" in done(session, session.make_all, own)


def test_a_killed_batch_goes_on_and_the_history_has_its_pictures(
    ball: Path, tmp_path: Path, opened: Open
) -> None:
    """kill -9 in the middle of the last picture but one: the pictures before are not made again."""
    out, last = tmp_path / "out", SHOTS - 2
    command = [sys.executable, "-m", "tests.support.product", str(ball), str(out), str(last)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        os.kill(process.pid, signal.SIGKILL)
    assert len(list((out / "pictures").glob(".draft-*"))) == 1
    session = opened()
    assert "2 pictures made" in done(session, session.make_all, session.form)
    assert not list((out / "pictures").glob(".*"))
    assert {each.prompt for each in entries(out)} == {each.prompt_for("a circle") for each in PLACES}


def test_a_training_that_is_cancelled_writes_its_checkpoint_first(opened: Open) -> None:
    """The page asks it to stop through its folder, where a training looks after each step."""
    session = opened(adapter=None)
    assert "Nothing is trained yet" in session.adapter_text()
    stop = session.out / "adapter" / "product.training" / "stop"
    stop.parent.mkdir(parents=True)
    begun, cancelled = Event(), Event()

    def train(_form: Form) -> str:
        begun.set()
        assert cancelled.wait(60)
        session.progress("training", 1, 2)
        assert stop.exists()
        session.progress("pictures", 1, 2)  # raises
        return "not reached"

    session.start("Train", session.form, train)
    assert begun.wait(60)
    session.worker.cancel()
    cancelled.set()
    session.worker.wait()
    assert session.worker.status.said.startswith("Cancelled.")


def test_a_folder_of_another_version(opened: Open, ball: Path) -> None:
    session = opened()
    done(session, session.make_all, session.form)
    for result in (session.out / HISTORY).iterdir():  # as if it had been made before settings were kept
        record = json.loads((result / "result.json").read_text())
        save_text(
            json.dumps({n: v for n, v in record.items() if n not in {"settings", "place"}}),
            result / "result.json",
        )
    assert [each.settings for each in entries(session.out)] == [None, None]
    known = json.loads((session.out / SETUP).read_text())
    for change, problem in (
        ({"version": 99}, "written by a newer CtrlGen"),
        ({"settings": {"colour": 1}}, "written by another version of CtrlGen .*colour"),
        ({"folders": {}}, "cannot be read"),
    ):
        save_text(json.dumps(known | change), session.out / SETUP)
        with pytest.raises(HostError, match=problem):
            read_setup(session.out)
    assert read_setup(ball) is None


def test_a_picture_whose_process_ended_before_the_history_was_written(opened: Open) -> None:
    session = opened()
    done(session, session.make_all, session.form)
    (first, *_) = (session.out / HISTORY).iterdir()
    first.rename(session.out / HISTORY / ".draft-killed")
    keep_all(session.out, "pictures")
    assert len(entries(session.out)) == len(PLACES)
    assert not list((session.out / HISTORY).glob(".*"))


def test_the_folder_of_a_trained_adapter_is_known(ball: Path, tmp_path: Path) -> None:
    fields = {"kind": "ip-adapter", "base": "ctrlgen-tiny", "adapter": "ctrlgen-tiny-ip"}
    spec = training_spec(
        {**fields, "pictures": str(ball / "pictures"), "out": str(tmp_path / "a.safetensors")}
    )
    save_text(yaml_text(training_payload(spec)), tmp_path / "a.training" / "spec.yaml")
    assert adapter_setup(tmp_path) is None  # it is not trained yet
    (tmp_path / "a.safetensors").write_bytes(adapter().read_bytes())
    found = adapter_setup(tmp_path)
    assert found is not None
    assert (found.adapter, found.folders.pictures) == (tmp_path / "a.safetensors", ball / "pictures")
    moved = training_payload(replace(spec, pictures=str(tmp_path / "gone")))
    save_text(yaml_text(moved), tmp_path / "a.training" / "spec.yaml")
    with pytest.raises(HostError, match=r"are not in .*gone any more"):
        adapter_setup(tmp_path)


def test_what_a_user_wrote_is_escaped_and_unexpected_errors_are_told(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    session = opened()
    bad = finding("data", "few-views", EVIL, "add views", bad=True)
    assert EVIL not in findings_view([bad], session.out)
    assert "First: add views." in findings_view([bad], session.out)
    worker, going = Worker(), Event()
    worker.start(EVIL, lambda: str(going.wait()))
    worker.tell(EVIL)
    assert EVIL not in status_view(worker.status)
    going.set()
    worker.wait()
    worker.start("Broken", lambda: str(1 / 0))
    worker.wait()
    assert "ZeroDivisionError: division by zero" in status_view(worker.status)
    assert "a task of the page failed" in caplog.text
