"""A job for the command line, and how its failures look."""

from pathlib import Path

import pytest

from lib_ctrlgen.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
JOB = """
prompt: a red star
width: 64
height: 64
steps: 2
sampler: Euler
units:
  - model: ctrlgen-tiny-edges
    image: star.png
    preprocessor: canny
    weight: 1>0
  - model: ctrlgen-tiny-ip
    image: star.png
    guidance_end: 0.5
"""


Captured = pytest.CaptureFixture[str]


def visible(folder: Path) -> list[str]:
    """The names of a folder's files, sorted, without hidden ones."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def fails(arguments: list[str], captured: Captured) -> str:
    """The one line that a failing command prints; its exit code is 2."""
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = int(str(stop.code))
    out, err = captured.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("ctrlgen")
    assert err.count("\n") == 1
    return err
