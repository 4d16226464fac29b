"""The commands, the plan, the snippet and the links of the READMEs work."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib_ctrlgen.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
TASKS = sorted((ROOT / "docs" / "tasks").glob("*.md"))
TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)
COMMAND = re.compile(r"\.venv/bin/ctrlgen (run|plan|tune|explore) (examples/[\w./]+\.yaml)")
BARE = re.compile(r"^    (?:\$ )?ctrlgen .*", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def test_the_plan_is_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, printed = re.findall(
        r"^    \$ \.venv/bin/ctrlgen (plan .*)\n\n((?:    .*\n)+)", TEXT, re.MULTILINE
    )[0]
    words = re.findall(r'(?:[^\s"]|"[^"]*")+', command)
    monkeypatch.chdir(ROOT)
    assert main([word.replace('"', "") for word in words]) == 0
    shown = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line[4:].rstrip() for line in printed.splitlines()] == shown


def test_the_library_snippet_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    snippet = next(code for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "Engine(" in code)
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(snippet.replace('"steps": 12', '"steps": 2'), "headless.md", "exec"), names)
    [picture] = names["pictures"]
    assert picture.size == (128, 128)


@pytest.mark.parametrize("page", [*PAGES, *TASKS], ids=lambda page: page.name)
def test_commands_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for verb, file in COMMAND.findall(text):
        assert ("tune" in yaml.safe_load((ROOT / file).read_text("utf-8"))) == (verb == "tune")
    for link in LINK.findall(text):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", [*PAGES, *TASKS], ids=lambda page: page.name)
def test_commands_can_be_run_without_an_active_environment(page: Path) -> None:
    assert BARE.findall(page.read_text("utf-8")) == []


def test_every_decision_is_in_the_index() -> None:
    decisions = {f"decisions/{file.name}" for file in (ROOT / "docs" / "decisions").glob("*.md")}
    listed = set(LINK.findall((ROOT / "docs" / "index.md").read_text("utf-8")))
    assert decisions <= listed
