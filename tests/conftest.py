"""What every test run shares: no network, few threads, live tests only beside a real WebUI.

Live tests (marked `live`) need a running WebUI 1.10.1 with this repository as an extension:
CTRLGEN_WEBUI_URL, its address, such as http://127.0.0.1:7860; and for tests that read or
write its folders CTRLGEN_WEBUI_ROOT.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.support.required import pytest_make_collect_report, pytest_runtest_makereport

if TYPE_CHECKING:
    from lib_ctrlgen.headless.engine import Engine
    from tests.support.face_networks import FakeRuntime
    from tests.support.fake_webui import FakeWebUI

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]  # hooks of this run

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests neither see the models of the user who runs them nor write into the user's folders.
OWN_CACHE = TemporaryDirectory(prefix="ctrlgen-tests-")
os.environ["HF_HUB_CACHE"] = os.devnull
# The user's folder, for the test of MediaPipe's environment. The processes of xdist inherit it.
os.environ.setdefault("CTRLGEN_OUTER_CACHE", os.environ.get("CTRLGEN_CACHE", ""))
os.environ["CTRLGEN_CACHE"] = OWN_CACHE.name
# Before the first import of torch. The networks are tiny: a second thread gains nothing on an
# idle machine, and on a busy one the two wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# `make test` tries the same examples in every run. Others are tried before a release, with
# `make test PYTEST_ARGS=--hypothesis-profile=random`. The profile `long` tries ten times as many.
# A counterexample that such a run finds is added to its test with `@example`.
settings.register_profile("fixed", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("fixed")


# Fixtures import what they need themselves, so that a test which needs no torch starts without it.


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the bundled tiny model's, with random weights."""
    from tests.support import headless_models

    folder = tmp_path_factory.mktemp("models") / "tiny"
    headless_models.write_model(folder)
    return folder


@pytest.fixture(scope="module")
def engine(root: Path) -> Engine:
    """An engine in float32 on the CPU for the random tiny model."""
    import torch

    from lib_ctrlgen.headless.checkpoints.load import Place
    from lib_ctrlgen.headless.engine import Engine

    return Engine([root], 1 << 30, Place(device=torch.device("cpu"), dtype=torch.float32))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeWebUI]:
    """A fake WebUI whose folder is the test's."""
    from tests.support.fake_webui import FakeWebUI, served

    with served(FakeWebUI(), tmp_path) as webui:
        yield webui


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRuntime:
    """A fake onnxruntime; insightface is not installed, and the home folder is empty."""
    from tests.support.face_networks import install_runtime

    return install_runtime(monkeypatch, tmp_path / "home")


@pytest.fixture
def script(host: FakeWebUI) -> Any:
    """A new instance of the extension's script in the fake WebUI."""
    from tests.support.fake_webui import fresh

    return fresh("script").CtrlGenScript()


@pytest.fixture(scope="session")
def webui_url() -> str:
    """The address of the running WebUI, without a closing slash."""
    return _setting("CTRLGEN_WEBUI_URL").rstrip("/")


@pytest.fixture(scope="session")
def webui_root() -> Path:
    """The folder of the running WebUI."""
    return Path(_setting("CTRLGEN_WEBUI_ROOT"))


def _setting(name: str) -> str:
    return os.environ.get(name) or pytest.skip(f"live test: set {name} (see tests/conftest.py)")


def pytest_collection_finish() -> None:
    """Take what the imports left out of garbage collection, which took a sixth of all time for it."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("CTRLGEN_WEBUI_URL") or os.environ.get("CTRLGEN_WEBUI_ROOT"):
        return
    skip = pytest.mark.skip(reason="live test: set CTRLGEN_WEBUI_URL (see tests/conftest.py)")
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(skip)
