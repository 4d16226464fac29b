"""What every test run shares: no network, few threads, live tests only beside a real WebUI.

Live tests (marked `live`) need a running WebUI 1.10.1 with this repository as an extension:
CTRLGEN_WEBUI_URL, its address, such as http://127.0.0.1:7860; and for tests that read or
write its folders CTRLGEN_WEBUI_ROOT.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before the first import of torch. The networks are tiny: a second thread gains nothing on an
# idle machine, and on a busy one the two wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# `make test` tries the same examples in every run. Others, and more of them, are tried with
# `make test PYTEST_ARGS=--hypothesis-profile=random` (or `long`), and by CI in its second set.
# A counterexample that such a run finds is added to its test with `@example`.
settings.register_profile("fixed", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True, max_examples=150)
settings.register_profile("long", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("fixed")


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("CTRLGEN_WEBUI_URL") or os.environ.get("CTRLGEN_WEBUI_ROOT"):
        return
    skip = pytest.mark.skip(reason="live test: set CTRLGEN_WEBUI_URL (see tests/conftest.py)")
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(skip)
