"""A program for worker processes, and packages for their environments, in the place of mediapipe."""

import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.preprocessors.isolated import installation
from lib_ctrlgen.preprocessors.isolated.environment import Environment, python_in, variables
from lib_ctrlgen.preprocessors.isolated.worker import Limits, Program, Worker

# Each call says in `do` what it does.
PROGRAM = """
import os, sys, time

def answer(header, data):
    do = header["do"]
    if do == "print":
        print("on stdout", flush=True)
        os.system("echo from a child")
    elif do == "fail":
        raise ValueError("no such picture")
    elif do == "crash":
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(3)
    elif do == "garbage":
        for number in range(3, 20):
            try:
                os.write(number, b"garbage" * 9)
            except OSError:
                pass
    elif do == "sleep":
        time.sleep(header["seconds"])
    return {"pid": os.getpid(), "do": do}, data[::-1]
"""
NOT_STARTING = "import surely_missing\n"
FACES = """
import fake_mesh

def answer(header, data):
    return fake_mesh.found(header, data)
"""
# Of each face in `max_faces`, a mesh on a circle; the point of a line's end is outside of the second face.
FAKE_MESH = """
import math, struct

def found(header, data):
    assert len(data) == header["width"] * header["height"] * 3
    values = []
    for face in range(header["max_faces"]):
        for point in range(478):
            angle, radius = point / 478 * 2 * math.pi, 0.3 + 0.3 * face
            values += [0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)]
    return {"faces": header["max_faces"]}, struct.pack(f"<{len(values)}f", *values)
"""


def program(folder: Path, text: str = PROGRAM, python: str = sys.executable) -> Program:
    """A program of this text, which runs with the tests' Python."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "fake_program.py"
    file.write_text(text)
    return Program(python=Path(python), file=file, variables=variables(), advice="; install it again")


def worker(folder: Path, text: str = PROGRAM, **limits: float) -> Worker:
    """A worker of a program of this text."""
    chosen: Mapping[str, Any] = {"start": 30.0, "call": 30.0, "idle": 60.0} | limits
    return Worker("fake", program(folder, text), Limits(**chosen))


def write_wheel(folder: Path, name: str, source: str) -> None:
    """Write a package of one module that pip can install from a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


def environment(folder: Path, package: str = "fake_mesh") -> Environment:
    """An environment with a package of `write_wheel`, whose program finds the faces of FAKE_MESH."""
    return Environment(
        name="fake",
        packages=(f"{package}==1.0",),
        module="fake_mesh",
        program=program(folder, FACES).file,
        size=1_000_000,
        download=1_000,
        users=("mediapipe_face",),
    )


class FakeSteps:
    """The commands of an installation, of which one fails; the others only make the files."""

    def __init__(self, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing, self.original = failing, installation._started
        monkeypatch.setattr(installation, "_started", self.started)

    def started(self, what: str, command: Sequence[str], given: Mapping[str, str]) -> Any:
        if what == "making the environment":
            python = python_in(Path(command[-1]))
            python.parent.mkdir(parents=True)
            python.touch()
        source = f"print('ERROR: {what}'); raise SystemExit({int(what == self.failing)})"
        return self.original(what, [sys.executable, "-S", "-c", source], given)
