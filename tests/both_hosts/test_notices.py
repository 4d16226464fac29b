"""Controls that would do nothing: errors where it is a mistake, else warnings in every answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.outputs import write_generation
from lib_ctrlgen.headless.sampling import run as sampling
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.inactive import idle_note, planned, require_acting
from lib_ctrlgen.request.notices import Notice, Notices
from lib_ctrlgen.request.spec import ControlUnit, GenerationRequest, parse_request
from lib_ctrlgen.session.session import ControlSession
from tests.support import control_files as files
from tests.support.constant_control import Pushes
from tests.support.fake_webui import FakeWebUI, Processing, fresh
from tests.support.networks import NoiseControl, Script, active, random_call
from tests.support.unet_calls import RESIDUAL_CHANNELS, RESIDUAL_SIZES, port_of, run, sd_ldm

WEIGHTS = ["1", "0", "1>0", "0>1", "1 in 0..0.3", "0 in 0.2..0.7", "1@0, 0@0.1", "0@0.9, 1@1", "-0.5"]
shares = st.integers(0, 40).map(lambda k: k / 40)


def unit(**fields: Any) -> ControlUnit:
    return parse_request({"units": [{"model": "m", **fields}]}).units[0]


@given(st.sampled_from(WEIGHTS), shares, shares, st.integers(1, 60))
def test_a_unit_without_a_step_is_an_error_unless_it_says_so(
    weight: str, one: float, other: float, steps: int
) -> None:
    start, end = sorted((one, other))
    found = unit(weight=weight, guidance_start=start, guidance_end=end)
    units, passes = [(2, found)], {False: steps}
    acts = any(found.schedule.sample(steps))
    says_so = start == end or weight in {"0", "0 in 0.2..0.7"}
    if acts or says_so:
        notices = require_acting(units, passes, planned(units, passes))
        assert len(notices) == says_so
        assert all(notice.path.startswith("$.units[2].") for notice in notices)
        assert all("does nothing" in notice.message for notice in notices)
        assert idle_note(units, steps) == "\n".join(map(str, notices))
        return
    with pytest.raises(RequestError, match=f"acts in none of the {steps} steps") as caught:
        require_acting(units, passes, planned(units, passes))
    assert caught.value.path.startswith("$.units[2].")
    assert idle_note(units, steps) == str(caught.value)


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"guidance_start": 0.96}, "guidance_start", "none of the 20 steps"),
        ({"weight": 0}, "weight", "the weight is 0"),
        ({"guidance_start": 0.5, "guidance_end": 0.5}, "guidance_end", "0.5..0.5 is empty"),
        ({"layer_weights": [0] * 13}, "layer_weights", "all layer weights are 0"),
    ],
)
def test_the_field_and_the_reason(fields: dict[str, Any], place: str, words: str) -> None:
    note = idle_note([(0, unit(**fields))], 20)
    assert note.startswith(f"$.units[0].{place}: ")
    assert words in note


def test_passes_are_judged_together() -> None:
    late = unit(guidance_start=0.5, guidance_end=0.6)
    units, passes = [(0, late)], {False: 20, True: 3}
    assert require_acting(units, passes, planned(units, passes)) == [
        Notice("$.units[0].guidance_start", "the unit acts in none of the 3 steps of the hires pass")
    ]
    for on_purpose in ({"weight": 0, "hires": 1}, {"weight": 1, "hires": 0}):
        units = [(0, unit(**on_purpose))]
        assert require_acting(units, passes, planned(units, passes)) == []
    units = [(0, unit(guidance_start=0.98))]
    with pytest.raises(RequestError, match="20 steps nor the 3 steps of the hires pass"):
        require_acting(units, passes, planned(units, passes))


@pytest.mark.parametrize(
    ("steps", "calls", "fault"),
    [
        (4, range(4), None),
        (40, range(39), "none of the 40 steps"),  # second order: the last step has one call
        (4, range(2), None),  # interrupted: nothing is said
    ],
)
def test_a_session_says_what_did_not_act_in_the_calls_that_were_made(
    steps: int, calls: range, fault: str | None
) -> None:
    unet, call = sd_ldm(), random_call("c0 u0", 3)
    control = NoiseControl(RESIDUAL_CHANNELS, RESIDUAL_SIZES, 1)
    one = active(control, 0, guidance_start=(steps - 1) / steps)
    session = ControlSession(port_of(unet), [one], Script(steps, [(step, call.rows) for step in calls]))
    with torch.no_grad(), session:
        for _ in calls:
            run(unet, call)
    if fault is None:
        assert session.observed() == []
        return
    assert session.expected({False: steps}) == []
    with pytest.raises(RequestError, match=fault):
        session.observed()


# Headless


EDGES = {"model": "ctrlgen-tiny-edges", "image": files.data_url()}
FLAT = encode_image(Image.new("RGB", (64, 64), (3, 3, 3)))
CLEAR = encode_image(Image.new("RGBA", (64, 64), (1, 2, 3, 0)))


def request(*units: dict[str, Any], **fields: Any) -> GenerationRequest:
    whole = {"prompt": "a star", "width": 64, "height": 64, "steps": 2, "sampler": "Euler", **fields}
    return parse_request({**whole, "units": [{**EDGES, **unit} for unit in units]}, GenerationRequest)


def test_a_unit_without_a_step_stops_before_anything_is_sampled(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "sampled", lambda *_args, **_more: pytest.fail("sampled"))
    with pytest.raises(RequestError, match="none of the 2 steps"):
        engine.generate(request({"guidance_start": 0.6}))


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"image": CLEAR}, "image", "transparent everywhere"),
        ({"image": encode_image(Image.new("RGB", (1, 1))), "preprocessor": "canny"}, "image", "1 x 1 pixels"),
        ({"image": encode_image(Image.new("RGB", (90, 1))), "preprocessor": "canny"}, "image", "90 x 1"),
    ],
)
def test_a_picture_that_shows_nothing_is_refused(
    engine: Engine, fields: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        engine.generate(request(fields))
    assert caught.value.path == f"$.units[0].{place}"


EDGE = np.zeros((10, 4000, 3), np.uint8)
EDGE[:, :400] = 255
CUT_OFF = encode_image(Image.fromarray(EDGE))
SIDE = Image.new("RGB", (200, 64))
SIDE.paste((255, 255, 255), (0, 0, 40, 64))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"weight": 0}, "$.units[0].weight: the weight is 0: the unit does nothing"),
        ({"image": FLAT}, "$.units[0].image: the control map is of the colour (3, 3, 3) everywhere"),
        (
            {"image": CUT_OFF, "preprocessor": "canny"},
            "$.units[0].image: the control map is black everywhere",
        ),
        (
            {"model": "ctrlgen-tiny-ip", "image": FLAT},
            "$.units[0].image: the reference picture is of the colour (3, 3, 3) everywhere",
        ),
        (
            {"mask": encode_image(SIDE)},
            "$.units[0].mask: is black everywhere on what is generated, so the unit does nothing there",
        ),
    ],
)
def test_a_warning_reaches_the_answer(
    engine: Engine, tmp_path: Path, fields: dict[str, Any], text: str
) -> None:
    asked = request(fields)
    made = engine.generate(asked)
    (warning,) = made.warnings
    assert warning.startswith(text)
    written = write_generation(asked, made, tmp_path)
    assert json.loads(written.result.read_text("utf-8"))["warnings"] == [warning]
    with Image.open(written.images[0]) as picture:
        assert f"CtrlGen warnings: {json.dumps(warning)}" in picture.text["parameters"]  # type: ignore[attr-defined]


def test_of_cells_made_together_each_has_its_own_warnings(engine: Engine) -> None:
    cells = [request({"weight": weight}, batch_size=2) for weight in (0, 1)]
    first, second = engine.together(cells)
    assert [len(first.warnings), len(second.warnings)] == [1, 0]
    with pytest.raises(RequestError, match="none of the 2 steps"):
        engine.together([request({"weight": weight}) for weight in ("1", "1 in 0.7..0.8")])


def test_an_ordinary_request_has_none(engine: Engine) -> None:
    assert engine.generate(request({}, {"model": "ctrlgen-tiny-ip", "guidance_end": 0.5})).warnings == ()


def test_the_command_line_prints_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lib_ctrlgen.models.bundled.tiny_folder", lambda: root)
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"width": 64, "height": 64, "steps": 1, "units": [{**EDGES, "weight": 0}]}))
    assert cli.main(["run", str(job), "--out", str(tmp_path / "out")]) == 0
    assert "ctrlgen: warning: $.units[0].weight: the weight is 0" in capsys.readouterr().err
    assert cli.main(["plan", str(job), "--set", "units.0.weight=1 in 0.5..0.6"]) == 0
    assert "$.units[0].weight: the unit acts in none of the 1 steps" in capsys.readouterr().out


# In the WebUI

PICTURE = encode_image(files.picture(8, 8))


class Seen(Pushes):
    """A control whose map is a picture."""

    map = files.picture(8, 8)

    def control_map(self, width: int, height: int) -> Image.Image:
        return self.map.resize((width, height))


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
    assert list(p.comments) == [f"CtrlGen: {text}"]
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
    monkeypatch.setattr(Seen, "map", Image.new("RGB", (8, 8)))
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


def test_notices_of_one_picture_and_of_all() -> None:
    notices = Notices()
    notices.add("$.a", "x")
    notices.extend([Notice("$.b", "y", 1), Notice("$.a", "x")])
    assert [notices.of(0), notices.of(1), notices.of()] == [
        ("$.a: x",),
        ("$.a: x", "$.b: y"),
        ("$.a: x", "$.b: y"),
    ]
