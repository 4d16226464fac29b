"""What trainings keep safe: uploaded pictures with their names, other files, and what a resumed one runs."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.webui.training.trainings import TrainingConflictError, Trainings
from tests.support.training_host import Host, body, found, host_with_a_picture, quick_trainings, state


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_with_a_picture(tmp_path)


@pytest.fixture
def made(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    return quick_trainings(tmp_path, host, monkeypatch)


def test_resuming_runs_the_training_and_nothing_that_is_written_in_its_folder(
    made: Trainings, tmp_path: Path
) -> None:
    made.start(body(captions="slow"))
    state(made, "mug", "training")
    made.stop(found(made))
    state(made, "mug", "stopped")
    moved = made.root / "cup"
    found(made).folder.rename(moved)
    (moved / "mug.training").rename(moved / "cup.training")
    trap = tmp_path / "trap"
    own = json.loads((moved / "job.json").read_text())
    told = [sys.executable, "-c", f"open({str(trap)!r}, 'w')"]
    (moved / "job.json").write_text(json.dumps({**own, "command": told, "target": str(tmp_path)}))
    made.resume(found(made, "cup"))
    assert state(made, "cup", "training").file == "cup.safetensors"
    made.stop(found(made, "cup"))
    assert state(made, "cup", "stopped").step == 2
    assert not trap.exists()
    assert json.loads((moved / "spec.json").read_text())["out"] == str(moved / "cup.safetensors")
    (moved / "spec.json").write_text('{"kind": "--help"}')
    with pytest.raises(RequestError, match=r"^\$\.kind"):
        made.resume(found(made, "cup"))


def test_a_file_that_came_meanwhile_is_not_replaced(made: Trainings, host: Host) -> None:
    made.start(body(captions="slow"))
    state(made, "mug", "training")
    made.stop(found(made))
    state(made, "mug", "stopped")
    other = host.target("lora") / "mug.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another")
    with pytest.raises(TrainingConflictError, match=r"mug\.safetensors exists and is not of this training"):
        made.resume(found(made))
    (found(made).folder / "mug.safetensors").write_bytes(b"another")
    made.resume(found(made))
    state(made, "mug", "training")
    made.stop(found(made))
    state(made, "mug", "stopped")


def test_uploaded_files_of_the_page_keep_their_names(made: Trainings, tmp_path: Path) -> None:
    picture, text = tmp_path / "my view.png", tmp_path / "my view.txt"
    Image.new("RGB", (8, 8)).save(picture)
    text.write_text("a mug")
    made.start(body(pictures="", steps=1), [picture, text])
    state(made, "mug", "finished")
    kept = found(made).folder / "pictures"
    assert sorted(path.name for path in kept.iterdir()) == ["my_view.png", "my_view.txt"]


def test_uploads_whose_names_become_the_same_are_all_kept(made: Trainings, tmp_path: Path) -> None:
    files = []
    for number, stem in enumerate(["mug.front", "mug.back", "tasse grün", "tasse grân", "Cup", "cup"]):
        files.append(tmp_path / f"{number}" / f"{stem}.png")
        files[-1].parent.mkdir()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(files[-1])
    files.append(tmp_path / "mug.back.TXT")
    files[-1].write_text("the back")
    made.start(body(pictures="", steps=1, captions="{name} of clay {token}"), files)
    state(made, "mug", "finished")
    kept = found(made).folder / "pictures"
    captions = {Image.open(path).getpixel((0, 0))[0]: path.with_suffix(".txt") for path in kept.glob("*.png")}
    assert [captions[number].read_text() for number in range(6)] == [
        *("mug.front of clay", "the back", "tasse grün of clay", "tasse grân of clay"),
        *("Cup of clay", "cup of clay"),
    ]
    with pytest.raises(RequestError, match=r"^\$\.files: 'mug\.front\.png' is there twice"):
        made.check(body(pictures=""), [files[0], files[0]])


def test_uploads_over_rest_keep_their_names_for_captions(made: Trainings) -> None:
    picture = encode_image(Image.new("RGB", (8, 8), "red"))
    named = [{"image": picture, "name": name} for name in ("../blue_cup.png", "v1.5 side")]
    made.start(body(pictures=[*named, picture], captions="a photo of {name}", steps=1))
    state(made, "mug", "finished")
    kept = found(made).folder / "pictures"
    assert {path.stem: path.read_text() for path in kept.glob("*.txt")} == {
        "000-blue_cup": "a photo of blue cup",
        "001-v1_5_side": "a photo of v1.5 side",
    }
    assert len(list(kept.glob("*.png"))) == 3
