"""The guide's commands run, and its figures are those of `ctrlgen explain`, small and self-contained."""

import json
import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.headless.explain import averages, blends, copying
from lib_ctrlgen.headless.explain.table import FIGURES

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guide.md").read_text("utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"^    \.venv/bin/ctrlgen (.+)$", GUIDE, re.MULTILINE)]
PICTURES = sorted((ROOT / "docs" / "images" / "guide").iterdir())
MOST_BYTES = 600_000
SVG = "{http://www.w3.org/2000/svg}"
SMALL = ["--set", "steps=2", "--set", "width=64", "--set", "height=64"]


def require_figure(path: Path) -> None:
    """Assert that a figure is well-formed, no wider than a page, and needs no other file."""
    root = ET.parse(path).getroot()
    assert root.attrib["aria-label"]
    assert float(root.attrib["width"]) <= 780
    links = [each.attrib["href"] for each in root.iter() if "href" in each.attrib]
    assert all(link.startswith("data:image/") for link in links)
    assert len(list(root.iter(f"{SVG}text"))) > 4
    assert "nan" not in "".join(each.text or "" for each in root.iter(f"{SVG}text"))


@pytest.mark.parametrize("command", [each for each in COMMANDS if "all" not in each], ids=" ".join)
def test_the_guides_commands_run(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    for figure in (averages, blends, copying):
        monkeypatch.setattr(figure, "SEEDS", getattr(figure, "SHOWN", 1))
    if command[0] != "explain":
        small = [] if command[0] == "plan" else ["--out", str(tmp_path), *SMALL]
        assert main([*command, *small]) == 0
        assert capsys.readouterr().out
        return
    if len(command) == 1:
        assert main(command) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
            entry.name for entry in FIGURES
        ]
        return
    assert main([*command, *SMALL, "--out", str(tmp_path)]) == 0
    require_figure(tmp_path / f"{command[1]}.svg")
    assert json.loads((tmp_path / f"{command[1]}.json").read_text("utf-8"))


def test_the_guide_shows_every_figure_and_its_command() -> None:
    names = {entry.name for entry in FIGURES}
    assert {command[1] for command in COMMANDS if command[0] == "explain" and len(command) > 1} >= names
    assert set(re.findall(r"\]\(images/guide/(\w+)\.svg\)", GUIDE)) == names
    assert {path.name for path in PICTURES} == {f"{name}.svg" for name in names}


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_the_figures_are_whole(path: Path) -> None:
    require_figure(path)


def test_the_figures_are_small() -> None:
    assert sum(path.stat().st_size for path in PICTURES) <= MOST_BYTES
