"""Trainings as processes: started, stopped, killed, resumed and removed, and found again after a restart."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.training import KINDS, training_payload, training_spec
from lib_ctrlgen.request.training_check import CheckedTraining, RefusedTraining, read_check
from lib_ctrlgen.webui.training import packages, trainings
from lib_ctrlgen.webui.training.folder import Record, TrainingFolder
from lib_ctrlgen.webui.training.processes import is_running
from lib_ctrlgen.webui.training.trainings import TrainingConflictError, Trainings
from tests.support.training_host import (
    Host,
    awaited,
    body,
    found,
    host_with_a_picture,
    quick_trainings,
    state,
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_with_a_picture(tmp_path)


@pytest.fixture
def made(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    return quick_trainings(tmp_path, host, monkeypatch)


def test_a_training_is_stopped_resumed_and_its_file_is_put_where_the_host_finds_it(
    made: Trainings, host: Host
) -> None:
    assert made.start(body(captions="slow", unload=True)).state in ("starting", "training")
    assert host.said == ["base.safetensors", "unloaded"]
    running = state(made, "mug", "training")
    assert (running.step, running.steps, running.loss, running.cost) == (1, 3, 0.5, "about 1 GB")
    with pytest.raises(TrainingConflictError, match="two would not fit"):
        made.start(body(name="other"))
    with pytest.raises(TrainingConflictError, match="stop it first"):
        made.remove(found(made))
    again = Trainings(made.root, host)  # the WebUI after a restart
    assert again.running() is not None
    again.stop(found(again))
    assert state(made, "mug", "stopped").step == 1
    with pytest.raises(TrainingConflictError, match="does not run"):
        made.stop(found(made))
    for step in (2, 3):
        made.resume(found(made))
        state(made, "mug", "training")
        made.stop(found(made))
        assert state(made, "mug", "stopped").step == step
    made.resume(found(made))
    done = state(made, "mug", "finished")
    assert (done.step, done.report, done.file) == (3, True, "mug.safetensors")
    assert (host.root / "models" / "lora" / "mug.safetensors").read_bytes() == b"weights"
    awaited(lambda: len(host.ends) == 4)
    with pytest.raises(TrainingConflictError, match="nothing to resume"):
        made.resume(found(made))
    made.remove(found(made))
    assert made.listed() == []
    with pytest.raises(RequestError, match=r"^\$\.name: .*mug\.safetensors exists"):
        made.start(body())


def test_a_killed_training_says_how_to_go_on(made: Trainings) -> None:
    made.start(body(captions="slow"))
    state(made, "mug", "training")
    record = found(made).record()
    assert record is not None
    assert is_running(record.process, record.created)
    assert not is_running(record.process, record.created - 60), "another process with its number"
    os.kill(record.process, signal.SIGKILL)
    failed = state(made, "mug", "failed")
    assert "was killed" in failed.error
    assert "resuming goes on from the last checkpoint" in failed.error
    made.resume(found(made))
    state(made, "mug", "training")
    made.stop(found(made))
    assert state(made, "mug", "stopped").step == 2


def test_one_whose_webui_was_killed_while_it_was_prepared_blocks_no_name(
    made: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = made.root / ".check-left"
    with monkeypatch.context() as patch:
        patch.setattr(trainings.shutil, "rmtree", lambda *_a, **_k: None)  # a killed process cleans nothing
        with pytest.raises(RequestError, match="no such model"):
            made.start(body(kind="ip-adapter", adapter="other", prior=0))
    (hidden,) = made.root.iterdir()
    hidden.rename(left)
    os.utime(left, (1.0, 1.0))
    made.start(body(steps=1))
    state(made, "mug", "finished")
    assert [path.name for path in made.root.iterdir()] == ["mug"]


def test_one_that_cannot_be_started_gives_the_checkpoint_back(
    made: Trainings, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> tuple[int, float]:
        raise HostError("the training cannot be started: no memory")

    monkeypatch.setattr(trainings, "start", broken)
    with pytest.raises(HostError, match="no memory"):
        made.start(body(unload=True))
    assert [each.unloaded for each in host.ends] == [True]
    assert list(made.root.iterdir()) == []


def test_what_the_process_says_before_its_first_state_is_shown(made: Trainings) -> None:
    made.start(body(captions="refuse"))
    assert state(made, "mug", "failed").error == "$.batch: needs 9.0 GB"
    made.start(body(name="other", captions="crash"))
    assert "was killed" in state(made, "other", "failed").error


def test_one_that_has_not_begun_is_ended_at_once(made: Trainings, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    folder = tmp_path / "trainings" / "early"
    folder.mkdir(parents=True)
    import psutil

    created = psutil.Process(process.pid).create_time()
    TrainingFolder(folder).keep(Record(kind="lora", process=process.pid, created=created))
    made.stop(found(made, "early"))
    assert process.wait() != 0
    assert state(made, "early", "stopped").error == ""


def test_a_check_starts_nothing_and_tells_the_cost_or_the_reason(made: Trainings) -> None:
    picture = encode_image(Image.new("RGB", (8, 8), "red"))
    checked = made.check(body(pictures=[picture, {"image": picture, "name": "../a.png", "caption": "a mug"}]))
    assert (checked.about, checked.training, checked.cost.text) == ("a LoRA", 2, "about 1 GB")
    with pytest.raises(RequestError, match=r"^\$\.batch: needs 9\.0 GB"):
        made.check(body(captions="refuse"))
    with pytest.raises(HostError, match="Killed"):
        made.check(body(captions="crash"))
    assert list(made.root.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "../mug"}, r"\$\.name: .*it contains /"),
        ({"name": None}, r"\$\.name"),
        ({"kind": "hypernetwork"}, r"\$\.kind"),
        ({"base": "/etc/passwd"}, r"\$\.base: there is no such checkpoint"),
        ({"pictures": "/etc"}, r"\$\.pictures: is outside"),
        ({"masks": "/etc"}, r"\$\.masks: is outside"),
        ({"prior_pictures": "..", "prior": 1.0, "prior_prompt": "x"}, r"\$\.prior_pictures: is outside"),
        ({"out": "/tmp/x.safetensors"}, r"\$\.out: the WebUI decides"),
        ({"pictures": []}, r"\$\.pictures: expected 1 to"),
        ({"pictures": ["no picture"]}, r"\$\.pictures\[0\]\.image"),
        ({"pictures": [{"image": "", "size": 1}]}, r"\$\.pictures\[0\]\.size"),
        ({"install": "yes"}, r"\$\.install: expected true or false"),
        ({"steps": 0}, r"\$\.steps"),
        ({"adapter": "adapter"}, r"\$\.adapter: does nothing for lora"),
        ({"kind": "ip-adapter", "adapter": "other", "prior": 0}, r"\$\.adapter: there is no such model"),
        ({"kind": "textual-inversion", "name": "two words"}, r"\$\.name: is the embedding's word"),
    ],
)
def test_mistakes_have_their_place_and_leave_nothing(
    made: Trainings, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=f"^{message}"):
        made.start(body(**fields))
    assert made.listed() == []
    assert not made.root.is_dir() or list(made.root.iterdir()) == []


def test_a_name_is_taken_once_and_strangers_are_left_out(made: Trainings) -> None:
    made.start(body(steps=1))
    state(made, "mug", "finished")
    with pytest.raises(RequestError, match=r"^\$\.name: there is a training 'mug'"):
        made.start(body(name="MUG"))
    (made.root / "notes").mkdir()
    (made.root / "broken").mkdir()
    (made.root / "broken" / "job.json").write_text("{")
    with pytest.raises(RequestError, match=r"^\$\.name: .*notes is there, and is no training"):
        made.start(body(name="notes"))
    assert [each.name for each in made.listed()] == ["mug"]
    record = found(made).record()
    assert record is not None
    found(made).keep(replace(record, process=os.getpid(), created=1.0))
    assert state(made, "mug", "finished").step == 1, "a later process with its number"


def test_packages_are_installed_only_with_consent_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert packages.are_missing()
    with pytest.raises(RequestError, match=r"^\$\.install: .*peft==0\.13\.2 and k-diffusion") as caught:
        packages.require_packages(install=False)
    assert str(packages.packages_folder()) in caught.value.message
    assert "--no-deps" in packages.command()
    assert f"--target {packages.packages_folder()}" in packages.command()
    monkeypatch.setattr(
        packages, "_command", lambda _folder: failing("import sys; sys.exit('ERROR: no network')")
    )
    with pytest.raises(HostError, match="ERROR: no network"):
        packages.require_packages(install=True)
    assert list(tmp_path.iterdir()) == []
    make = "import os, sys; [os.makedirs(f'{sys.argv[1]}/{name}') for name in ('peft', 'k_diffusion')]"
    monkeypatch.setattr(packages, "_command", lambda folder: [*failing(make), str(folder)])
    packages.require_packages(install=True)
    assert not packages.are_missing()
    assert [path.name for path in tmp_path.iterdir()] == [packages.packages_folder().name]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    packages.require_packages(install=False)


def failing(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_only_results_of_a_check_are_read() -> None:
    assert read_check("Traceback (most recent call last):") is None
    refused = read_check('{"type": "refused", "path": "$.batch", "message": "too much"}')
    assert refused == RefusedTraining(path="$.batch", message="too much")
    assert not isinstance(refused, CheckedTraining)


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_spec_is_read_again_as_it_was(kind: Any) -> None:
    fields = {"base": "m", "pictures": "p", "out": "word.safetensors", "kind": kind, "prior": 0.0, "ema": 0.0}
    needed = {"ip-adapter": {"adapter": "a"}, "dreambooth": {"token": "sks"}}
    spec = training_spec({**fields, **needed.get(kind, {})})
    assert training_spec(training_payload(spec)) == spec, "also where the kind has other defaults"
