"""The headless engine warns of a unit that would do nothing, or refuses it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.outputs import write_generation
from lib_ctrlgen.headless.sampling import run as sampling
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import control_files as files

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
