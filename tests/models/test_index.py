"""The index of model files: what is computed of a file is computed once, also in the next process."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models import index as module
from lib_ctrlgen.models.index import ModelIndex
from lib_ctrlgen.models.listing import Description, Listed, listed
from lib_ctrlgen.models.model_files import ModelFiles

MANY = 5000


def controlnet(path: Path) -> Description:
    if path.stem == "broken":
        raise ModelError("broken.pth: no control")
    return Description(kind="controlnet", base="SD1.5", variant="full")


def rows(root: Path, kept: Path, describe: Any = controlnet) -> list[Listed]:
    """The list in a new process, as far as the index is concerned."""
    files = ModelFiles([root], ModelIndex(kept))
    return listed(files, files.all(), describe)


def refused(path: Path) -> Description:
    raise AssertionError(f"{path} is described again")


def test_what_is_known_is_kept_until_the_file_changes(tmp_path: Path) -> None:
    root, kept = tmp_path / "models", tmp_path / "own" / "models.json"
    root.mkdir()
    for name in ("a", "é", "broken"):
        (root / f"{name}.pth").write_bytes(name.encode())
    first = rows(root, kept)
    assert [(row.name, row.kind, row.base, row.error) for row in first] == [
        ("a", "controlnet", "SD1.5", ""),
        ("broken", "", "", "broken.pth: no control"),
        ("é", "controlnet", "SD1.5", ""),
    ]
    assert first[0].label == f"a [{first[0].hash}]"
    assert first[2].size == 2
    assert rows(root, kept, refused) == first
    (root / "a.pth").write_bytes(b"A")
    os.utime(root / "a.pth", ns=(1, 1))
    again = rows(root, kept)
    assert again[0].hash != first[0].hash
    assert again[1:] == first[1:]


def test_names_that_are_no_utf8_are_kept_too(tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    try:
        (root / os.fsdecode(b"caf\xe9.pth")).write_bytes(b"a")
    except OSError:
        pytest.skip("this disk takes UTF-8 names only")
    first = rows(root, tmp_path / "index.json")
    assert first[0].name == r"caf\xe9"
    assert rows(root, tmp_path / "index.json", refused) == first


def test_other_code_describes_anew_and_keeps_the_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pth").write_bytes(b"a")
    kept = tmp_path / "index.json"
    before = rows(tmp_path, kept)
    monkeypatch.setattr("lib_ctrlgen.models.listing.recogniser", lambda: 1)
    monkeypatch.setattr("lib_ctrlgen.models.listing.short_hash", refused)
    (after,) = rows(tmp_path, kept, lambda _path: Description(kind="lllite", base="SDXL"))
    assert (after.kind, after.hash) == ("lllite", before[0].hash)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe",
        b'{"format": 1, "files": {"/a": {"size": "big"}}}',
        json.dumps({"format": 0, "files": {}}).encode(),
        b'{"format": 1, "files": {',
    ],
)
def test_a_damaged_index_is_rebuilt(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(b"a")
    kept = tmp_path / "index.json"
    first = rows(tmp_path, kept)
    kept.write_bytes(damage)
    assert rows(tmp_path, kept) == first
    assert rows(tmp_path, kept, refused) == first


def test_an_index_that_cannot_be_written_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.pth").write_bytes(b"a")
    (tmp_path / "file").touch()
    (row,) = rows(tmp_path, tmp_path / "file" / "index.json")
    assert row.kind == "controlnet"
    assert "the list of known model files is not kept" in caplog.text


def test_two_processes_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.pth").write_bytes(name.encode())
    kept = tmp_path / "index.json"
    one, two = ModelIndex(kept), ModelIndex(kept)
    for index, name in ((one, "a"), (two, "b")):
        path = tmp_path / f"{name}.pth"
        index.note(path, index.facts(path), hash=name)
    one.save()
    two.save()
    third = ModelIndex(kept)
    assert [third.facts(tmp_path / f"{name}.pth").hash for name in "ab"] == ["a", "b"]


def test_thousands_of_files_are_listed_without_opening_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work is counted, not time: after the first time no file is opened, and each one is looked at once."""
    root, kept = tmp_path / "models", tmp_path / "index.json"
    for number in range(MANY):
        folder = root / f"{number % 50}" if number % 2 else root
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"model_{number}.safetensors").touch()
    monkeypatch.setattr("lib_ctrlgen.models.listing.short_hash", lambda path: path.stem)
    first = rows(root, kept)
    looked, resolved = [0], [0]

    def counted_stat(*arguments: Any, **options: Any) -> os.stat_result:
        looked[0] += 1
        return stat(*arguments, **options)

    def counted_realpath(*arguments: Any, **options: Any) -> str:
        resolved[0] += 1
        return str(realpath(*arguments, **options))

    stat, realpath = os.stat, os.path.realpath
    monkeypatch.setattr("os.stat", counted_stat)
    monkeypatch.setattr("os.path.realpath", counted_realpath)
    monkeypatch.setattr("lib_ctrlgen.models.listing.short_hash", refused)
    assert rows(root, kept, refused) == first
    assert len(first) == MANY
    assert looked[0] <= MANY + 100, "one stat for each file, and some for folders"
    assert resolved[0] <= 100, "folders alone are resolved"


def test_the_recogniser_changes_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "controls").mkdir()
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    numbers = []
    for text in ("a", "b"):
        (tmp_path / "controls" / "x.py").write_text(text)
        numbers.append(module._code.__wrapped__())
    assert numbers[0] != numbers[1]
