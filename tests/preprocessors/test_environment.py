"""The environments of worker processes: built aside with pip, tested, renamed; only with consent."""

import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors.isolated import installation, running
from lib_ctrlgen.preprocessors.isolated.environment import (
    ENVIRONMENTS,
    Environment,
    environment_named,
    python_in,
    variables,
)
from lib_ctrlgen.preprocessors.isolated.installation import installed
from lib_ctrlgen.preprocessors.isolated.terms import Terms, under
from lib_ctrlgen.request.catalogue import preprocessor_names
from tests.support.fake_worker import FAKE_MESH, FakeSteps, environment, write_wheel
from tests.support.freeze import frozen


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment whose package is in a folder; pip does not look elsewhere."""
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    write_wheel(tmp_path / "wheels", "fake_mesh", FAKE_MESH)
    return environment(tmp_path)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_packages_are_installed_in_an_environment_of_their_own(fake: Environment) -> None:
    above, lines, host = fake.folder.parent, list[str](), frozen()
    (above / "fake-00000000").mkdir(parents=True)  # of another version
    (above / "other-00000000").mkdir()
    with under(Terms(installs=True)):
        worker = running.worker_of(fake, None)
    assert entries(above) == [fake.folder.name, "other-00000000"]
    header, data = worker.call({"width": 1, "height": 1, "max_faces": 2}, bytes(3))
    assert (header, len(data)) == ({"faces": 2}, 2 * 478 * 2 * 4)
    worker.stop()
    assert frozen() == host, "the environment of the host is as it was"
    assert installed(fake, lines.append) == fake.folder
    assert lines == [], "nothing is installed again"
    assert json.loads((fake.folder / "installed.json").read_text())["packages"] == ["fake_mesh==1.0"]
    assert not installation.works(replace(fake, module="surely_missing"))
    (fake.folder / "installed.json").unlink()
    assert not installation.works(fake)


@pytest.mark.parametrize("failing", ["making the environment", "pip", "importing fake_mesh"])
def test_a_failing_step_leaves_nothing(
    failing: str, fake: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is tested before it gets its name."""
    steps = FakeSteps(failing, monkeypatch)
    with pytest.raises(HostError, match=f"{failing} failed with exit code 1: ERROR: {failing}"):
        installed(fake, lambda _line: None)
    assert entries(fake.folder.parent) == []
    left = fake.folder.parent / ".fake-killed.part"  # by an installation that was killed long ago
    (fake.folder / "bin").mkdir(parents=True)  # one that does not work
    left.mkdir()
    os.utime(left, (0, 0))
    steps.failing = ""
    lines = list[str]()
    assert installed(fake, lines.append) == fake.folder
    assert entries(fake.folder.parent) == [fake.folder.name]
    assert "ERROR: pip" in lines, "the lines of the steps are reported"


def test_a_cancelled_installation_leaves_nothing(fake: Environment) -> None:
    cancelled = Terms(cancelled=lambda: True)
    with under(cancelled), pytest.raises(HostError, match="making the environment was cancelled"):
        installed(fake, lambda _line: None)
    assert entries(fake.folder.parent) == []


def test_without_consent_the_error_names_the_command(fake: Environment, tmp_path: Path) -> None:
    store = ModelStore([tmp_path], 1 << 30)
    with pytest.raises(
        ModelError, match=r"run .* preprocessors install fake --yes \(that takes 0\.00 GB in .*free"
    ):
        running.worker_of(fake, store)
    with (
        under(Terms(advice=", or switch on the setting 'X'")),
        pytest.raises(ModelError, match="--yes, or switch on the setting 'X'"),
    ):
        running.worker_of(fake, None)
    assert not (tmp_path / "own").exists()


def test_what_makes_an_installation_impossible_is_said_before(
    fake: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(match: str) -> None:
        with pytest.raises(HostError, match=match):
            installed(fake, lambda _line: None)
        assert entries(fake.folder.parent) == []

    monkeypatch.setattr(installation, "shutil", SimpleNamespace(disk_usage=_nearly_full))
    refused(r"fake needs 0\.00 GB on the disk of .* only 0\.00 GB are free: make room, or set CTRLGEN_CACHE")
    monkeypatch.setattr(installation, "find_spec", lambda name: None if name == "ensurepip" else True)
    refused("cannot make virtual environments .*python3-venv")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("PIP_NO_INDEX")
    refused("HF_HUB_OFFLINE is set, so fake is not installed; with PIP_NO_INDEX=1")


def _nearly_full(_folder: Path) -> SimpleNamespace:
    return SimpleNamespace(free=2_000_000)


def test_settings_of_pip_and_proxies_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"HTTPS_PROXY": "http://proxy", "PIP_CERT": "x", "PIP_TARGET": "y", "PYTHONPATH": "z"}
    for name, text in {**given, "INDEX_URL": "https://mirror/simple", "PIP_USER": "1"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    found = variables()
    assert (found["HTTPS_PROXY"], found["PIP_CERT"]) == ("http://proxy", "x")
    assert found["PIP_INDEX_URL"] == "https://mirror/simple"
    assert found["PIP_USER"] == "0"
    assert not {"PIP_TARGET", "PYTHONPATH"} & set(found)
    monkeypatch.setenv("PIP_INDEX_URL", "https://other")
    assert variables()["PIP_INDEX_URL"] == "https://other"


@pytest.mark.parametrize("each", ENVIRONMENTS, ids=lambda each: each.name)
def test_environments_and_their_users_exist(each: Environment) -> None:
    assert set(each.users) <= set(preprocessor_names())
    assert environment_named(each.users[0]) is environment_named(each.name) is each
    assert each.program.is_file()
    assert all("==" in package for package in each.packages)
    assert python_in(each.folder).name.startswith("python")
    with pytest.raises(ModelError, match="no preprocessor needs an environment 'nothing'"):
        environment_named("nothing")


def test_an_update_uses_another_folder(fake: Environment) -> None:
    assert replace(fake, packages=("fake_mesh==1.1",)).folder != fake.folder
    assert fake.folder.parent.name == "environments"
    assert importlib.util.find_spec("fake_mesh") is None, f"not in {sys.prefix}"
