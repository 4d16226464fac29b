"""Interrupt and Skip while the maps of a generation are made: no further one is."""

from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.controls.unit import ActiveUnit
from tests.support.constant_control import REQUEST, Pushes
from tests.support.fake_webui import FakeWebUI, Processing


class Detecting(Pushes):
    """A control that makes its map before sampling, during which the user presses a button."""

    def __init__(self, host: FakeWebUI, button: str) -> None:
        super().__init__()
        self.host, self.button, self.made = host, button, 0

    def control_map(self, width: int, height: int) -> Image.Image:
        self.made += 1
        if self.button:
            setattr(self.host.state, self.button, True)
        return super().control_map(width, height)


class Encoding(Detecting):
    """One whose picture is encoded before."""

    def prepare(self, height: int, width: int) -> None:
        self.control_map(width, height)


@pytest.mark.parametrize("kind", [Detecting, Encoding])
@pytest.mark.parametrize("button", ["interrupted", "skipped", ""])
def test_no_further_map_is_made(
    host: FakeWebUI, script: Any, monkeypatch: pytest.MonkeyPatch, button: str, kind: type[Detecting]
) -> None:
    controls = [kind(host, button), kind(host, "")]

    def load_units(units: Any, *args: Any, **kwargs: Any) -> tuple[ActiveUnit, ...]:
        del args, kwargs
        both = zip(units, controls, strict=True)
        return tuple(ActiveUnit(index=i, spec=unit, control=own) for i, (unit, own) in enumerate(both))

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)
    request = {"units": [*REQUEST["units"], *REQUEST["units"]]}
    _, processed = host.process_images(script, Processing(host), request)
    assert [each.made > 0 for each in controls] == [True, not button]
    assert len(processed.images) == (1 if button else 3), "the maps are appended"
