"""`ctrlgen preprocessors`: the list, and `install`."""

from pathlib import Path

import pytest

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.preprocessors.isolated import environment as module
from lib_ctrlgen.preprocessors.isolated.environment import Environment
from tests.support.command_line import Captured, fails
from tests.support.fake_worker import FakeSteps, environment


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment in mediapipe's place; the commands of its installation do nothing."""
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    made = environment(tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENTS", (made,))
    return made


def listed(captured: Captured) -> str:
    assert cli.main(["preprocessors"]) == 0
    text = captured.readouterr().out
    return next(line.strip() for line in text.splitlines() if "its environment" in line)


def test_installation_asks_for_consent(
    fake: Environment, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listed(capsys).startswith("its environment fake is not installed: run ")
    assert listed(capsys).endswith("preprocessors install fake --yes")
    said = fails(["preprocessors", "install", "mediapipe_face"], capsys)
    assert f"add --yes to install fake: it takes 0.00 GB in {fake.folder.parent}, where" in said
    assert not fake.folder.parent.exists()
    steps = FakeSteps("pip", monkeypatch)
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setattr("lib_ctrlgen.cli.lists.print", lambda *_, **__: None, raising=False)
        assert "pip failed with exit code 1" in fails(["preprocessors", "install", "fake", "--yes"], capsys)
    steps.failing = ""
    assert cli.main(["preprocessors", "install", "fake", "--yes"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(fake.folder)
    assert "installing fake: it takes 0.00 GB" in err
    assert listed(capsys) == "its environment fake is installed"
    assert cli.main(["preprocessors", "install", "fake"]) == 0, "it is there: no consent is needed"
    assert capsys.readouterr().out.strip() == str(fake.folder)


def test_offline_nothing_is_installed(
    fake: Environment, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in fails(["preprocessors", "install", "fake", "--yes"], capsys)
    assert "nearest: fake" in fails(["preprocessors", "install", "fak"], capsys)
