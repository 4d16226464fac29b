"""The tuner in the real WebUI's script dropdown, over REST."""

import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.live.conftest import EDGES, PICTURE, SIZE, Answer, WebUI, close, encoded, scene

pytestmark = pytest.mark.live
X = {"path": "Unit 0 weight", "values": "0, 1"}
Y = {"path": "Steps", "values": "3, 4"}


def tuned(webui: WebUI, *units: Any, fields: Any = None, **tune: Any) -> Answer:
    """A run of the tuner in a folder of its own, unless a name is given."""
    sent = {"x": X, "name": uuid.uuid4().hex} | tune
    script = {"script_name": "CtrlGen X/Y tuner", "script_args": [sent]}
    args = {"args": [{"units": list(units)}]}
    return webui.generate(**args, **script, **(fields or {}))


def cells(answer: Answer) -> list[Any]:
    return [picture for picture in answer.images if picture.shape == (SIZE, SIZE, 3)]


def test_cells_are_the_generations_alone(webui: WebUI, plain: Answer) -> None:
    answer = tuned(webui, EDGES, PICTURE, y=Y)
    assert answer.status == 200, answer.json
    found = cells(answer)
    assert len(found) == 4
    for number, (weight, steps) in enumerate(((0, 3), (1, 3), (0, 4), (1, 4))):
        alone = webui.generate(EDGES | {"weight": weight}, PICTURE, steps=steps)
        assert close(found[number], alone.images[0]), (weight, steps)
        assert infotexts(answer)[1 + number] == infotexts(alone)[0]
    assert webui.generate().same(plain)


def infotexts(answer: Answer) -> list[str]:
    return list(json.loads(answer.json["info"])["infotexts"])


SAMPLERS = ("DPM++ 2M", "Euler a", "DPM++ SDE", "Heun", "DDIM", "UniPC", "LMS", "Restart")
# The axis, the fields of the request, and what each value says of the request.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = {
    **{
        f"window ends, {sampler}": (
            {"path": "Unit 0 end", "values": "0.25-1 [4]"},
            {"sampler_name": sampler, "steps": 8},
            [{"unit": {"guidance_end": end}} for end in (0.25, 0.5, 0.75, 1)],
        )
        for sampler in SAMPLERS
    },
    "modes": (
        {"path": "Unit 0 control mode", "values": "balanced, prompt, control"},
        {},
        [{"unit": {"control_mode": mode}} for mode in ("balanced", "prompt", "control")],
    ),
    "guidance": (
        {"path": "CFG", "values": [3, 7, "7>3"]},
        {},
        [{"cfg_scale": 3}, {"cfg_scale": 7}, {"cfg_scale": 7, "request": {"cfg_scale": "7>3"}}],
    ),
    "seeds": ({"path": "Seed", "values": "1, 5"}, {}, [{"seed": 1}, {"seed": 5}]),
    "named weights": (
        {"path": "prompt.glow", "values": "0.5, 1.5"},
        {"prompt": "a (red:glow=1) circle AND a square :0.5"},
        [{"request": {"prompt_weights": {"glow": glow}}} for glow in (0.5, 1.5)],
    ),
    "hires": (
        {"path": "units.0.hires", "values": [0, 1, "1>0"]},
        {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6},
        [{"unit": {"hires": weight}} for weight in (0, 1, "1>0")],
    ),
    "adaptive": (
        {"path": "Unit 0 weight", "values": "0, 1"},
        {"sampler_name": "DPM adaptive"},
        [{"unit": {"weight": weight}} for weight in (0, 1)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_cell_is_the_generation_alone(webui: WebUI, plain: Answer, case: str) -> None:
    axis, fields, values = CASES[case]
    answer = tuned(webui, EDGES, PICTURE, x=axis, fields=fields)
    assert answer.status == 200, answer.json
    pictures = answer.images[1 : 1 + len(values)]
    for number, value in enumerate(values):
        own = fields | {k: v for k, v in value.items() if k not in {"unit", "request"}}
        request = {"units": [EDGES | value.get("unit", {}), PICTURE]} | value.get("request", {})
        alone = webui.generate(args=[request], **own)
        assert close(pictures[number], alone.images[0]), number
        assert infotexts(answer)[1 + number] == infotexts(alone)[0]
    assert not close(pictures[0], pictures[-1])
    assert webui.generate().same(plain)


def test_cells_of_img2img_are_the_generations_alone(webui: WebUI) -> None:
    fields = {"init_images": [encoded(scene())], "denoising_strength": 0.7, "steps": 8}
    sent = {"x": {"path": "Unit 0 start", "values": "0, 0.5"}, "seeds": 2, "name": uuid.uuid4().hex}
    script = {"script_name": "CtrlGen X/Y tuner", "script_args": [sent]}
    answer = webui.generate(EDGES, tab="img2img", **fields, **script)
    assert answer.status == 200, answer.json
    for number, start in enumerate((0, 0.5)):
        alone = webui.generate(EDGES | {"guidance_start": start}, tab="img2img", batch_size=2, **fields)
        for k in range(2):
            assert close(answer.images[1 + 2 * number + k], alone.images[k]), (start, k)


def test_the_same_folder_makes_only_what_is_new(webui: WebUI) -> None:
    name = uuid.uuid4().hex
    first = tuned(webui, EDGES, name=name)
    again = tuned(webui, EDGES, name=name, x=X | {"values": "0, 0.5, 1"})
    assert again.status == 200
    assert len(cells(again)) == 3
    assert all(np.array_equal(a, b) for a, b in zip(cells(first), cells(again)[::2], strict=True))


def test_the_files_are_there(webui: WebUI, tmp_path: Path) -> None:
    import os

    root = os.environ.get("CTRLGEN_WEBUI_ROOT")
    if not root:
        pytest.skip("live test: set CTRLGEN_WEBUI_ROOT")
    name = uuid.uuid4().hex
    assert tuned(webui, EDGES, name=name, seeds=2).status == 200
    (folder,) = Path(root).rglob(name)
    summary = json.loads((folder / "cells.json").read_text("utf-8"))
    assert summary["recommended"]["cell"] in (0, 1)
    assert {"adherence.0", "over_control"} <= summary["cells"][1]["scores"].keys()
    assert len(summary["cells"][0]["files"]) == 2
    assert (folder / "report.html").is_file()


def test_img2img_sampler_checkpoint_and_prompt(webui: WebUI, plain: Answer) -> None:
    init = {"tab": "img2img", "init_images": [encoded(scene())], "steps": 8}
    answer = tuned(webui, EDGES, x={"path": "Denoising strength", "values": "0.3, 0.9"}, fields=init)
    assert answer.status == 200, answer.json
    assert not np.array_equal(*cells(answer))
    for path, values in (("Sampler", "Euler, DDIM"), ("prompt.replace", "red, blue"), ("Seed", "1, 2")):
        answer = tuned(webui, x={"path": path, "values": values})
        assert answer.status == 200, answer.json
        assert close(cells(answer)[0], plain.images[0])
        assert not np.array_equal(*cells(answer))
    assert webui.generate().same(plain)


WRONG = [
    ({"path": "Unit 0 model", "values": f"{EDGES['model']}, nothing-like-it"}, 1),
    ({"path": "Unit 0 preprocessor", "values": "canny, cany"}, 1),
    ({"path": "units.0.params.low_threshold", "values": "300, 50"}, 0),
    ({"path": "Sampler", "values": "Euler, Oiler"}, 1),
    ({"path": "Checkpoint", "values": "no-such-checkpoint"}, 0),
    ({"path": "Unit 0 weight", "values": '"1@0, 0@1", 7@'}, 1),
]


@pytest.mark.parametrize(("axis", "place"), WRONG)
def test_wrong_names_are_found_before_the_first_step(webui: WebUI, axis: dict[str, str], place: int) -> None:
    answer = tuned(webui, EDGES, x=axis)
    assert answer.status == 422, answer.json
    assert answer.detail["path"] == f"$.tune.x.values[{place}]"


def test_keyframes_without_quotes_are_refused_and_with_quotes_one_cell(webui: WebUI) -> None:
    answer = tuned(webui, EDGES, x={"path": "Unit 0 weight", "values": "1@0, 0@1"})
    assert (answer.status, answer.detail["path"]) == (422, "$.tune.x.values")
    answer = tuned(webui, EDGES, x={"path": "Unit 0 weight", "values": '"1@0, 0@1" ,1>0\n'})
    assert answer.status == 200, answer.json
    assert len(cells(answer)) == 2


def test_a_sampler_with_its_schedule_is_the_generation_alone(webui: WebUI) -> None:
    answer = tuned(webui, EDGES, x={"path": "Sampler", "values": "DPM++ 2M Karras, Euler"})
    assert answer.status == 200, answer.json
    alone = webui.generate(EDGES, sampler_name="DPM++ 2M", scheduler="Karras")
    assert close(cells(answer)[0], alone.images[0])


@pytest.mark.parametrize(
    ("tune", "path"),
    [
        ({"x": {"path": "Unit 0 weight", "values": "1, 2@"}}, "$.tune.x.values[1]"),
        ({"x": {"path": "Unit 3 weight", "values": "1"}}, "$.tune.x.path"),
        ({"w": 1}, "$.tune.w"),
        ({"name": "../out"}, "$.tune.name"),
        ({"x": {"path": "seed", "values": "1-250 [250]"}, "seeds": 2}, "$.tune"),
    ],
)
def test_mistakes_are_found_before_the_first_step(webui: WebUI, tune: dict[str, Any], path: str) -> None:
    answer = tuned(webui, EDGES, **tune)
    assert answer.status == 422
    assert answer.detail["path"] == path


def test_an_interrupt_keeps_what_is_done(webui: WebUI, plain: Answer) -> None:
    found: list[Answer] = []
    many = {"path": "Unit 0 weight", "values": "0.1-1 [10]"}
    fields = {"steps": 60, "width": 128, "height": 128}
    run = threading.Thread(target=lambda: found.append(tuned(webui, EDGES, x=many, fields=fields)))
    run.start()
    time.sleep(6)
    webui.post("/sdapi/v1/interrupt", {})
    run.join(600)
    assert found[0].status == 200
    assert webui.generate().same(plain)


def test_the_command_line_gives_the_same_sheet(webui: WebUI, tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="live test: the command line needs the headless packages")
    from lib_ctrlgen.cli.main import main

    fields = {"prompt": "a red circle", "negative_prompt": "", "width": 128, "height": 128}
    fields |= {"steps": 6, "cfg_scale": 4, "seed": 7}
    axes = {
        "x": {"path": "Unit 0 weight", "values": "0, 0.5, 1"},
        "y": {"path": "Unit 1 end", "values": "0.5, 1"},
    }
    answer = tuned(webui, EDGES, PICTURE, fields=fields | {"sampler_name": "Euler"}, **axes)
    assert answer.status == 200, answer.json
    job = tmp_path / "job.yaml"
    job.write_text(
        json.dumps(fields | {"sampler": "Euler", "units": [EDGES, PICTURE], "tune": axes}), "utf-8"
    )
    assert main(["tune", str(job), "--out", str(tmp_path / "out")]) == 0
    sheet = np.asarray(Image.open(tmp_path / "out/sheet.png").convert("RGB"))
    # one host rounds to 255 levels, the other cuts off; the labels' font is Pillow's own
    tiles = np.s_[-2 * 132 :, -3 * 132 :]
    assert close(sheet[tiles], answer.images[0][tiles])
