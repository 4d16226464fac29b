"""The command line in a real process: a full disk, a closed pipe, plain output and lists of names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib_ctrlgen.cli import common as cli_parts
from lib_ctrlgen.cli import output as cli_output
from lib_ctrlgen.plots.plan_view import ASCII_BARS, BARS

ROOT = Path(__file__).resolve().parents[2]
PLAN = ["plan", "examples/scheduled.yaml"]
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")


def run(arguments: list[str], **more: str) -> "subprocess.CompletedProcess[str]":
    """`python -m lib_ctrlgen`, in a shell where `more['shell']` says how."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{k: v for k, v in more.items() if k != "shell"}}
    command = " ".join([sys.executable, "-m", "lib_ctrlgen", *arguments, more.get("shell", "")])
    return subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, env=environment, check=False
    )


def test_letters_that_the_output_lacks_are_replaced() -> None:
    done = run(PLAN, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "@@@@@@@#*=:." in done.stdout
    assert len(ASCII_BARS) == len(BARS)


@full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [PLAN, ["schema"]], ids=["plan", "schema"])
def test_a_full_output_is_one_line(arguments: list[str], unbuffered: str) -> None:
    done = run(arguments, shell=">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr == "ctrlgen: error: cannot write the output: No space left on device\n"


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
@pytest.mark.parametrize("shell", ["| head -c 1", ">&-", "<&-", "2>&-"])
def test_a_closed_stream_is_no_traceback(shell: str) -> None:
    done = run(["schema"], shell=shell)
    assert (done.returncode, done.stderr) == (0, "")


@full
def test_an_error_that_cannot_be_shown_still_has_its_code() -> None:
    assert run(["plan", "nowhere.yaml"], shell="2>/dev/full").returncode == 2
    assert run(["plan", "nowhere.yaml"], shell="2>&-").returncode == 2


@full
def test_a_progress_bar_never_ends_the_work() -> None:
    with Path("/dev/full").open("w") as stream:
        screen = cli_output.SafeStderr(stream)
        assert screen.write("x" * 100_000) == 100_000
        screen.flush()
        assert not screen.isatty()
    assert cli_output.SafeStderr(None).write("x") == 1


def test_lists_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from lib_ctrlgen.cli import main as cli

    assert cli.main(["preprocessors"]) == 0
    assert "low_threshold: 1..255 (default 100)" in capsys.readouterr().out
    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    kinds = {line.split()[0]: line.split(maxsplit=2)[2] for line in lines}
    assert kinds["ctrlgen-tiny"].split() == ["checkpoint", "custom", "19.4", "MB"]
    assert kinds["ControlNet/ctrlgen-tiny-edges"].startswith("controlnet ")
    assert kinds["ControlNet/ctrlgen-tiny-ip"].startswith("ip_adapter plain ")


def test_a_broken_model_is_listed_with_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lib_ctrlgen.cli import main as cli

    (tmp_path / "half.safetensors").write_bytes(b"half")
    assert cli.main(["models", "--models", str(tmp_path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("half [")]
    assert "half.safetensors: cannot be read" in line


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        (ROOT / ".venv" / "bin" / "ctrlgen", str(Path(".venv/bin/ctrlgen"))),
        (ROOT / "lib_ctrlgen" / "__main__.py", "-m lib_ctrlgen"),
        (Path("/a b/ctrlgen"), '"/a b/ctrlgen"'),
    ],
)
def test_what_to_try_next_can_be_typed(called: Path, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [str(called)])
    monkeypatch.setattr(cli_parts, "which", lambda name: None if name == "ctrlgen" else name)
    _, plan, *_ = cli_parts.next_commands()
    assert f"{shown} plan {Path('examples/scheduled.yaml')}" in plan
