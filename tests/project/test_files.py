"""Files are written completely or not at all, and an unwritable folder is found before sampling."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import new_folder, save_picture, save_text, whole_path
from lib_ctrlgen.images.animation import save_animation

PICTURE = Image.new("RGB", (64, 64), "red")


def test_a_picture_and_a_text_replace_what_is_there(tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        save_picture(Image.new("RGB", (8, 8), colour), tmp_path / "deep" / "a.png")
        save_text(colour, tmp_path / "deep" / "a.txt")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.png", "a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_text() == "blue"


@pytest.mark.parametrize("name", ["film.webp", "film.mp4"])
def test_an_animation_is_written_in_its_format(tmp_path: Path, name: str) -> None:
    save_animation([PICTURE, PICTURE], tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize("name", ["film.webp", "film.mp4"])
def test_a_full_disk_leaves_no_part_of_an_animation(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    images = [Image.fromarray(pixels) for pixels in noise]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    first = save_animation([PICTURE], tmp_path / name).read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))  # as if the disk were full behind 2 kB
    try:
        with pytest.raises(HostError, match=rf"cannot write .*{name}"):
            save_animation(images, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, first)]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = save_text("first", tmp_path / "a.txt")

    def fill() -> None:
        with whole_path(path) as part:
            part.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(HostError, match=r"cannot write .*a\.txt: No space left on device"):
        fill()
    assert path.read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = save_text("first", tmp_path / "real.txt")
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    save_text("second", link)
    assert link.is_symlink()
    assert real.read_text() == "second"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_device_is_written_and_not_replaced() -> None:
    save_text("gone", Path("/dev/null"))
    assert not Path("/dev/null").is_file()
    with pytest.raises(HostError, match="cannot write /dev/full: No space left on device"):
        save_text("never", Path("/dev/full"))


def test_a_folder_that_takes_no_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _data: bytes) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    assert list(new_folder(tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(HostError, match=r"cannot write into .*out: Permission denied"):
        new_folder(tmp_path / "out")
