"""A skip becomes a failure where it is for a package that CTRLGEN_REQUIRE names, for example "ldm,sgm"."""

import os
from collections.abc import Generator
from typing import Any

import pytest

# The package to import for each name that CTRLGEN_REQUIRE may hold.
PACKAGES = {
    "ldm": "ldm",
    "sgm": "imaginairy",
    "k_diffusion": "k_diffusion",
    "controlnet_aux": "controlnet_aux",
}


def required() -> list[str]:
    """The names in CTRLGEN_REQUIRE. Raises UsageError for one that is not in `PACKAGES`."""
    names = [name for name in os.environ.get("CTRLGEN_REQUIRE", "").split(",") if name]
    unknown = sorted(set(names) - PACKAGES.keys())
    if unknown:
        raise pytest.UsageError(f"CTRLGEN_REQUIRE: unknown {unknown}; known are {sorted(PACKAGES)}")
    return names


def refuse_skip(report: Any) -> Any:
    """The report, which is failed now if it skips because a required package could not be imported."""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2])
        for name in required():
            if f"could not import '{PACKAGES[name]}" in reason:
                report.outcome = "failed"
                report.longrepr = f"skipped, but CTRLGEN_REQUIRE names {name}: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return refuse_skip((yield))
