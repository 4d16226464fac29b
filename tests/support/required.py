"""A skip becomes a failure where it is for want of what CTRLGEN_REQUIRE names, for example "ldm,chromium"."""

import os
from collections.abc import Generator
from typing import Any

import pytest

# What the reason of a skip says, for each name that CTRLGEN_REQUIRE may hold.
REASONS = {
    "ldm": "could not import 'ldm",
    "sgm": "could not import 'imaginairy",
    "k_diffusion": "could not import 'k_diffusion",
    "controlnet_aux": "could not import 'controlnet_aux",
    "serve": "install the extra `serve`",
    "gradio": "install gradio 3.41.2",
    "playwright": "install playwright",
    "chromium": "no browser at",
    "axe": "install axe-playwright-python",
}


def required() -> list[str]:
    """The names in CTRLGEN_REQUIRE. Raises UsageError for one that is not in `REASONS`."""
    names = [name for name in os.environ.get("CTRLGEN_REQUIRE", "").split(",") if name]
    unknown = sorted(set(names) - REASONS.keys())
    if unknown:
        raise pytest.UsageError(f"CTRLGEN_REQUIRE: unknown {unknown}; known are {sorted(REASONS)}")
    return names


def refuse_skip(report: Any) -> Any:
    """The report, which is failed now if it skips for want of something that is required."""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2])
        for name in required():
            if REASONS[name] in reason:
                report.outcome = "failed"
                report.longrepr = f"skipped, but CTRLGEN_REQUIRE names {name}: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return refuse_skip((yield))
