"""Results on disk: their limit, damaged files, several users, and a disk that cannot be written."""

import errno
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.files import PART
from lib_ctrlgen.models.disk_cache import ABANDONED, DIGEST, DiskCache, key_of

SIZE = 1000 - DIGEST  # bytes of a result whose file has 1000


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "maps", 5_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Every use of a file is a second after the one before."""
    seconds = count(1_000_000)
    set_time = os.utime
    monkeypatch.setattr(os, "utime", lambda path: set_time(path, (next(seconds),) * 2))
    return seconds


def filled(number: int) -> bytes:
    return bytes([number]) * SIZE


def stored(cache: DiskCache, *numbers: int) -> None:
    for number in numbers:
        cache.put(key_of(number), filled(number))
        os.utime(cache.path(key_of(number)))


def test_a_result_comes_back_in_another_process(cache: DiskCache) -> None:
    assert cache.get(key_of(1)) is None
    cache.put(key_of(1), filled(1))
    again = DiskCache(cache.folder, cache.limit)
    assert again.get(key_of(1)) == filled(1)
    assert (cache.counts.misses, cache.counts.written, again.counts.hits) == (1, 1, 1)
    if os.name == "posix":
        assert cache.folder.stat().st_mode & 0o077 == 0, "for this user alone"
    assert key_of("a", "bc") != key_of("ab", "c")
    assert key_of(b"a", 1) != key_of(b"a", "1")


def test_what_was_used_longest_ago_goes_first(cache: DiskCache, clock: Any) -> None:
    del clock
    stored(cache, 1, 2, 3, 4)
    assert cache.get(key_of(1)) == filled(1)
    stored(cache, 5)
    assert len(list(cache.files())) == 5, "as many as fit"
    stored(cache, 6)
    left = {path.stem for path in (each.path for each in cache.files())}
    assert left == {key_of(number) for number in (1, 4, 5, 6)}
    cache.put(key_of("large"), bytes(6_000))
    assert not cache.path(key_of("large")).exists(), "one result alone may exceed the limit"


def test_files_of_other_processes_count_too(cache: DiskCache, clock: Any) -> None:
    del clock
    other = DiskCache(cache.folder, cache.limit)
    stored(other, 1, 2, 3, 4)
    stored(cache, 5, 6)
    assert sum(each.size for each in cache.files()) <= cache.limit
    assert cache.get(key_of(6)) == filled(6)


@pytest.mark.parametrize("damage", [b"", b"short", filled(1)[:-1], filled(1) + bytes(DIGEST)])
def test_a_damaged_file_is_removed(cache: DiskCache, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    stored(cache, 1)
    cache.path(key_of(1)).write_bytes(damage)
    assert cache.get(key_of(1)) is None
    assert not cache.path(key_of(1)).exists()
    assert "is damaged" in caplog.text
    stored(cache, 1)
    assert cache.get(key_of(1)) == filled(1)


def test_a_folder_that_cannot_be_written_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "maps").write_text("a file")
    cache = DiskCache(tmp_path / "maps", 5_000)
    for number in range(3):
        cache.put(key_of(number), filled(number))
    assert cache.get(key_of(1)) is None
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "no longer kept on disk" in warnings[0].getMessage()


def test_a_full_disk_leaves_no_half_file(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored(cache, 1)
    written = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        written(path, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for number in (2, 3):
        cache.put(key_of(number), filled(number))
    assert [each.path.stem for each in cache.files()] == [key_of(1)]
    assert not list(cache.folder.rglob(f"*{PART}*"))
    assert caplog.text.count("No space left") == 1
    assert cache.get(key_of(1)) == filled(1), "what is there is still read"


def test_several_writers_and_readers(tmp_path: Path) -> None:
    caches = [DiskCache(tmp_path / "maps", 8_000) for _ in range(4)]

    def work(cache: DiskCache, start: int) -> None:
        for turn in range(40):
            number = (start + turn) % 12
            cache.put(key_of(number), filled(number))
            assert cache.get(key_of((number + 5) % 12)) in {None, filled((number + 5) % 12)}

    with ThreadPoolExecutor(len(caches)) as pool:
        for each in [pool.submit(work, cache, 3 * n) for n, cache in enumerate(caches)]:
            each.result()
    assert not list((tmp_path / "maps").rglob(f"*{PART}*"))
    assert all(each.counts.written == 40 for each in caches)


def test_files_of_killed_processes_are_removed(cache: DiskCache) -> None:
    stored(cache, 1)
    folder = cache.path(key_of(1)).parent
    old, new = (folder / f".{name}{PART}.png" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, old.stat().st_mtime - 2 * ABANDONED))
    assert [each.path.stem for each in cache.files()] == [key_of(1)]
    assert not old.exists()
    assert new.exists()
