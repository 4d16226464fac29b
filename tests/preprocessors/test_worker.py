"""Worker processes: frames, errors, crashes, limits of time, cancelling, and their end."""

import gc
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Thread

import pytest

from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.preprocessors.isolated.server import LENGTHS, MARK, read_frame, write_frame
from lib_ctrlgen.preprocessors.isolated.terms import Terms, under
from lib_ctrlgen.preprocessors.isolated.worker import Worker
from tests.support.fake_worker import NOT_STARTING, program, worker


@contextmanager
def stopped_after(made: Worker) -> Iterator[Worker]:
    try:
        yield made
    finally:
        made.stop()


def becomes_true(look: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not look() and time.monotonic() < end:
        time.sleep(0.01)
    return look()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_process_answers_all_calls_and_may_print(tmp_path: Path) -> None:
    with stopped_after(worker(tmp_path)) as made:
        assert made.pid is None, "it starts with the first call"
        data = bytes(range(256)) * 40_000  # more than a pipe holds
        header, content = made.call({"do": "turn"}, data)
        assert content == data[::-1]
        assert made.call({"do": "print"}) == ({"pid": header["pid"], "do": "print"}, b"")
        assert made.pid == header["pid"] != os.getpid()
    assert made.pid is None
    assert not is_running(header["pid"])


def test_an_error_of_the_program_leaves_the_process_running(tmp_path: Path) -> None:
    with stopped_after(worker(tmp_path)) as made:
        first = made.call({"do": "turn"})[0]
        with pytest.raises(ModelError, match="fake: ValueError: no such picture"):
            made.call({"do": "fail"})
        assert made.call({"do": "turn"})[0] == first


def test_after_a_crash_the_next_call_starts_another_process(tmp_path: Path) -> None:
    with stopped_after(worker(tmp_path)) as made:
        first = made.call({"do": "turn"})[0]["pid"]
        with pytest.raises(
            ModelError, match=r"worker of fake ended with exit code 3; it wrote: .*out of luck"
        ):
            made.call({"do": "crash"})
        assert made.pid is None
        second = made.call({"do": "turn"})[0]["pid"]
        assert second != first
        os.kill(second, 9)
        assert becomes_true(lambda: made.pid is None)
        assert made.call({"do": "turn"})[0]["pid"] != second, "it ended between two calls"


def test_what_is_no_frame_is_an_error(tmp_path: Path) -> None:
    with stopped_after(worker(tmp_path)) as made:
        pid = made.call({"do": "turn"})[0]["pid"]
        with pytest.raises(ModelError, match=r"broke its protocol \(expected a frame"):
            made.call({"do": "garbage"})
        assert not is_running(pid)


def test_a_call_has_a_limit_of_time(tmp_path: Path) -> None:
    with stopped_after(worker(tmp_path, call=0.2)) as made:
        with pytest.raises(ModelError, match=r"worker of fake did not answer within 0\.2 s and was stopped"):
            made.call({"do": "sleep", "seconds": 60}, bytes(10_000_000))
        assert made.pid is None


def test_a_cancelled_call_kills_the_process(tmp_path: Path) -> None:
    looks = iter([False, False, True])
    with stopped_after(worker(tmp_path)) as made:
        pid = made.call({"do": "turn"})[0]["pid"]
        with (
            under(Terms(cancelled=lambda: next(looks, True))),
            pytest.raises(HostError, match="the worker of fake was cancelled"),
        ):
            made.call({"do": "sleep", "seconds": 60})
        assert not is_running(pid)
        assert made.call({"do": "turn"})[0]["pid"] != pid


def test_calls_of_several_threads_are_answered_one_after_another(tmp_path: Path) -> None:
    found = {}
    with stopped_after(worker(tmp_path)) as made:

        def ask(number: int) -> None:
            found[number] = made.call({"do": "turn"}, bytes([number, 255]) * 50_000)

        threads = [Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(found[number][1] == bytes([255, number]) * 50_000 for number in range(8))
    assert len({header["pid"] for header, _ in found.values()}) == 1


def test_an_idle_process_is_stopped(tmp_path: Path) -> None:
    made = worker(tmp_path, idle=0.2)
    pid = made.call({"do": "turn"})[0]["pid"]
    assert becomes_true(lambda: made.pid is None)
    assert becomes_true(lambda: not is_running(pid))
    assert made.call({"do": "turn"})[0]["pid"] != pid
    made.stop()


def test_an_unused_worker_ends_its_process(tmp_path: Path) -> None:
    made = worker(tmp_path)
    pid = made.call({"do": "turn"})[0]["pid"]
    del made
    gc.collect()
    assert becomes_true(lambda: not is_running(pid))


def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    """The end of the parent closes the stdin of the process."""
    with subprocess.Popen(
        program(tmp_path).command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert read_frame(process.stdout) == ({"ready": True}, b"")
        process.stdin.close()
        assert process.wait(20) == 0


def test_what_does_not_start_says_why_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No module named 'surely_missing'; install it again"):
        worker(tmp_path, NOT_STARTING).call({})
    missing = Worker("fake", program(tmp_path, python=str(tmp_path / "nothing")), worker(tmp_path).limits)
    with pytest.raises(ModelError, match=r"cannot be started with .*nothing.*; install it again"):
        missing.call({})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (LENGTHS.pack(b"PNG0", 2, 0) + b"{}", "expected a frame"),
        (LENGTHS.pack(MARK, 1 << 31, 0), "is too large"),
        (LENGTHS.pack(MARK, 2, 1 << 60) + b"{}", "is too large"),
        (LENGTHS.pack(MARK, 2, 0) + b"[]", "must be an object"),
        (LENGTHS.pack(MARK, 2, 0) + b"{'", "Expecting property name"),
    ],
)
def test_damaged_frames_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_frame(BytesIO(data))


def test_a_frame_that_breaks_off_is_an_error() -> None:
    stream = BytesIO()
    write_frame(stream, {"a": 1}, b"data")
    for length in range(len(stream.getvalue())):
        with pytest.raises(EOFError):
            read_frame(BytesIO(stream.getvalue()[:length]))
