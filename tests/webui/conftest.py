"""Fixtures of the tests of the WebUI's extension."""

from collections.abc import Iterator
from typing import Any

import pytest

from lib_ctrlgen.controls.unit import ActiveUnit
from tests.support.constant_control import Pushes
from tests.support.script_page import browser


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch, script: Any) -> Pushes:
    """Every enabled unit is this control, whatever its model."""
    made = Pushes()

    def load_units(units: Any, *args: Any, **kwargs: Any) -> tuple[ActiveUnit, ...]:
        chosen = [(i, unit) for i, unit in enumerate(units) if unit.enabled]
        return tuple(ActiveUnit(index=i, spec=unit, control=made) for i, unit in chosen)

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)
    return made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium for the tests of one file; skips them without playwright or a browser."""
    with browser() as opened:
        yield opened
