"""`ctrlgen explain` as a command: names, jobs, figures that a job has nothing for."""

from pathlib import Path

import pytest

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.headless.explain import table
from tests.support.command_line import Captured, fails, visible

SMALL = ["--set", "steps=2", "--threads", "1"]


def test_all_leaves_out_what_a_job_has_nothing_for(
    job: Path, tmp_path: Path, bundled: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("averages", "loop", "noise", "stacking")
    monkeypatch.setattr(table, "FIGURES", tuple(map(table.figure_named, names)))
    assert cli.main(["explain", "all", str(job), "--out", str(tmp_path / "out"), *SMALL]) == 0
    out, err = capsys.readouterr()
    assert visible(tmp_path / "out") == ["loop.json", "loop.svg", "noise.json", "noise.svg"]
    assert len(out.splitlines()) == 4
    assert err.splitlines()[-2:] == [
        "ctrlgen: warning: $.blend: `explain averages` needs a blend of two concepts",
        "ctrlgen: warning: $.units: `explain stacking` needs two units with ControlNets",
    ]
    monkeypatch.setattr(table, "FIGURES", tuple(map(table.figure_named, ("averages", "stacking"))))
    assert cli.main(["explain", "all", str(job), "--out", str(tmp_path / "none"), *SMALL]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "ctrlgen: error: $.units: `explain stacking` needs two units with ControlNets"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lop"], "no figure is named 'lop'; nearest: loop"),
        (["loop", "nowhere.yaml"], "nowhere.yaml"),
        (["loop", "--set", "model=nothing"], "$.model"),
        (["loop", "--set", "sampler=Oiler"], "$.sampler"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, bundled: Path, capsys: Captured
) -> None:
    assert message in fails(["explain", *arguments, "--out", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()
