"""Published files are downloaded whole or not at all, from a Hub that breaks off and answers wrongly."""

import errno
import hashlib
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.models import download as module
from lib_ctrlgen.models.download import BLOCK, download
from lib_ctrlgen.models.published import Published
from tests.support.hub_server import FakeHub, served

CONTENT = bytes(range(256)) * 1024
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ENTRY = Published(file="a.pth", kind="preprocessor", purpose="tests", repo="own/er", path="sub/a.pth")
CHECKED = Published(**{**{f: getattr(ENTRY, f) for f in ENTRY.__struct_fields__}, "sha256": DIGEST})
PATH = "/own/er/resolve/main/sub/a.pth"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with served(FakeHub({PATH: CONTENT})) as found:
        monkeypatch.setenv("HF_ENDPOINT", f"{found.url}/")
        yield found


def get(folder: Path, entry: Published = ENTRY) -> Path:
    return download(entry, folder, lambda _done, _total: None, pause=0)


def part(folder: Path) -> Path:
    return folder / ".a.pth.part"


def test_a_file_comes_whole_with_progress_and_login(hub: FakeHub, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = download(ENTRY, tmp_path / "new" / "ä", lambda done, total: seen.append((done, total)), 0)
    assert path == tmp_path / "new" / "ä" / "a.pth"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["a.pth"]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert hub.logins == ["Bearer hf_secret"]
    get(path.parent, CHECKED)
    assert len(hub.requests) == 1, "what is there is not downloaded again"


def test_a_broken_connection_is_resumed_at_the_byte(hub: FakeHub, tmp_path: Path) -> None:
    hub.breaks = [BLOCK + 9, BLOCK, 9]
    assert get(tmp_path).read_bytes() == CONTENT
    kept = [f"bytes={BLOCK}-", f"bytes={2 * BLOCK}-", f"bytes={2 * BLOCK}-"]
    assert [asked for _, asked in hub.requests] == ["", *kept]


def test_another_process_resumes_what_is_left(hub: FakeHub, tmp_path: Path) -> None:
    hub.breaks = [BLOCK] + [0] * module.ATTEMPTS
    with pytest.raises(HostError, match=r"the connection to .* fails .* goes on with what has arrived"):
        get(tmp_path)
    assert part(tmp_path).read_bytes() == CONTENT[:BLOCK]
    hub.requests.clear()
    assert get(tmp_path).read_bytes() == CONTENT
    assert hub.requests == [(PATH, f"bytes={BLOCK}-")]
    assert not part(tmp_path).exists()


def test_a_server_without_ranges_sends_all_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.ranges, hub.breaks = False, [2 * BLOCK]
    assert get(tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("kept", [CONTENT, CONTENT + b"more"], ids=["complete", "too long"])
def test_a_416_ends_a_complete_file_and_begins_a_wrong_one_anew(
    hub: FakeHub, tmp_path: Path, kept: bytes
) -> None:
    part(tmp_path).write_bytes(kept)
    assert get(tmp_path, CHECKED).read_bytes() == CONTENT
    assert hub.requests[0] == (PATH, f"bytes={len(kept)}-")
    assert len(hub.requests) == (1 if kept == CONTENT else 2)


@pytest.mark.parametrize("entry", [ENTRY, CHECKED], ids=["by the Hub's SHA-256", "by the table's"])
def test_what_was_left_of_another_file_is_not_gone_on_with(
    hub: FakeHub, tmp_path: Path, entry: Published
) -> None:
    part(tmp_path).write_bytes(b"x" * 1000)
    assert get(tmp_path, entry).read_bytes() == CONTENT
    assert [asked for _, asked in hub.requests] == ["bytes=1000-", ""]


def test_two_processes_do_not_write_one_file(hub: FakeHub, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".a.pth.lock"), pytest.raises(HostError, match="by another process"):
        get(tmp_path)
    assert not hub.requests


@pytest.mark.parametrize("linked", [True, False])
def test_a_wrong_checksum_leaves_nothing(hub: FakeHub, tmp_path: Path, linked: bool) -> None:
    hub.linked, hub.files[PATH] = linked, CONTENT[::-1]
    with pytest.raises(ModelError, match=f"instead of {DIGEST} and was removed"):
        get(tmp_path, CHECKED)
    assert not [*tmp_path.iterdir()]
    (tmp_path / "a.pth").write_bytes(b"another")
    with pytest.raises(ModelError, match="move it away first"):
        get(tmp_path, CHECKED)
    assert (tmp_path / "a.pth").read_bytes() == b"another"


def test_too_little_space_is_an_error_before_the_first_byte(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(0, 0, module.SPARE + 1000)  # noqa: PYI024
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage)
    with pytest.raises(HostError, match=r"needs 0.00 GB more on the disk of .*, where only 0.07 GB are free"):
        get(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_disk_that_fills_keeps_what_has_arrived(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(
            HostError, match=r"cannot write .*No space left on device; what has arrived is kept"
        ):
            get(tmp_path)
    assert not (tmp_path / "a.pth").exists()
    assert get(tmp_path, CHECKED).read_bytes() == CONTENT


def test_offline_says_how_to_get_the_file_by_hand(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HostError, match="HF_HUB_OFFLINE is set") as caught:
        get(tmp_path)
    for said in (f"{hub.url}{PATH}", "as a.pth into", str(tmp_path)):
        assert said in str(caught.value)
    assert not hub.requests


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": 401}, "wants a login.*accept the licence at https://huggingface.co/own/er"),
        ({"status": 410}, "gives answer 410 instead of the file"),
        ({"kind": "text/html; charset=utf-8"}, "gives a web page instead of the file"),
        ({"status": 503}, r"the connection to .* fails \(answer 503\)"),
        ({"files": {}}, "gives answer 404 instead of the file"),
    ],
)
def test_answers_that_are_no_file(hub: FakeHub, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    for name, value in changes.items():
        setattr(hub, name, value)
    with pytest.raises(HostError, match=said):
        get(tmp_path)
    assert not (tmp_path / "a.pth").exists()


def test_files_beside_come_too_and_other_hosts_get_no_login(hub: FakeHub, tmp_path: Path) -> None:
    hub.files["/own/er/resolve/main/sub/config.json"] = b"{}"
    fields = {f: getattr(ENTRY, f) for f in ENTRY.__struct_fields__}
    entry = Published(**{**fields, "folder": "net", "beside": ("config.json",)})
    assert get(tmp_path, entry) == tmp_path / "net" / "a.pth"
    assert (tmp_path / "net" / "config.json").read_bytes() == b"{}"
    hub.logins.clear()
    get(tmp_path, Published(**{**fields, "url": f"{hub.url}{PATH}"}))
    assert hub.logins == [""]
