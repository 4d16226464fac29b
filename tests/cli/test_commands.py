"""The commands of the command line and their output; plans do not import torch."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen import __version__
from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless import jobs
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.numbering import numbered
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support.command_line import ROOT, Captured, visible

TUNE = {ROOT / "examples/tune.yaml", ROOT / "examples/auto.yaml"}


def test_help_names_every_command(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    commands = ("demo", "run", "plan", "schema", "tiny", "models", "preprocessors", "detect", "face")
    assert all(f"\n    {name}" in text for name in commands)
    assert max(map(len, text.splitlines())) <= 100


def test_version(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"ctrlgen {__version__}\n"


def test_schema_is_that_of_a_job(capsys: Captured) -> None:
    assert cli.main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"units", "prompt", "model", "sampler", "tune"} <= schema["$defs"]["JobFile"]["properties"].keys()


def test_plan_prints_the_table(job: Path, tmp_path: Path, capsys: Captured) -> None:
    plot = tmp_path / "plan.svg"
    assert cli.main(["plan", str(job), "--set", "steps=4", "--svg", str(plot)]) == 0
    _, edges, look = capsys.readouterr().out.splitlines()
    assert edges.split()[:2] == ["0", "ctrlgen-tiny-edges"]
    assert edges.endswith("1, 0.75, 0.5, 0.25")
    assert look.endswith("1 x2, 0 x2")
    assert plot.read_text().startswith("<svg")


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "JOB"],
        ["schema"],
        ["tiny"],
        ["run", "nowhere.yaml"],
        ["run", "JOB", "--set", "sampler=Oiler"],
        ["run", "JOB", "--set", "model=nothing"],
        ["run", "JOB", "--set", "units.0.model=nothing"],
        ["run", "JOB", "--set", "units.0.preprocessor=nothing"],
        [
            "tune",
            "examples/tune.yaml",
            "--set",
            "tune.y={path: Unit 0 model, values: 'ctrlgen-tiny-edges, nothing'}",
        ],
        ["run", "JOB", "--out", "JOB"],
    ],
)
def test_quick_commands_do_not_import_torch(job: Path, arguments: list[str]) -> None:
    arguments = [str(job) if item == "JOB" else item for item in arguments]
    program = (
        "import sys; from lib_ctrlgen.cli.main import main; main(sys.argv[1:]);"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_run_writes_pictures_that_say_how_they_were_made(
    bundled: Path, job: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out"
    assert cli.main(["run", str(job), "--out", str(out), "--set", "batch_size=2", "--set", "seed=5"]) == 0
    printed = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert printed == [
        "00000-5.png",
        "00001-6.png",
        "00000-map-0-ctrlgen-tiny-edges.png",
        "00000-map-1-ctrlgen-tiny-ip.png",
        "00000-plan.svg",
        "00000-result.json",
    ]
    assert visible(out) == sorted(printed)
    with Image.open(out / "00001-6.png") as picture:
        made, shown = json.loads(picture.info["ctrlgen"]), picture.info["parameters"]
    assert made["seed"] == 6
    assert "batch_size" not in made
    assert made["units"][0]["image"].startswith("sha256:")
    assert all(" [" in part["model"] for part in (made, *made["units"]))
    assert shown.startswith(
        "a red star\nSteps: 2, Sampler: Euler, Schedule type: Uniform, CFG scale: 7, Seed: 6, Size: 64x64, "
        "Model: "
    )
    result = json.loads((out / "00000-result.json").read_text())
    assert result["images"] == printed[:2]
    assert result["request"]["units"][0]["weight"] == "1@0, 0@1"
    places = {"model", "units[0].model", "units[1].model", "units[1].params.image_encoder"}
    assert result["models"].keys() == places
    assert result["models"]["model"] == made["model"]
    before = {name: (out / name).read_bytes() for name in printed}
    assert cli.main(["run", str(job), "--out", str(out), "--set", "seed=5", "--set", "units=[]"]) == 0
    assert visible(out) == sorted([*printed, "00002-5.png", "00002-plan.svg", "00002-result.json"])
    assert before == {name: (out / name).read_bytes() for name in printed}


def test_a_picture_can_be_made_again_from_its_own_text(bundled: Path, job: Path, tmp_path: Path) -> None:
    cli.main(["run", str(job), "--out", str(tmp_path / "one"), "--set", "batch_size=2"])
    with Image.open(tmp_path / "one" / "00001-1.png") as first:
        made = json.loads(first.info["ctrlgen"])
        for unit in made["units"]:
            unit["image"] = "star.png"
        (tmp_path / "again.json").write_text(json.dumps(made))
        cli.main(["run", str(tmp_path / "again.json"), "--out", str(tmp_path / "two")])
        with Image.open(tmp_path / "two" / "00000-1.png") as second:
            pairs = zip(first.tobytes(), second.tobytes(), strict=True)
            assert max(abs(a - b) for a, b in pairs) <= 1


def test_runs_at_the_same_time_have_numbers_of_their_own(tmp_path: Path) -> None:
    def write(_turn: int) -> int:
        with numbered(tmp_path) as number:
            (tmp_path / f"{number:05}-1.png").write_text("")
            (tmp_path / f"{number + 1:05}-2.png").write_text("")
            return number

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(write, range(16))) == list(range(0, 32, 2))


def test_models_may_be_paths_beside_the_job(bundled: Path, job: Path, tmp_path: Path) -> None:
    for name in ("ctrlgen-tiny.safetensors", "ctrlgen-tiny.yaml"):
        (tmp_path / name.replace("ctrlgen-tiny", "mine")).write_bytes((bundled / name).read_bytes())
    models.write_text(tmp_path / "text")
    out = tmp_path / "out"
    assert cli.main(["run", str(job), "--set", "model=mine.safetensors", "--out", str(out)]) == 0
    result = json.loads((out / "00000-result.json").read_text())
    assert result["request"]["model"] == str((tmp_path / "mine.safetensors").resolve())


def test_interrupts_end_with_130(
    bundled: Path, job: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "generate", interrupt)
    assert cli.main(["run", str(job)]) == 130
    assert capsys.readouterr().err.endswith("ctrlgen: interrupted\n")


def test_train_hands_its_arguments_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr("lib_ctrlgen.train.tiny.__main__.main", given.append)
    assert cli.main(["train", "tiny", "--out", "folder", "--quick"]) == 0
    assert given == [["--out", "folder", "--quick"]]


def test_a_jobs_pictures_are_inlined(job: Path) -> None:
    unit = jobs.read_job(job).request.units[0]
    assert unit.image.startswith("data:image/png;base64,")
    assert decode_image(unit.image, "").size == (80, 64)


def test_inline_pictures_are_left_as_they_are(job: Path) -> None:
    data = files.data_url()
    content = {"prompt": "x", "units": [{"model": "edges", "image": data, "mask": data.partition(",")[2]}]}
    job.write_text(json.dumps(content))
    assert jobs.read_job(job).request == parse_request(content, GenerationRequest)


def test_changes_may_add_what_is_not_there() -> None:
    changed = jobs.apply_changes({"units": [{}]}, ["units.0.params.low_threshold=50", "prompt=1"])
    assert changed == {"units": [{"params": {"low_threshold": 50}}], "prompt": "1"}


def test_changes_leave_the_original_alone() -> None:
    original = {"units": [{"weight": 1}]}
    jobs.apply_changes(original, ["units.0.weight=0"])
    assert original == {"units": [{"weight": 1}]}


@pytest.mark.parametrize(
    "path", sorted({*(ROOT / "examples").glob("*.yaml")} - TUNE), ids=lambda path: path.stem
)
def test_the_examples_are_valid(path: Path) -> None:
    request = jobs.read_job(path).request
    for unit in request.units:
        assert decode_image(unit.image, "").width == 128


def test_a_picture_outside_is_read_when_the_user_says_so(tmp_path: Path, job: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    moved = folder / "job.yaml"
    moved.write_text(job.read_text().replace("star.png", "../star.png"))
    assert jobs.read_job(moved) == jobs.read_job(job)


def test_a_picture_that_is_not_there_names_the_file(tmp_path: Path, job: Path) -> None:
    (tmp_path / "star.png").unlink()
    with pytest.raises(RequestError, match=r"^\$\.units\[0\]\.image: .*star\.png: No such file"):
        jobs.read_job(job)
