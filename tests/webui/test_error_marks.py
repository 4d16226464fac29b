"""What the page gets to mark its fields, and what it shows while models are loaded and maps are made."""

from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import StoppedError
from lib_ctrlgen.forms.blend_fields import COUNT
from lib_ctrlgen.forms.unit_fields import WHOLE_FIELDS, unit_fields
from tests.support.constant_control import REQUEST, Pushes
from tests.support.fake_webui import FakeWebUI, Processing

PICTURE = Image.new("RGB", (8, 8), "red")


def page_args(*units: dict[str, Any]) -> list[Any]:
    """The script's arguments from a page whose units have these fields."""
    args: list[Any] = ["", *WHOLE_FIELDS.values(), *[None] * COUNT]
    for unit in units:
        args += (unit_fields() | {"enabled": True, "model": "edges", "image": PICTURE} | unit).values()
    return args


def test_the_errors_of_all_units_are_shown_and_marked(host: FakeWebUI, script: Any) -> None:
    p = Processing(host, is_api=False)
    wrong = page_args({"image": None, "weight_schedule": "1>"}, {"model": "None"})
    _, processed = host.process_images(script, p, *wrong)
    assert processed.images == []
    assert [text.partition(": ")[2][:23] for text in p.comments] == [
        "Unit 0, Weight schedule", "Unit 1, Model: choose a",
    ]  # fmt: skip
    assert [line.split(": ")[1] for line in host.log] == ["$.units[0].weight", "$.units[1].model"]
    marks = processed.extra_generation_params["CtrlGen marks"]
    assert [mark["unit"] for mark in marks] == [0, 1]
    assert marks[0]["elements"][0] == "ctrlgen_{tab}_unit0_weight_schedule"
    assert "CtrlGen marks" not in p.extra_generation_params, "infotexts are made from them"


def test_a_warning_marks_its_field_and_a_right_generation_none(
    host: FakeWebUI, script: Any, control: Pushes
) -> None:
    p = Processing(host, is_api=False)
    _, processed = host.process_images(script, p, *page_args({"weight": 0.0}))
    found = processed.extra_generation_params["CtrlGen marks"]
    assert {mark["warning"] for mark in found} == {True}
    assert "ctrlgen_{tab}_unit0_weight" in [mark["elements"][0] for mark in found]
    _, processed = host.process_images(script, Processing(host), *page_args({"weight": 0.0}))
    assert "CtrlGen marks" not in processed.extra_generation_params, "an answer of the API"


class Watching(Pushes):
    """A control that notes what the WebUI shows while its map is made."""

    def __init__(self, host: FakeWebUI) -> None:
        super().__init__()
        self.host = host
        self.shown: list[str] = []

    def control_map(self, width: int, height: int) -> Image.Image:
        self.shown.append(self.host.state.textinfo)
        return super().control_map(width, height)


def test_the_progress_bar_says_which_unit_is_detected(
    host: FakeWebUI, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = Watching(host)
    host.state.textinfo = "before"

    def load_units(units: Any, target: Any) -> tuple[ActiveUnit, ...]:
        with target.progress.piece("loading"):
            assert host.state.textinfo == "CtrlGen: loading ..."
        return (ActiveUnit(index=0, spec=units[0], control=control),)

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)
    request = {"units": [REQUEST["units"][0] | {"preprocessor": "canny"}]}
    _, processed = host.process_images(script, Processing(host), request)
    assert control.shown[0] == "CtrlGen: detecting the edges of unit 0 ..."
    assert host.state.textinfo == "before"
    assert len(processed.images) == 2


@pytest.mark.parametrize(
    ("button", "batches", "stops"),
    [("interrupted", 1, True), ("skipped", 1, True), ("skipped", 2, False), ("stopping_generation", 2, True)],
)
def test_loading_ends_when_the_user_stops_it(
    host: FakeWebUI, script: Any, monkeypatch: pytest.MonkeyPatch, button: str, batches: int, stops: bool
) -> None:
    stopped: list[bool] = []

    def load_units(units: Any, target: Any) -> tuple[ActiveUnit, ...]:
        setattr(host.state, button, True)
        try:
            with target.progress.piece("loading"):
                pass
        except StoppedError:
            stopped.append(True)
            raise
        host.state.skipped = False  # as the WebUI does before the first batch
        return (ActiveUnit(index=0, spec=units[0], control=Pushes()),)

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)
    p = Processing(host, n_iter=batches)
    _, processed = host.process_images(script, p, REQUEST)
    assert bool(stopped) == stops
    assert bool(processed.images) != stops
    assert host.log == [], "no mistake of the user's"
    assert host.state.textinfo is None
