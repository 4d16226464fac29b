"""CI's runs fail where a test is skipped because ldm, sgm or k-diffusion is missing."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.required import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
IN_A_TEST = "import pytest\ndef test_a():\n    pytest.importorskip('ldm.nothing')\n"
IN_THE_MODULE = "import pytest\npytest.importorskip('ldm.nothing')\ndef test_a():\n    assert True\n"


def result(folder: Path, source: str, names: str) -> int:
    """Pytest's exit code for one test module, with CTRLGEN_REQUIRE set to `names`."""
    (folder / "test_example.py").write_text(source)
    options = ["-q", "-p", "tests.support.required", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    command = [sys.executable, "-W", "ignore", "-m", "pytest", *options, "-c", os.devnull, str(folder)]
    environment = os.environ | {"CTRLGEN_REQUIRE": names}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize("source", [IN_A_TEST, IN_THE_MODULE], ids=["test", "module"])
def test_a_skip_for_a_required_package_is_a_failure(tmp_path: Path, source: str) -> None:
    assert result(tmp_path, source, "sgm,ldm") in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


@pytest.mark.parametrize("names", ["", "sgm"])
def test_other_skips_stay_skips(tmp_path: Path, names: str) -> None:
    assert result(tmp_path, IN_A_TEST, names) == pytest.ExitCode.OK


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    code = result(tmp_path, IN_A_TEST, "lmd")
    assert code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def test_ci_requires_all_of_them() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert f"CTRLGEN_REQUIRE={','.join(PACKAGES)}" in script
    if os.environ.get("CTRLGEN_REQUIRE"):
        assert all(find_spec(package) for package in PACKAGES.values())
