"""The main program of a worker process: it reads calls from stdin and writes answers to stdout.

It runs with the Python of another environment, so it imports the standard library alone. A call and an answer
are a frame each: the lengths of its two parts, a header (a JSON object), and bytes (pixels, coordinates).
Nothing is unpickled or evaluated. The process ends when its stdin is closed, also by the end of its parent.

>>> from io import BytesIO
>>> stream = BytesIO()
>>> write_frame(stream, {"width": 2}, b"ab")
>>> read_frame(BytesIO(stream.getvalue()))
({'width': 2}, b'ab')
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any, BinaryIO

LENGTHS = struct.Struct(">4sIQ")  # a mark, the header's bytes, the data's bytes
MARK = b"CGW1"  # the protocol and its version
MOST_HEADER, MOST_DATA = 1 << 20, 1 << 31  # bytes
READY = "ready"

Frame = tuple[dict[str, Any], bytes]
Answer = Callable[[dict[str, Any], bytes], tuple[Mapping[str, Any], bytes]]


def write_frame(stream: BinaryIO, header: Mapping[str, Any], data: bytes = b"") -> None:
    """Write a frame. Raises ValueError for one that is too large, and OSError."""
    text = json.dumps(header, allow_nan=False).encode()
    _require_size(len(text), len(data))
    stream.write(LENGTHS.pack(MARK, len(text), len(data)))
    stream.write(text)
    stream.write(data)
    stream.flush()


def read_frame(stream: BinaryIO) -> Frame:
    """The next frame. Raises EOFError at the end of the stream, ValueError for anything but a frame."""
    mark, header_length, data_length = LENGTHS.unpack(_exactly(stream, LENGTHS.size))
    if mark != MARK:
        raise ValueError(f"expected a frame, not {mark!r}")
    _require_size(header_length, data_length)
    header = json.loads(_exactly(stream, header_length).decode())
    if not isinstance(header, dict):
        raise ValueError(f"the header of a frame must be an object, not {header!r}")  # noqa: TRY004 - its text
    return header, _exactly(stream, data_length)


def serve(answer: Answer, calls: BinaryIO, answers: BinaryIO) -> None:
    """Answer calls until their stream ends. An exception becomes an answer with its text in `error`."""
    while True:
        try:
            header, data = read_frame(calls)
        except EOFError:
            return
        try:
            found, content = answer(header, data)
        except Exception as error:  # noqa: BLE001 - the process goes on, and the caller is told which it was
            found, content = {"error": f"{type(error).__name__}: {error}"}, b""
        write_frame(answers, found, content)


def main(program: str) -> None:
    """Run the file `program`. What it or its packages print goes to stderr: stdout is for frames alone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        for stream in (sys.stdin.fileno(), answers.fileno()):
            msvcrt.setmode(stream, os.O_BINARY)
    answer = loaded(program)
    write_frame(answers, {READY: True})
    serve(answer, sys.stdin.buffer, answers)


def loaded(program: str) -> Answer:
    """The function `answer` of a file. Raises whatever its import raises."""
    spec = spec_from_file_location("ctrlgen_program", program)
    if spec is None or spec.loader is None:
        raise ImportError(f"{program} is no Python file")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Answer = module.answer
    return found


def _require_size(header: int, data: int) -> None:
    if header > MOST_HEADER or data > MOST_DATA:
        raise ValueError(f"a frame of {header} and {data} bytes is too large")


def _exactly(stream: BinaryIO, count: int) -> bytes:
    """The next bytes of a stream. Raises EOFError if there are fewer."""
    data = bytearray()
    while len(data) < count:
        part = stream.read(count - len(data))
        if not part:
            raise EOFError(f"the stream ended after {len(data)} of {count} bytes")
        data += part
    return bytes(data)


if __name__ == "__main__":
    main(sys.argv[1])
