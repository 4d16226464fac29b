"""Fixtures of the command line's tests: a job, and the tiny model."""

from pathlib import Path

import pytest

from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support.command_line import JOB


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.write_model(folder)
    return folder


@pytest.fixture
def bundled(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The random model in the bundled model's place."""
    monkeypatch.setattr("lib_ctrlgen.models.bundled.tiny_folder", lambda: tiny)
    return tiny


@pytest.fixture
def job(tmp_path: Path) -> Path:
    files.picture(80, 64).save(tmp_path / "star.png")
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path
