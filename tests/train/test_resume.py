"""A training that is continued gives the weights of one that was never interrupted, also after kill -9."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("peft")

from lib_ctrlgen.errors import RequestError, StoppedError
from lib_ctrlgen.request.spec import to_payload
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.request.training_state import TrainingState, ask_to_stop, read_state
from lib_ctrlgen.train import validation
from lib_ctrlgen.train.checkpoint import NAME
from lib_ctrlgen.train.run import Trained, folder_of, train
from tests.support import training

FIELDS: dict[str, Any] = {
    "steps": 6,
    "ema": 0.9,
    "accumulation": 2,
    "warmup": 2,
    "lr_schedule": "cosine",
    "patience": 0,
    "validate_every": 3,
}


@pytest.fixture(scope="module", autouse=True)
def levels() -> Iterator[None]:
    """Two noise levels of validations are enough to tell trainings apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "LEVELS", 2)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.new_root(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def whole(root: Path) -> Trained:
    """The training without an interruption."""
    torch.set_num_threads(1)
    return run(spec_of(root, "whole"))


def spec_of(root: Path, name: str, **fields: Any) -> TrainingSpec:
    return training.spec(root, **FIELDS, out=str(root / name / "trained.safetensors"), **fields)


def run(
    spec: TrainingSpec, observer: Callable[[TrainingState], None] | None = None, **options: Any
) -> Trained:
    return train(spec, training.engine(Path(spec.pictures).parent), observer, **options)


def assert_same(one: Trained, other: Trained) -> None:
    ours, theirs = load_file(one.out), load_file(other.out)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert [each.loss for each in one.measured] == [each.loss for each in other.measured]


@pytest.mark.usefixtures("not_estimated")
def test_a_stopped_training_goes_on_to_the_same_weights(root: Path, whole: Trained) -> None:
    """Stopped while pictures are encoded, and after a step without a checkpoint that follows a validation."""
    spec = spec_of(root, "stopped")
    with pytest.raises(StoppedError, match="stopped after 1 of 4 pictures before the first step"):
        run(spec, lambda state: stop_at(state, "caching", 1, spec))
    assert stopped_at(spec) == 0
    assert not (folder_of(spec) / NAME).exists()
    with pytest.raises(StoppedError, match="stopped after step 3"):
        run(spec, lambda state: stop_at(state, "training", 3, spec))
    assert stopped_at(spec) == 3
    assert_same(run(spec), whole)
    state = read_state(folder_of(spec))
    assert state is not None
    assert (state.status, state.step, state.error) == ("finished", 6, "")


def stop_at(state: TrainingState, status: str, count: int, spec: TrainingSpec) -> None:
    """Ask to stop when so many pictures are encoded, or steps done."""
    if state.status == status and count == (state.cached if status == "caching" else state.step):
        ask_to_stop(folder_of(spec))


def stopped_at(spec: TrainingSpec) -> int:
    """The step of a training that must be stopped."""
    state = read_state(folder_of(spec))
    assert state is not None
    assert state.status == "stopped"
    return state.step


PROGRAM = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from lib_ctrlgen.request.training import training_spec
from lib_ctrlgen.train.run import train
from lib_ctrlgen.train import validation
from tests.support import training
validation.LEVELS = 2
train(training_spec(json.loads(sys.argv[1])), training.engine(Path(sys.argv[2])))
"""


def test_a_killed_training_loses_at_most_one_interval(root: Path, whole: Trained) -> None:
    spec = spec_of(root, "killed")
    folder = folder_of(spec)
    process = start(spec, root)
    try:
        wait_for(process, lambda: (folder / NAME).exists() and step_of(folder) >= 3)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    killed_at = step_of(folder)
    kept = torch.load(folder / NAME, weights_only=True)["step"]
    assert killed_at - kept <= spec.save_every + 1  # the state is written before the step's checkpoint
    assert kept >= 2
    assert_same(run(spec), whole)
    assert not list(folder.glob(".*.part*"))


def start(spec: TrainingSpec, root: Path) -> "subprocess.Popen[bytes]":
    import json

    arguments = [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(to_payload(spec)), str(root)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(arguments, env=environment, cwd=Path(__file__).parents[2])


def wait_for(process: "subprocess.Popen[bytes]", ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, "the training ended before it was killed"
        assert time.monotonic() < end
        time.sleep(0.01)


def step_of(folder: Path) -> int:
    state = read_state(folder)
    return 0 if state is None else state.step


@pytest.mark.usefixtures("not_estimated")
def test_another_training_in_the_same_folder_is_refused(root: Path, whole: Trained) -> None:
    with pytest.raises(RequestError, match=r"\$\.lr: in .* it is 0\.01, not 0\.5: .*--restart"):
        run(spec_of(root, "whole", lr=0.5))
    pictures = training.write_pictures(root / "others", 5)
    with pytest.raises(RequestError, match=r"\$\.pictures: .* other pictures"):
        train(spec_of(root, "whole", pictures=str(pictures)), training.engine(root))
    state = read_state(folder_of(spec_of(root, "whole")))
    assert state is not None
    assert state.status == "failed"
    assert "other pictures" in state.error
    path = folder_of(spec_of(root, "whole")) / NAME
    saved = torch.load(path, weights_only=True)
    del saved["spec"]["backdrop"]  # as a version without this option wrote it
    torch.save(saved, path)
    run(spec_of(root, "whole"))


@pytest.mark.usefixtures("not_estimated")
def test_a_training_does_not_go_on_with_another_base_of_the_same_name(root: Path, tmp_path: Path) -> None:
    other = training.new_root(tmp_path / "other")
    spec = training.spec(other, steps=1, validate_every=0)
    run(spec)
    shutil.rmtree(other / "model")
    shutil.copytree(root / "model", other / "model", copy_function=shutil.copy)
    with pytest.raises(RequestError, match=r"\$\.base: in .* another file"):
        run(spec)


@pytest.mark.usefixtures("not_estimated")
def test_a_finished_training_is_not_repeated(root: Path, whole: Trained) -> None:
    seen: list[int] = []
    again = run(spec_of(root, "whole"), lambda state: seen.append(state.step))
    assert_same(again, whole)
    assert set(seen) <= {0, 6}
