"""Mistakes on the command line are one line on standard error and an exit code."""

import sys
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, Captured, fails


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sampler=Oiler", "$.sampler: unknown sampler 'Oiler'; nearest: Euler"),
        ("model=nothing", "$.model: no model named 'nothing'; "),
        ("units.0.model=nothing", "$.units[0].model: no model named 'nothing'; "),
        ("units.0.image=moon.png", "$.units[0].image: "),
        ("units.0.image='%%%'", "$.units[0].image: "),
        ("units.0.wieght=1", "$.units[0].wieght: unknown field (nearest: weight"),
        ("units.0.weight=1@2", "$.units[0].weight: progress must be in 0..1"),
        ("units.7.weight=1", "--set units.7.weight: '7' is no index of a list of 2"),
        ("units.0.weight.x=1", "--set units.0.weight.x: '1>0' has no fields"),
        ('units.0.image="a\\0.png"', "$.units[0].image: "),
        ("model=" + 600 * "x", "$.model: no model named"),
        ("steps", "--set takes PATH=VALUE"),
        ("steps=[", "--set steps=[:1:2: not YAML"),
        ("steps=0", "$.steps: "),
        ("prompt_weights=3", "$.prompt_weights: "),
        ("units.0.preprocessor=cany", "$.units[0].preprocessor: unknown value 'cany' (nearest: canny"),
        ("tune={x: {path: steps, values: '1, 2'}}", "$.tune: this job is a grid or a search: run it with"),
        (f"steps={5000 * '['}", "not YAML: lists or mappings are nested too deeply"),
        (f"steps={5000 * '9'}", "not YAML: "),
        (f"{'a.' * 5000}a=1", "--set: a path of 5001 names is longer than any in a job"),
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
        (b"prompt: a\nsteps: 2\nprompt: b", "job.yaml:3:1: not YAML: the key 'prompt' occurs twice"),
        (b'{"seed": 1, "seed": 2}', "job.yaml: the key 'seed' occurs twice"),
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
        (["explore", "JOB", "--size", "0"], "--size must be 2..9 pictures a side, got 0"),
        (["explore", "JOB", "--size", "10"], "--size must be 2..9"),
        (["explore", "JOB"], "$.blend: a map needs a blend"),
        (["models", "--models", "nowhere"], "the model folder nowhere does not exist"),
    ],
)
def test_a_wrong_command_is_one_line(
    bundled: Path, job: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    assert message in fails([str(job) if word == "JOB" else word for word in arguments], capsys)


def test_a_missing_model_folder_is_one_line(bundled: Path, job: Path, capsys: Captured) -> None:
    message = fails(["run", str(job), "--models", "nowhere"], capsys)
    assert message == "ctrlgen: error: the model folder nowhere does not exist\n"


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
