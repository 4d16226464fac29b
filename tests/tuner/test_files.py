"""A tuner's folder survives kills, full disks, damage, concurrent runs, and scores of another version."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen import files as module
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import read_picture, save_picture, save_text
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner import cell_folder as kept
from lib_ctrlgen.tuner import run
from lib_ctrlgen.tuner.cells import TuneSpec, grid_of
from lib_ctrlgen.tuner.lock import HOLDER, LOCK, FolderInUseError, FolderLock, is_held
from lib_ctrlgen.tuner.progress import TunerResult
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.tuner.scoring.catalogue import VERSION
from lib_ctrlgen.tuner.search import auto_tuner as auto
from lib_ctrlgen.tuner.search.auto_tuner import auto_tuner
from tests.support.analytic_host import PAYLOAD, AnalyticHost

X = {"path": "Unit 0 weight", "values": "0.5, 1, 1.5"}
AUTO = {"budget": 9, "ranges": [{"path": "Unit 0 weight", "values": "0-2"}]}
UNTOLD = (LOCK, HOLDER, "auto.journal")


def grid_run(host: AnalyticHost, out: Path, **fields: Any) -> TunerResult:
    spec = parse_request({"x": X, "seeds": 2} | fields, TuneSpec)
    return Tuner(host, grid_of(PAYLOAD, spec, GenerationRequest), out).run(lambda _progress: None)


def search_run(host: AnalyticHost, out: Path) -> TunerResult:
    spec = parse_request({"auto": AUTO}, TuneSpec)
    return auto_tuner(host, PAYLOAD, spec, GenerationRequest, out).run(lambda _progress: None)


RUNS: dict[str, Callable[[AnalyticHost, Path], TunerResult]] = {"grid": grid_run, "search": search_run}


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in UNTOLD)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    grid_run(AnalyticHost(), out)
    return out


def copied(folder: Path, to: Path) -> Path:
    for name, data in contents(folder).items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(data)
    return to


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_is_damaged_is_made_again(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    out = copied(whole, tmp_path_factory.mktemp("damaged"))
    wanted = contents(whole)
    names = data.draw(st.sets(st.sampled_from(sorted(wanted)), min_size=1, max_size=4))
    if any(name.startswith("uncontrolled") for name in names):  # which are looked at when a cell is made
        names |= {name for name in wanted if name.startswith("cells/") and name.endswith(".json")}
    for name in sorted(names):
        kind = data.draw(st.sampled_from(["cut", "changed", "empty", "gone", "zeros"]))
        content = wanted[name]
        place = data.draw(st.integers(0, len(content) - (1 if name.endswith(".png") else 3)))
        if kind == "gone":
            (out / name).unlink()
        elif kind == "changed" and name.endswith(".png"):
            (out / name).write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        else:
            (out / name).write_bytes({"cut": content[:place], "zeros": bytes(len(content))}.get(kind, b""))
    grid_run(AnalyticHost(), out)
    assert contents(out) == wanted


def killed(kind: str, out: Path, after: int, half: bool) -> None:
    """Run and be killed at the writing of file number `after`, before it or in the midst of it."""
    calls = [0]
    whole_file = module.whole_file

    @contextmanager
    def dying(path: Path) -> Iterator[Any]:
        calls[0] += 1
        with whole_file(path) as stream:
            if calls[0] == after:
                if half:
                    stream.write(b"\x89PNG\r\n\x1a\n\0\0")
                    stream.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            yield stream

    module.whole_file = dying
    RUNS[kind](AnalyticHost(), out)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize(("after", "half"), [(2, True), (3, False), (5, True), (12, True)])
def test_a_run_that_was_killed_goes_on_and_ends_in_the_same_files(
    tmp_path: Path, kind: str, after: int, half: bool
) -> None:
    process = get_context("fork").Process(target=killed, args=(kind, tmp_path / "a", after, half))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not is_held(tmp_path / "a")
    for folder in ("a", "b"):
        RUNS[kind](AnalyticHost(), tmp_path / folder)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save_text("before", tmp_path / "a.txt")

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    for write in (
        lambda: save_text("after", file),
        lambda: save_picture(Image.new("RGB", (4, 4)), tmp_path / "b.png"),
    ):
        with pytest.raises(HostError, match="No space left on device"):
            write()
    assert contents(tmp_path) == {"a.txt": b"before"}


def test_a_picture_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    file = save_picture(Image.new("RGB", (40, 30), "red"), tmp_path / "a.png")
    found = read_picture(file)
    assert found is not None
    assert found.getpixel((39, 29)) == (255, 0, 0)
    assert read_picture(tmp_path / "none.png") is None
    assert read_picture(tmp_path) is None


@pytest.mark.parametrize("kind", RUNS)
def test_a_folder_is_one_runs_at_a_time(tmp_path: Path, kind: str) -> None:
    with FolderLock(tmp_path) as lock, lock:
        assert is_held(tmp_path)
        with pytest.raises(
            FolderInUseError, match=rf"in use by process {os.getpid()} .*choose another folder"
        ) as caught:
            RUNS[kind](AnalyticHost(), tmp_path)
        assert caught.value.status_code == 409
        assert contents(tmp_path) == {}
    assert not is_held(tmp_path)
    assert RUNS[kind](AnalyticHost(), tmp_path).made > 0


def test_a_lock_that_cannot_be_written_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / HOLDER).mkdir()
    with pytest.raises(HostError, match="cannot write"):
        grid_run(AnalyticHost(), tmp_path)
    (tmp_path / HOLDER).rmdir()
    assert grid_run(AnalyticHost(), tmp_path).made > 0


def older(folder: Path) -> None:
    """Make the notes those of the first version, with other numbers."""
    for note in folder.glob("cells/*.json"):
        said = json.loads(note.read_text("utf-8"))
        del said["scores_version"]
        said["means"] = dict.fromkeys(said["means"], 0.5)
        note.write_text(json.dumps(said), "utf-8")


def test_scores_of_another_version_are_measured_again(whole: Path, tmp_path: Path) -> None:
    out = copied(whole, tmp_path)
    older(out)
    host = AnalyticHost()
    tuned = grid_run(host, out)
    assert (tuned.made, host.made) == (0, 0)
    assert contents(out) == contents(whole)


def test_a_search_of_another_version_goes_on_with_new_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (auto, kept, run):
        monkeypatch.setattr(part, "VERSION", 1)
    search_run(AnalyticHost(), tmp_path / "a")
    monkeypatch.undo()
    older(tmp_path / "a")
    host = AnalyticHost()
    assert search_run(host, tmp_path / "a").made == host.made == 0
    search_run(AnalyticHost(), tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert json.loads((tmp_path / "a/cells.json").read_text("utf-8"))["scores_version"] == VERSION


def test_a_search_is_not_held_up_by_a_lock_of_a_killed_one(tmp_path: Path) -> None:
    search_run(AnalyticHost(), tmp_path)
    (tmp_path / "auto.journal.lock").touch()
    assert search_run(AnalyticHost(), tmp_path).made == 0
