"""CI's runs fail where a test is skipped for want of a package or a browser that CI installs."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import bare_webui, script_page
from tests.support.bare_webui import real_gradio
from tests.support.required import REASONS, required

ROOT = Path(__file__).resolve().parents[2]
IN_A_TEST = "import pytest\ndef test_a():\n    pytest.importorskip('ldm.nothing')\n"
IN_THE_MODULE = "import pytest\npytest.importorskip('ldm.nothing')\ndef test_a():\n    assert True\n"


def result(folder: Path, names: str, *sources: str) -> tuple[int, str]:
    """Pytest's exit code and last line for these test modules, with CTRLGEN_REQUIRE set to `names`."""
    for number, source in enumerate(sources):
        (folder / f"test_example_{number}.py").write_text(source)
    options = [
        "-q",
        "--continue-on-collection-errors",
        "-p",
        "tests.support.required",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
    ]
    command = [sys.executable, "-W", "ignore", "-m", "pytest", *options, "-c", os.devnull, str(folder)]
    environment = os.environ | {"CTRLGEN_REQUIRE": names}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout.strip().splitlines() or [""])[-1]


def test_a_skip_for_a_required_package_is_a_failure(tmp_path: Path) -> None:
    code, said = result(tmp_path, "sgm,ldm", IN_A_TEST, IN_THE_MODULE)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert said.startswith("1 failed, 1 error")


def test_other_skips_stay_skips(tmp_path: Path) -> None:
    code, said = result(tmp_path, "sgm", IN_A_TEST, IN_THE_MODULE)
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert said.startswith("2 skipped")


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTRLGEN_REQUIRE", "lmd")
    with pytest.raises(pytest.UsageError, match=r"unknown .*lmd"):
        required()
    monkeypatch.setenv("CTRLGEN_REQUIRE", "")
    assert required() == []


def said(skips: Any) -> str:
    """The reason with which a function skips the test."""
    with pytest.raises(pytest.skip.Exception) as caught:
        skips()
    return str(caught.value)


def test_the_reasons_are_those_of_the_page_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_page, "CHROMIUM", "/nowhere/chromium")
    monkeypatch.setitem(sys.modules, "playwright.sync_api", SimpleNamespace())
    assert REASONS["chromium"] in said(script_page.browser().__enter__)
    for name in ("gradio", "playwright.sync_api"):
        monkeypatch.setitem(sys.modules, name, None)
    assert REASONS["playwright"] in said(script_page.browser().__enter__)
    assert REASONS["gradio"] in said(real_gradio)
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(__version__="6.0.0"))
    assert REASONS["gradio"] in said(real_gradio)
    monkeypatch.setattr(bare_webui, "find_spec", lambda name: None)
    monkeypatch.delenv("CTRLGEN_AXE", raising=False)
    assert REASONS["axe"] in said(bare_webui.axe_file)


def test_ci_requires_all_of_them() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    asked = re.findall(r"CTRLGEN_REQUIRE=(?:\$CTRLGEN_REQUIRE,)?([\w,]+)", script)
    assert set(",".join(asked).split(",")) == REASONS.keys()
