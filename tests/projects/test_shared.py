"""What projects share: checked folders, results, contact sheets, costs, models for a kind."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.models.model_files import ModelFiles
from lib_ctrlgen.projects.contact_sheet import PAGE, PER_PAGE, Tile, contact_sheets
from lib_ctrlgen.projects.control_models import controls_for, require_kinds
from lib_ctrlgen.projects.results import RECORD, Results
from lib_ctrlgen.projects.sources import checked_folder, found_files, read_source
from lib_ctrlgen.tuner.lock import FolderInUseError
from tests.support import stranger

NOTED = {"print": "CMYK", "deep": "8 bits", "moving": "first one", "phone": "upright", "glass": "on white"}
REFUSED = {
    "broken.png": "damaged",
    "empty.png": "is empty",
    "huge.png": "64 megapixels",
    "invisible.png": "transparent everywhere",
    "notes.txt": "no readable picture",
    "small.png": "smaller than 32 x 32",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger")
    stranger.write_folder(folder)
    return folder


def test_a_strangers_folder_is_told_by_name(folder: Path) -> None:
    found = checked_folder(folder)
    refused = {each.path.name: each.reason for each in found.refused}
    assert refused.keys() == REFUSED.keys()
    assert all(words in refused[name] for name, words in REFUSED.items())
    notes = {source.name: " ".join(source.notes) for source in found.sources}
    assert all(words in notes[name] for name, words in NOTED.items())
    assert {name for name, text in notes.items() if text} == NOTED.keys()
    assert {"Plan-webp", "plan-jpg", "plan-png", "level 1--east--front", "blank"} <= notes.keys()


def test_all_are_read_upright_on_white(folder: Path) -> None:
    for source in checked_folder(folder).sources:
        picture = read_source(source)
        assert (picture.mode, picture.size) == ("RGB", source.size) == ("RGB", (192, 144))
        assert picture.resize((1, 1)).getpixel((0, 0)) > (120, 120, 120)


def test_the_folder_of_the_results_is_left_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "out" / "rendering.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    assert [each.name for each in found_files(tmp_path, tmp_path / "out")] == ["a"]


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="has no files"):
        checked_folder(tmp_path)
    with pytest.raises(HostError, match="does not exist"):
        checked_folder(tmp_path / "missing")
    for number in range(7):
        (tmp_path / f"{number}.txt").write_text("x")
    with pytest.raises(HostError, match=r"0\.txt: no readable picture.*and 2 more files"):
        checked_folder(tmp_path)
    with pytest.raises(HostError, match="is not a folder"):
        checked_folder(tmp_path / "0.txt")


def interrupted(results: Results, inputs: dict[str, Any]) -> None:
    """Write half of a result."""
    with results.writing("x", inputs, {}) as part:
        (part / "half.png").write_bytes(b"1")
        raise KeyboardInterrupt


def test_a_result_is_whole_or_not_there(tmp_path: Path) -> None:
    inputs = {"picture": "a", "weight": 0.5}
    with Results(tmp_path, "sheets") as results:
        assert results.read("x", inputs) is None
        with pytest.raises(KeyboardInterrupt):
            interrupted(results, inputs)
        assert list((tmp_path / "sheets").iterdir()) == []
        record: dict[str, int] = {}
        with results.writing("x", inputs, record) as part:
            record["made"] = 1
            (part / "whole.png").write_bytes(b"1")
        found = results.read("x", inputs)
        assert found is not None
        assert found["made"] == 1
        assert results.read("x", {**inputs, "weight": 0.6}) is None
        with results.writing("x", {}, {"made": 2}) as part:
            pass
        assert sorted(path.name for path in results.folder("x").iterdir()) == [RECORD]


def test_leftovers_of_a_killed_run_are_removed_and_a_running_one_is_respected(tmp_path: Path) -> None:
    for name in (".draft-1", ".old-2"):
        (tmp_path / "sheets" / name).mkdir(parents=True)
        (tmp_path / "sheets" / name / "file").write_text("x")
    (tmp_path / "sheets" / "broken").mkdir()
    (tmp_path / "sheets" / "broken" / RECORD).write_text("{")
    with Results(tmp_path, "sheets") as results:
        assert [path.name for path in (tmp_path / "sheets").iterdir()] == ["broken"]
        assert results.read("broken", {}) is None
        with pytest.raises(FolderInUseError, match="in use"), Results(tmp_path, "sheets"):
            pass


def test_contact_sheets_have_pages_and_old_ones_go(tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    Image.new("RGB", (40, 30), "red").save(picture)
    many = [
        Tile(pictures=(picture, picture), title=f"Grundriß 平面 {k}", caption="x" * 300) for k in range(30)
    ]
    pages = contact_sheets(many, "Title", tmp_path / "contact")
    assert [path.name for path in pages] == ["contact.jpg", "contact-2.jpg"]
    with Image.open(pages[0]) as first, Image.open(pages[1]) as second:
        assert first.width == second.width == PAGE
        assert first.height > second.height
    (tmp_path / "contact-mine.jpg").write_bytes(b"")
    contact_sheets(many[:PER_PAGE], "Title", tmp_path / "contact")
    left = sorted(path.name for path in tmp_path.glob("contact*"))
    assert left == ["contact-mine.jpg", "contact.jpg"]


def test_the_bundled_model_has_edges_depth_and_an_adapter() -> None:
    controls = controls_for("ctrlgen-tiny", ModelFiles([tiny_folder()]))
    assert require_kinds(controls, (), ("lines", "edges", "depth")) == ("edges", "depth")
    assert controls.adapter().name.endswith("ctrlgen-tiny-ip")
    with pytest.raises(
        RequestError, match="no model for 'lines' fits ctrlgen-tiny; there are models for edges"
    ):
        require_kinds(controls, ("lines",), ("lines", "edges"))
    with pytest.raises(RequestError, match="unknown kind 'edgse'"):
        require_kinds(controls, ("edgse",), ("lines", "edges"))
    with pytest.raises(RequestError, match="--model"):
        controls_for("missing", ModelFiles([tiny_folder()]))
