"""The WebUI warns of a unit that would do nothing, or refuses it."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from tests.support import control_files as files
from tests.support.constant_control import Pushes
from tests.support.fake_webui import FakeWebUI, Processing, fresh

PICTURE = encode_image(files.picture(8, 8))


class Seen(Pushes):
    """A control whose map is a picture."""

    shown = files.picture(8, 8)

    def control_map(self, width: int, height: int) -> Image.Image:
        return self.shown.resize((width, height))


@pytest.fixture
def script(host: FakeWebUI, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = fresh("script").CtrlGenScript()
    __import__("lib_ctrlgen.webui.sampling.generation")

    def load_units(units: Any, *_args: Any, **_more: Any) -> tuple[ActiveUnit, ...]:
        chosen = [(i, each) for i, each in enumerate(units) if each.enabled]
        return tuple(
            ActiveUnit(index=i, spec=each, control=Seen(), image_at=f"$.units[{i}].image")
            for i, each in chosen
        )

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)
    return made


def generate(host: FakeWebUI, script: Any, unit: dict[str, Any], **options: Any) -> Processing:
    p = Processing(host, **options)
    host.process_images(script, p, {"units": [{"model": "m", "image": PICTURE, **unit}]})
    return p


def test_a_warning_is_in_the_infotext_and_below_the_pictures(host: FakeWebUI, script: Any) -> None:
    p = generate(host, script, {"weight": 0})
    text = "$.units[0].weight: the weight is 0: the unit does nothing"
    assert p.extra_generation_params["CtrlGen warnings"] == text
    assert list(p.comments) == ["CtrlGen: Unit 0, Weight: the weight is 0: the unit does nothing."]
    again = Processing(host, extra_generation_params=p.extra_generation_params)  # as X/Y/Z's copies
    host.process_images(script, again, "")
    assert "CtrlGen warnings" not in again.extra_generation_params


def test_an_ordinary_generation_has_none(host: FakeWebUI, script: Any) -> None:
    p = generate(host, script, {"weight": "1>0"})
    assert "CtrlGen warnings" not in p.extra_generation_params
    assert p.comments == {}


def test_the_page_hands_on_a_deep_picture_as_it_was_sent(host: FakeWebUI) -> None:
    parts = fresh("panel.components")
    deep = encode_image(Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)))

    class Gradio:
        def preprocess(self, _x: Any) -> str:
            return "eight bits"

    class Input(parts.PictureInput, Gradio):  # type: ignore[name-defined, misc]
        """With what gradio does behind it."""

    assert Input().preprocess(deep) == deep
    assert Input().preprocess(PICTURE) == "eight bits"
    assert Input().preprocess(None) == "eight bits"


def test_a_blank_map_is_told_from_the_size_of_the_pass(
    host: FakeWebUI, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Seen, "shown", Image.new("RGB", (8, 8)))
    p = generate(host, script, {})
    assert p.extra_generation_params["CtrlGen warnings"].startswith(
        "$.units[0].image: the control map is black everywhere"
    )


def test_no_picture_without_its_control(host: FakeWebUI, script: Any) -> None:
    called: list[int] = []
    with pytest.raises(RequestError, match="none of the 4 steps"):
        generate(host, script, {"guidance_start": 0.8}, on_step=called.append)
    assert called == [0], "before the first call of the U-Net"
    assert host.callbacks.count == 0


def test_the_steps_of_both_passes_count(host: FakeWebUI, script: Any) -> None:
    passes = [(64, 64), (128, 128)]
    late = {"weight": 0, "hires": "1 in 0.5..1"}
    p = generate(host, script, late, passes=passes, enable_hr=True)
    assert p.comments == {}
    with pytest.raises(RequestError, match="4 steps nor the 4 steps of the hires pass"):
        generate(host, script, {"guidance_start": 0.8}, passes=passes, enable_hr=True)


def test_an_interrupted_generation_is_no_mistake(host: FakeWebUI, script: Any) -> None:
    def stop(step: int) -> None:
        host.loaded["modules.shared"].state.interrupted = step == 3

    late = {"weight": 0, "hires": 1}  # the pass that it is for never comes
    p = generate(host, script, late, enable_hr=True, on_step=stop)
    assert p.comments == {}
