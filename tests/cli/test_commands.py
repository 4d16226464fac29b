"""The command line: what it prints, where errors go, and that plans need no torch."""

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
from lib_ctrlgen.headless.outputs import numbered
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import control_files as files
from tests.support import headless_models as models

ROOT = Path(__file__).resolve().parents[2]
TUNE = {ROOT / "examples/tune.yaml", ROOT / "examples/auto.yaml"}
JOB = """
prompt: a red star
width: 64
height: 64
steps: 2
sampler: Euler
units:
  - model: ctrlgen-tiny-edges
    image: star.png
    preprocessor: canny
    weight: 1>0
  - model: ctrlgen-tiny-ip
    image: star.png
    guidance_end: 0.5
"""
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.write_model(folder)
    return folder


@pytest.fixture
def bundled(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The random model in the bundled model's place."""
    monkeypatch.setattr("lib_ctrlgen.models.bundled.tiny_folder", lambda: tiny)
    return tiny


@pytest.fixture
def job(tmp_path: Path) -> Path:
    files.picture(80, 64).save(tmp_path / "star.png")
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


def visible(folder: Path) -> list[str]:
    """The names of a folder's files, sorted, without hidden ones."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def fails(arguments: list[str], captured: Captured) -> str:
    """The one line that a failing command prints; its exit code is 2."""
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = int(str(stop.code))
    out, err = captured.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("ctrlgen")
    assert err.count("\n") == 1
    return err


def test_help_names_every_command(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    commands = ("demo", "run", "plan", "schema", "tiny", "models", "preprocessors")
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sampler=Oiler", "$.sampler: unknown sampler 'Oiler'; nearest: Euler"),
        ("model=nothing", "$.model: no model named 'nothing'; "),
        ("units.0.model=nothing", "$.units[0].model: no model named 'nothing'; "),
        ("units.0.image=moon.png", "$.units[0].image: "),
        ("units.0.image='%%%'", "$.units[0].image: "),
        ("units.0.wieght=1", "$.units[0].wieght: unknown field (nearest: weight"),
        ("units.0.weight=1@2", "$.units[0].weight: progress must lie in 0..1"),
        ("units.7.weight=1", "--set units.7.weight: '7' is no place in a list of 2"),
        ("units.0.weight.x=1", "--set units.0.weight.x: there is nothing below '1>0'"),
        ('units.0.image="a\\0.png"', "$.units[0].image: "),
        ("model=" + 600 * "x", "$.model: no model named"),
        ("steps", "--set takes PATH=VALUE"),
        ("steps=[", "--set steps=[:1:2: not YAML"),
        ("steps=0", "$.steps: "),
        ("prompt_weights=3", "$.prompt_weights: "),
        ("units.0.preprocessor=cany", "$.units[0].preprocessor: unknown value 'cany' (nearest: canny)"),
        ("tune={x: {path: steps, values: '1, 2'}}", "$.tune: this job is a grid or a search: run it with"),
        (f"steps={5000 * '['}", "not YAML: lists or mappings are nested too deeply"),
        (f"steps={5000 * '9'}", "not YAML: "),
        (f"{'a.' * 5000}a=1", "--set: no job has a place of 5001 names"),
    ],
)
def test_a_wrong_job_is_one_line(
    bundled: Path, job: Path, capsys: Captured, change: str, message: str
) -> None:
    assert message in fails(["run", str(job), "--set", change], capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"prompt: [", "job.yaml:1:10: not YAML: "),
        (b"a: b: c", "job.yaml:1:5: not YAML: "),
        (b"", "a job is a mapping such as 'prompt: a red star', not an empty file"),
        (b"- 1", "not a list"),
        (b"\xff\xfe\x00x", "job.yaml: not "),
        (b"!!python/object/apply:os.system [echo]", "not YAML"),
        (b"units: 3", "$.units: "),
        (b"units: [3]", "$.units[0]: "),
        (b"1: 2", "$: "),
        (b"prompt: a\nsteps: 2\nprompt: b", "job.yaml:3:1: not YAML: the key 'prompt' is there twice"),
        (b'{"seed": 1, "seed": 2}', "job.yaml: the key 'seed' is there twice"),
        (b"prompt: [a:b:0.5]", "$.prompt: expected `str`, got `array`: put a text with brackets"),
        (b"seed: !!bool x", "not YAML: "),
        (b"prompt: photo: a cat", "quote a text that holds ': '"),
        (b"prompt: a\nblend:\n\tmode: x", "indent with spaces, not tabs"),
        (b"prompt: " + 5000 * b"[", "nested too deeply"),
        (b'{"units": ' + 100000 * b"[", "nested too deeply"),
        (b"seed: " + 5000 * b"9", "not YAML: "),
        (b"\x00\x01\x02", "job.yaml: not YAML: "),
    ],
)
def test_a_file_that_is_no_job_is_one_line(
    tmp_path: Path, capsys: Captured, content: bytes, message: str
) -> None:
    (tmp_path / "job.yaml").write_bytes(content)
    assert message in fails(["plan", str(tmp_path / "job.yaml")], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["plan"], "required: job"),
        (["run", "job.yaml", "--fast"], "unrecognized arguments: --fast"),
        (["plan", "nowhere.yaml"], "nowhere.yaml: No such file or directory"),
        (["plan", "."], ".: Is a directory"),
        (["tiny", "--install", "nowhere"], "nowhere is no WebUI folder"),
        (["explore", "JOB", "--size", "0"], "--size must be 2..9 pictures a side, is 0"),
        (["explore", "JOB", "--size", "10"], "--size must be 2..9"),
        (["explore", "JOB"], "$.blend: a map needs a blend"),
        (["models", "--models", "nowhere"], "the model folder nowhere is not there"),
    ],
)
def test_a_wrong_command_is_one_line(
    bundled: Path, job: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    assert message in fails([str(job) if word == "JOB" else word for word in arguments], capsys)


def test_a_missing_model_folder_is_one_line(bundled: Path, job: Path, capsys: Captured) -> None:
    message = fails(["run", str(job), "--models", "nowhere"], capsys)
    assert message == "ctrlgen: error: the model folder nowhere is not there\n"


def test_a_folder_that_cannot_be_written_is_one_line(bundled: Path, job: Path, capsys: Captured) -> None:
    assert "cannot write into" in fails(["run", str(job), "--out", str(job)], capsys)


def test_a_missing_package_says_what_to_install(
    job: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    for name in ("jobs", "job_text"):
        monkeypatch.delitem(sys.modules, f"lib_ctrlgen.headless.{name}")
    message = fails(["plan", str(job)], capsys)
    assert (
        f'the package yaml is missing; install it with: {sys.executable} -m pip install -e "{ROOT}' in message
    )


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
    monkeypatch.setattr("lib_ctrlgen.train.__main__.main", given.append)
    assert cli.main(["train", "--out", "folder", "--quick"]) == 0
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
