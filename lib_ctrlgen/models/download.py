"""Downloads published files: resumed where it broke off, checked, and renamed when it is whole."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import requests
from filelock import FileLock, Timeout

from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.files import PART

from .published import Published, hub_endpoint, is_offline
from .weight_files import sha256

Report: TypeAlias = Callable[[int, int], None]  # bytes that are there, bytes in all (0: not known)

BLOCK = 1 << 16  # of what has arrived, less than this is lost when the connection breaks off
ATTEMPTS = 5  # without a single byte between them
PAUSE = 1.0  # seconds before another attempt
SPARE = 64 << 20  # bytes that stay free on the disk
TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
SHA256 = re.compile(r"[0-9a-f]{64}")
REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class BrokenError(Exception):
    """The connection broke off; what has arrived is kept."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server says of a file: its bytes in all and its SHA-256; 0 and empty where it does not say."""

    total: int
    sha256: str


def download(entry: Published, folder: Path, report: Report, pause: float = PAUSE) -> Path:
    """Download a file into a folder and return its path; a file that is there already is only checked.

    An unfinished download stays in the folder as a hidden file, with which the next call goes on.
    HF_ENDPOINT, HF_TOKEN and the variables for proxies are honoured. Raises HostError without a network (also
    where HF_HUB_OFFLINE is set) and when the disk is full or cannot be written; ModelError for other content
    than the published. The messages say how to get the file by hand.
    """
    folder = folder / entry.folder
    for name in entry.beside:  # small files first: they say soon what is wrong
        _whole(_beside(entry, name), folder, lambda _done, _total: None, pause)
    return _whole(entry, folder, report, pause)


def _whole(entry: Published, folder: Path, report: Report, pause: float) -> Path:
    """Download one file into a folder, or check the one that is there."""
    target = folder / entry.file
    if target.is_file() and entry.bytes in {0, target.stat().st_size}:
        _require_content(entry, target, entry.sha256, "it was there before: move it away first")
        return target
    require_online(entry, folder)
    part = folder / f".{entry.file}{PART}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(entry, folder):
            _fetch(entry, part, report, pause)
            part.replace(target)
    except OSError as error:
        raise HostError(
            f"cannot write {target}: {error.strerror or error}; what has arrived is kept, and the same "
            "command goes on with it"
        ) from error
    return target


@contextmanager
def _alone(entry: Published, folder: Path) -> Iterator[None]:
    """Keep other processes from downloading the same file. Raises HostError if one does."""
    lock = FileLock(folder / f".{entry.file}.lock", timeout=0)
    try:
        with lock:
            try:
                yield
            finally:
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout as error:
        raise HostError(f"{entry.file} is being downloaded into {folder} by another process") from error


def _fetch(entry: Published, part: Path, report: Report, pause: float) -> None:
    """Complete an unfinished file and check it. Raises ModelError for a wrong content, which is removed."""
    resumed = part.exists()
    answer = _transfer(entry, part, report, pause)
    if resumed and _is_other(part, entry.sha256 or answer.sha256):
        part.unlink()  # the beginning was another file's
        answer = _transfer(entry, part, report, pause)
    digest = entry.sha256 or answer.sha256
    if _is_other(part, digest):
        _discard(entry, part, digest)


def _beside(entry: Published, name: str) -> Published:
    """Another file of the same folder on the Hub, of which neither size nor content is known."""
    path = f"{entry.path_in_repo.rpartition('/')[0]}/{name}".removeprefix("/")
    return msgspec.structs.replace(entry, file=name, path=path, sha256="", bytes=0, beside=())


def require_online(entry: Published, folder: Path) -> None:
    """Raise HostError where HF_HUB_OFFLINE forbids downloads."""
    if is_offline():
        raise HostError(f"HF_HUB_OFFLINE is set, so nothing is downloaded; {by_hand(entry, folder)}")


def by_hand(entry: Published, folder: Path) -> str:
    """How to get a file without this program: address, name and folder."""
    return f"to get it by hand, download {entry.address} and put it as {entry.file} into {folder}"


def _transfer(entry: Published, part: Path, report: Report, pause: float) -> Answer:
    """Fetch what is missing of a file, in several attempts while the connection breaks off."""
    failures, reason = 0, ""
    while failures < ATTEMPTS:
        before = _size(part)
        try:
            return _attempt(entry, part, report)
        except (BrokenError, requests.RequestException) as error:
            reason = _short(error)
        failures = 0 if _size(part) > before else failures + 1
        time.sleep(pause)
    raise HostError(
        f"{entry.file}: the connection to {entry.address} fails ({reason}); the same command goes on with "
        f"what has arrived; {by_hand(entry, part.parent)}"
    )


def _attempt(entry: Published, part: Path, report: Report) -> Answer:
    """One request, for what is missing. Raises BrokenError if less arrives than the server announced."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity", **_login(entry)}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(entry.address, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _after_416(response, part, have)
        _require_answer(entry, response, part.parent)
        start = have if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
        answer = _answer(response, start)
        _require_space(entry, part.parent, answer.total - start)
        _write(response, part, start, answer.total, report)
    if answer.total and _size(part) != answer.total:
        raise BrokenError(f"{_size(part)} of {answer.total} bytes arrived")
    return answer


def _write(response: Any, part: Path, start: int, total: int, report: Report) -> None:
    """Append the answer's body to the file, from byte `start` on. Raises Broken."""
    with part.open("r+b" if part.exists() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        report(start, total)
        try:
            for block in response.iter_content(BLOCK):
                file.write(block)
                report(file.tell(), total)
        except requests.RequestException as error:
            raise BrokenError(_short(error)) from error
        finally:
            file.flush()
        os.fsync(file.fileno())


def _after_416(response: Any, part: Path, have: int) -> Answer:
    """The answer when nothing is missing of the file; otherwise it is too long, and begins anew."""
    total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
    if total is None or int(total[1]) != have:
        part.unlink()
        raise BrokenError("the server has less of the file than was kept")
    return Answer(total=have, sha256=_header(response, "X-Linked-Etag"))


def _answer(response: Any, start: int) -> Answer:
    """What the headers say; the Hub names a large file's SHA-256 where it redirects to its storage."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else 0
    found = _header(response, "X-Linked-Etag")
    return Answer(total=total, sha256=found if SHA256.fullmatch(found) else "")


def _header(response: Any, name: str) -> str:
    """A header of the answer or of the redirects before it, without quotes; empty if there is none."""
    values = (each.headers.get(name, "") for each in (*response.history, response))
    return next((value.strip('"').lower() for value in values if value), "")


def _require_answer(entry: Published, response: Any, folder: Path) -> None:
    """Raise HostError for an answer that is not the file, BrokenError where another attempt may help."""
    status = response.status_code
    if status in REFUSED:
        raise HostError(
            f"{entry.file}: the server wants a login ({status}): accept the licence at {entry.page} and set "
            f"HF_TOKEN, or {by_hand(entry, folder)}"
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise BrokenError(f"answer {status}")
    page = response.headers.get("Content-Type", "").startswith("text/html")
    if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT} or page:
        what = "a web page" if page else f"answer {status}"
        raise HostError(f"{entry.file}: {entry.address} gives {what} instead of the file; see {entry.page}")


def _require_space(entry: Published, folder: Path, missing: int) -> None:
    """Raise HostError if the rest of the file does not fit onto the disk."""
    free = shutil.disk_usage(folder).free
    if missing + SPARE > free:
        raise HostError(
            f"{entry.file} needs {missing / 1e9:.2f} GB more on the disk of {folder}, where only "
            f"{free / 1e9:.2f} GB are free: make room, or choose another folder with --folder"
        )


def _login(entry: Published) -> Mapping[str, str]:
    """The header that logs in at the Hub, if the user has a token there."""
    if entry.url or not entry.address.startswith(hub_endpoint()):
        return {}
    try:
        from huggingface_hub import get_token
    except ImportError:
        return {}
    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _require_content(entry: Published, path: Path, digest: str, advice: str) -> None:
    """Raise ModelError if a file has another SHA-256 than the published one."""
    if _is_other(path, digest):
        raise ModelError(f"{path} has another SHA-256 than the published {entry.file} ({digest}): {advice}")


def _discard(entry: Published, part: Path, digest: str) -> None:
    """Remove a download of the wrong content. Raises ModelError."""
    found = sha256(part)
    part.unlink()
    raise ModelError(
        f"{entry.file}: what was downloaded from {entry.address} has the SHA-256 {found} instead of {digest} "
        "and was removed: it was changed on the way, or published anew"
    )


def _is_other(path: Path, digest: str) -> bool:
    return bool(digest) and sha256(path) != digest


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
