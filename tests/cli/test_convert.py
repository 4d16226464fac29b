"""`ctrlgen convert` turns requests, units and infotexts of sd-webui-controlnet into jobs."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.headless.job_text import parse_yaml, yaml_text
from lib_ctrlgen.headless.jobs import read_job
from tests.support.command_line import Captured

SCRIPTS = "alwayson_scripts"
UNIT_TEXT = (
    "Module: canny, Model: control_canny [d14c016b], Weight: 0.8, Resize Mode: Resize and Fill, "
    "Processor Res: 512, Threshold A: 50.0, Threshold B: 200.0, Guidance Start: 0.0, Guidance End: 0.9, "
    "Pixel Perfect: False, Control Mode: ControlNet is more important"
)
INFOTEXT = (
    "a cat, 1: two\nNegative prompt: blur\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 3, "
    f'Size: 512x768, Model hash: 6ce0161689, Model: v1-5, ControlNet 0: "{UNIT_TEXT}"'
)


def picture(colour: str = "red") -> str:
    stream = io.BytesIO()
    Image.new("RGB", (80, 64), colour).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def unit(**fields: Any) -> dict[str, Any]:
    return {"enabled": True, "module": "canny", "model": "control_canny", "image": picture(), **fields}


def request(*units: Any, **fields: Any) -> dict[str, Any]:
    return {"prompt": "a cat", "seed": 1, SCRIPTS: {"ControlNet": {"args": list(units)}}, **fields}


def converted(content: Any, folder: Path, *options: str) -> int:
    file = folder / "old.txt"
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return cli.main(["convert", str(file), *options])


def job_of(captured: Captured) -> tuple[Any, list[str]]:
    out, err = captured.readouterr()
    return yaml.safe_load(out), [line.removeprefix("ctrlgen: ") for line in err.splitlines()]


def test_a_request_becomes_a_job_with_its_pictures_beside_it(tmp_path: Path, capsys: Captured) -> None:
    units = [unit(weight=0.5, guidance_end=0.5, control_mode=1), {"enabled": False}, unit(threshold_a=50)]
    settings = {"sd_model_checkpoint": "v1-5 [6ce0161689]"}
    body = request(*units, override_settings=settings, width=640, cfg_scale=5)
    out = tmp_path / "new" / "job.yaml"
    assert converted(body, tmp_path, "--out", str(out)) == 0
    assert capsys.readouterr().out.strip() == str(out)
    made = read_job(out).request
    assert (made.prompt, made.model, made.width, made.height) == ("a cat", "v1-5 [6ce0161689]", 640, 512)
    assert (made.steps, made.sampler, made.seed, made.batch_size) == (50, "Euler", 1, 1)  # of the WebUI's API
    first, second = made.units
    assert (str(first.weight), first.guidance_end, first.control_mode) == ("0.5", 0.5, "prompt")
    assert first.semantics is not None
    assert second.params == {"low_threshold": 50, "high_threshold": 200}
    assert base64.b64decode(first.image.partition(",")[2]) == base64.b64decode(picture())
    names = sorted(path.name for path in out.parent.iterdir())
    assert names == ["job-0-image.png", "job-1-image.png", "job.yaml"]


def test_what_a_job_does_not_have_is_said_and_a_payload_keeps_it(tmp_path: Path, capsys: Captured) -> None:
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.5}
    others = {"send_images": True, "tiling": False, "subseed": -1, "n_iter": 2, "styles": []}
    body = request(unit(foo=1), **hires, **others)
    body[SCRIPTS]["ADetailer"] = {"args": [True]}
    assert converted(body, tmp_path) == 3
    job, said = job_of(capsys)
    assert job["batch_size"] == 2
    assert [line.partition(":")[0] for line in said] == [
        "$.enable_hr",
        "$.hr_scale",
        "$.denoising_strength",
        "$.alwayson_scripts.ADetailer",
        "$.alwayson_scripts.ControlNet.args[0].foo",
        "$.model",
    ]
    converted(body, tmp_path, "--payload")
    payload = json.loads(capsys.readouterr().out)
    (controls,) = payload[SCRIPTS].pop("CtrlGen")["args"]
    assert controls["units"] == job["units"]
    assert payload == body | {SCRIPTS: {"ADetailer": {"args": [True]}}}


def test_img2img_is_a_payload(tmp_path: Path, capsys: Captured) -> None:
    body = request(unit(image=None), init_images=[picture("blue")], seed=3)
    assert converted(body, tmp_path, "--payload", "--own") == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["init_images"] == body["init_images"]
    (made,) = json.loads(out)[SCRIPTS]["CtrlGen"]["args"][0]["units"]
    assert made["image_from"] == "init"
    assert "semantics" not in made
    assert "$.model" in err


@pytest.mark.parametrize("wrap", [lambda u: u, lambda u: [u], lambda u: {"controlnet_units": [u]}])
def test_units_alone_are_converted_too(tmp_path: Path, capsys: Captured, wrap: Any) -> None:
    converted(wrap(unit(module="depth_midas", weight=0.4)), tmp_path)
    job, _ = job_of(capsys)
    (made,) = job["units"]
    assert (made["preprocessor"], made["weight"], made["model"]) == ("depth", 0.4, "control_canny")


def test_every_unit_that_cannot_be_converted_is_named(tmp_path: Path, capsys: Captured) -> None:
    body = request(unit(weight=3), unit(), unit(module="nothing"), unit(model="None"))
    assert converted(body, tmp_path) == 2
    out, err = capsys.readouterr()
    assert out == ""
    places = ("args[0].weight", "args[2].module", "args[3].model")
    assert all(f"$.{SCRIPTS}.ControlNet.{place}: " in err for place in places)


def test_an_infotext_names_the_pictures_that_it_lacks(tmp_path: Path, capsys: Captured) -> None:
    assert converted(INFOTEXT + ", Clip skip: 2", tmp_path) == 3
    job, said = job_of(capsys)
    (made,) = job.pop("units")
    assert job == {
        "prompt": "a cat, 1: two",
        "negative_prompt": "blur",
        "steps": 20,
        "seed": 3,
        "width": 512,
        "height": 768,
        "sampler": "DPM++ 2M Karras",
        "cfg_scale": 6.5,
        "model": "v1-5 [6ce0161689]",
    }
    assert (made["model"], made["image"], made["weight"]) == ("control_canny [d14c016b]", "unit-0.png", 0.8)
    assert (made["params"]["low_threshold"], made["guidance_end"], made["control_mode"]) == (
        50,
        0.9,
        "control",
    )
    assert said[0] == "Clip skip: '2' is not in a job"
    assert "put it at unit-0.png" in said[1]


def test_a_picture_and_the_pictures_of_its_units_are_a_whole_job(tmp_path: Path, capsys: Captured) -> None:
    info = PngInfo()
    info.add_itxt("parameters", INFOTEXT)
    Image.new("RGB", (8, 8)).save(tmp_path / "old.png", pnginfo=info)
    Image.new("RGB", (40, 30), "lime").save(tmp_path / "edges.png")
    out, edges = tmp_path / "job.yaml", str(tmp_path / "edges.png")
    arguments = ["convert", str(tmp_path / "old.png"), "--image", edges, "--out", str(out)]
    assert cli.main(arguments) == 0
    assert read_job(out).request.units[0].image.startswith("data:image/png")
    assert cli.main([*arguments, "--image", edges]) == 2
    assert "1 more than there are enabled units" in capsys.readouterr().err


def test_a_jpegs_comment_is_its_infotext(tmp_path: Path, capsys: Captured) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0" + INFOTEXT.encode("utf-16-be")}
    Image.new("RGB", (8, 8)).save(tmp_path / "old.jpg", exif=exif)
    assert cli.main(["convert", str(tmp_path / "old.jpg")]) == 3
    assert job_of(capsys)[0]["negative_prompt"] == "blur"
    Image.new("RGB", (8, 8)).save(tmp_path / "bare.png")
    assert cli.main(["convert", str(tmp_path / "bare.png")]) == 2
    assert "no infotext" in capsys.readouterr().err


def test_ctrlgens_own_infotexts_are_jobs(tmp_path: Path, capsys: Captured) -> None:
    own = {"units": [{"model": "edges", "image": "sha:0123", "weight": "1>0"}], "cfg_scale": "7>3"}
    entry = json.dumps(json.dumps(own))
    assert converted(f"a\nSteps: 4, Seed: 1, CFG scale: 7.0, Size: 64x64, CtrlGen: {entry}", tmp_path) == 3
    job, said = job_of(capsys)
    assert (job["cfg_scale"], job["units"][0]["weight"]) == ("7>3", "1>0")
    assert job["units"][0]["image"] == "units-0-image.png"
    assert any("only its hash is known" in line for line in said)
    info = PngInfo()
    info.add_itxt("ctrlgen", json.dumps(own | {"prompt": "b", "model": "m"}))
    Image.new("RGB", (8, 8)).save(tmp_path / "own.png", pnginfo=info)
    assert cli.main(["convert", str(tmp_path / "own.png")]) == 3
    assert job_of(capsys)[0]["prompt"] == "b"


ODD = ("1e3", "010", "yes", "2001-01-01", "a: b", "- x", "~", "1_0", "a\u2028b", "\x85", "=", "#")
VALUES = some.text(max_size=9) | some.sampled_from(ODD) | some.integers() | some.floats(allow_nan=False)
NESTED = some.booleans() | some.none() | some.lists(VALUES, max_size=3)


@given(some.dictionaries(some.sampled_from(("prompt", "steps", "on", "1")), VALUES | NESTED))
@settings(max_examples=60)
def test_a_written_job_is_read_as_it_was(content: dict[str, Any]) -> None:
    assert parse_yaml(yaml_text(content), "job") == content
