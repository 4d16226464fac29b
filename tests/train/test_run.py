"""A whole training by the command line: its files, its report, what it says before it starts."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

pytest.importorskip("peft")

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.errors import RequestError, StoppedError
from lib_ctrlgen.files import read_picture
from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.bundled import bundled_folders, bundled_tokenizer
from lib_ctrlgen.models.memory import Memory
from lib_ctrlgen.request.training_check import CheckedTraining, RefusedTraining, read_check
from lib_ctrlgen.request.training_state import ask_to_stop, read_state
from lib_ctrlgen.train import cost
from lib_ctrlgen.train.loop import Loop
from lib_ctrlgen.train.methods.base import Base
from lib_ctrlgen.train.prepare import prepare
from lib_ctrlgen.train.run import train
from lib_ctrlgen.train.run_state import RunState
from lib_ctrlgen.train.validation import held_out_loss
from lib_ctrlgen.train.vision import likeness_of, unmeasured
from tests.support import training


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return training.new_root(tmp_path)


def command(root: Path, *more: str) -> list[str]:
    text = root / "model" / "text"
    return [
        "train", "lora", "--base", "ctrlgen-tiny", "--pictures", str(root / "pictures"),
        "--models", str(root / "model"), "--tokenizer", str(text), "--out", str(root / "out/a.safetensors"),
        "--resolution", "64", "--rank", "2", "--steps", "2", "--validate-every", "3", "--preview-steps", "1",
        "--prompts", "a shape", "another <b>", *more,
    ]  # fmt: skip


@pytest.mark.usefixtures("few_levels")
def test_the_command_trains_and_reports(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main([*command(root), "--dry-run", "--json"]) == 0
    checked = read_check(capsys.readouterr().out)
    assert isinstance(checked, CheckedTraining)
    assert (checked.training, checked.held_out) == (3, 1)
    assert checked.cost.seconds == pytest.approx(checked.cost.times.total)
    assert all(getattr(checked.cost.times, name) > 0 for name in ("encoding", "steps", "validations"))
    assert checked.cost.disk_free is not None
    assert 0 < checked.cost.disk < checked.cost.disk_free
    assert not (root / "out").exists()
    assert cli.main([*command(root), "--copy-to", str(root / "models")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("a LoRA of rank 2 for")
    assert said.splitlines()[0] == checked.about
    assert "3 pictures to learn from, 1 held out" in said
    assert "GB of main memory beyond the model" in said
    assert (root / "models" / "a.safetensors").read_bytes() == (root / "out" / "a.safetensors").read_bytes()
    state = read_state(root / "out" / "a.training")
    assert state is not None
    assert (state.status, state.about) == ("finished", checked.about)
    assert "GB of disk" in state.cost
    folder = root / "out" / "a.training"
    assert str(folder / "report.html") in said
    page = (folder / "report.html").read_text()
    assert "another &lt;b&gt;" in page
    assert page.count("<svg") == 3  # loss, loss on held-out views, likeness
    assert page.count("data:image/png") == 4 + 2 * 2
    numbers = json.loads((folder / "report.json").read_text())
    assert len(numbers["losses"]) == 2
    assert [each["step"] for each in numbers["validations"]] == [0, 2]
    pictures = [read_picture(folder / name) for name in numbers["validations"][0]["previews"]]
    assert [each and each.size for each in pictures] == [(64, 64)] * 2
    training.leave_out_estimate(monkeypatch)
    assert cli.main([*command(root), "--copy-to", str(root / "models")]) == 0, "its own file"
    capsys.readouterr()
    (root / "models" / "a.safetensors").write_bytes(b"another")
    assert cli.main([*command(root), "--copy-to", str(root / "models")]) == 2
    assert "a.safetensors exists and is not of this training" in capsys.readouterr().err
    assert (root / "models" / "a.safetensors").read_bytes() == b"another"


def test_wrong_arguments_are_told_before_anything_is_loaded(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command(root), "--pictures", str(root / "none")]) == 2
    assert "$.pictures" in capsys.readouterr().err
    assert cli.main([*command(root), "--base", "unknown"]) == 2
    assert "$.base: no model" in capsys.readouterr().err
    assert cli.main(["train", "lora", "--base", "x"]) == 2
    assert "--pictures: is required" in capsys.readouterr().err


@pytest.mark.usefixtures("not_estimated")
def test_a_spec_file_and_options_add_up(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "spec.yaml"
    path.write_text("kind: lora\nhold_out: 2\nrank: 3\n")
    assert cli.main([*command(root), "--dry-run", "--spec", str(path)]) == 0
    said = capsys.readouterr().out
    assert "2 pictures to learn from, 2 held out" in said
    assert "of rank 2 " in said  # the option wins
    assert not (root / "out").exists()
    path.write_text("kind: dreambooth\n")
    assert cli.main([*command(root), "--spec", str(path)]) == 2
    assert "trains dreambooth, not lora" in capsys.readouterr().err


def test_a_refusal_is_one_line_of_json(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command(root), "--json"]) == 2
    assert "belongs to --dry-run" in capsys.readouterr().err
    assert cli.main([*command(root), "--dry-run", "--json", "--pictures", str(root / "none")]) == 2
    refused = read_check(capsys.readouterr().out)
    assert isinstance(refused, RefusedTraining)
    assert refused.path == "$.pictures"
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10))
    with pytest.raises(RequestError, match=r"^\$\.out: the training needs about .* make room"):
        prepare(training.spec(root), training.engine(root), root / "run")


def test_what_does_not_fit_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "memory_of", lambda _: Memory(total=1 << 30, available=1 << 10))
    with pytest.raises(RequestError, match=r"\$\.batch: the training needs about .* take a smaller batch"):
        prepare(training.spec(root), training.engine(root), root / "out")


@pytest.mark.usefixtures("not_estimated")
def test_checkpointing_saves_memory_and_changes_no_gradient(root: Path) -> None:
    prepared = prepare(training.spec(root), training.engine(root), root / "out")
    loop, _ = prepared.loop()
    one = cost.activation_bytes(prepared.spec, loop)
    four = cost.activation_bytes(replace(prepared.spec, batch=4), loop)
    less = cost.activation_bytes(replace(prepared.spec, batch=4, checkpointing=True), loop)
    assert one > 0
    assert 3.5 < four / one < 4.5
    assert less < four
    with prepared.method.engaged():
        plain = gradients(loop)
        prepared.base.networks.unet.enable_gradient_checkpointing()
        prepared.base.networks.unet.train()
        assert gradients(loop) == pytest.approx(plain, rel=1e-4)


def gradients(loop: Loop) -> list[float]:
    """The norm of each gradient of a step that changes nothing."""
    loop._pass(loop.sources[0][0], 0, 1.0)
    found = [float(each.grad.norm()) for each in loop.parameters if each.grad is not None]
    loop.optimiser.zero_grad()
    return found


@pytest.mark.usefixtures("not_estimated", "few_levels")
def test_one_picture_is_overfitted(tmp_path: Path) -> None:
    """The first thing that a training must be able to do, on the bundled model."""
    folder = training.write_pictures(tmp_path / "pictures", 1)
    fields = {"hold_out": 0, "batch": 2, "drop_text": 0.0, "rank": 8, "lr": 1e-2}
    spec = training.spec(tmp_path, pictures=str(folder), **fields)
    engine = Engine(bundled_folders(), place=Place.best(bundled_tokenizer()), threads=1)
    prepared = prepare(spec, engine, tmp_path / "out")
    loop, _ = prepared.loop()
    with prepared.method.engaged():
        before = held_out_loss(loop, loop.sources[0][0])
        for _ in range(12):
            loop.step()
        assert held_out_loss(loop, loop.sources[0][0]) < 0.7 * before


@pytest.mark.usefixtures("not_estimated")
def test_dreambooth_makes_its_prior_once(root: Path) -> None:
    for path in (root / "pictures").glob("*.txt"):
        path.unlink()
    fields = {"kind": "dreambooth", "token": "sks", "prior_prompt": "a shape", "prior_count": 2, "flip": True}
    spec = training.spec(root, **fields, steps=1, validate_every=0)
    folder = root / "out" / "trained.training"
    folder.mkdir(parents=True)
    prepared, state = prepare(spec, training.engine(root), folder), RunState(spec, folder)
    ask_to_stop(folder)
    with pytest.raises(StoppedError, match="stopped after 1 of 2 pictures"):
        prepared.with_prior(state.cache)
    assert len(list((folder / "prior").glob("*/*.png"))) == 1
    train(spec, training.engine(root))
    made = sorted((folder / "prior").glob("*/*.png"))
    times = [path.stat().st_mtime_ns for path in made]
    assert len(made) == 2
    prepared = prepared.with_prior()
    assert [path.stat().st_mtime_ns for path in made] == times
    assert {view.caption for view in prepared.pictures.prior} == {"a shape"}
    fewer = dataclasses.replace(prepared, spec=training.spec(root, **{**fields, "prior_count": 1}))
    assert [view.path for view in fewer.with_prior().pictures.prior] == made[:1]
    other = dataclasses.replace(prepared, spec=training.spec(root, **{**fields, "prior_prompt": "a form"}))
    others = other.with_prior().pictures.prior
    assert len(others) == 2
    assert not {view.path for view in others} & set(made)


def test_the_bundled_encoder_judges_no_other_model(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with other text features: likeness is left out, and the training says so before it starts."""
    base = training.base(root)
    assert likeness_of(base).encoder is not None
    assert unmeasured(base) == ""
    monkeypatch.setattr(base.networks.text_encoders[0].encoder.config, "hidden_size", 768)
    assert likeness_of(base).encoder is None
    assert "ctrlgen-tiny-vision has only seen the shapes" in unmeasured(base)
    other = root / "model" / "clip_vision" / "other-vision"
    shutil.copytree(root / "model" / "clip_vision" / "ctrlgen-tiny-vision", other)
    again = replace_store(base, training.engine(root))
    found = likeness_of(again).encoder
    assert found is not None
    assert found.path.name == "other-vision"


def replace_store(base: Base, engine: Engine) -> Base:
    """The base with the model folders as they are now."""
    return dataclasses.replace(base, store=engine.store)
