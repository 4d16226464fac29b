"""Which state of a training is exported, and what is said where no state kept the training's rules."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.request.training_state import read_state
from lib_ctrlgen.train.choice import best_of, chosen_of, doubts, should_stop
from lib_ctrlgen.train.evaluation import Evaluated, Evaluation
from lib_ctrlgen.train.validation import Measured
from tests.support import training


def measured(rows: list[tuple[float | None, float | None]]) -> list[Measured]:
    """Validations with likeness and accuracy, at steps 0, 1, 2, ..."""
    return [Measured(step=n, likeness=a, accuracy=b) for n, (a, b) in enumerate(rows)]


def step_of(found: Measured | None) -> int | None:
    return None if found is None else found.step


def test_the_best_validation_is_kept_and_a_worse_stretch_stops(tmp_path: Path) -> None:
    spec = training.spec(tmp_path, patience=2, accuracy_drop=0.1)
    history = measured([(0.3, 0.9), (0.5, 0.85), (0.9, 0.5), (0.4, 0.9), (0.45, 0.9)])
    assert step_of(best_of(history, spec)) == 1  # step 2 is more like the pictures, but forgot the prompts
    assert step_of(chosen_of(history, spec)) == 1
    assert doubts(history, spec) == ()
    assert not should_stop(history[:3], spec)
    assert should_stop(history[:4], spec)
    lower = [Measured(step=n, loss=loss) for n, loss in enumerate((1.0, 0.8, 0.9))]
    assert step_of(chosen_of(lower, spec)) == 1
    assert chosen_of(history[:1], spec) is None


@pytest.mark.parametrize(
    ("rows", "step", "said"),
    [
        ([(0.3, 0.9), (0.9, 0.5), (0.5, 0.7), (0.95, 0.6)], 2, "kept the prompt accuracy within 0.1"),
        ([(0.6, 0.9), (0.5, 0.9), (0.4, 0.9)], 1, "better than before the training: the likeness"),
        ([(None, 0.9), (None, 0.85), (None, 0.9)], 2, ""),
        ([(None, 0.9), (None, 0.7), (None, 0.6)], 1, "kept the prompt accuracy"),
    ],
)
def test_a_training_that_failed_its_rule_says_so(
    tmp_path: Path, rows: list[tuple[float | None, float | None]], step: int, said: str
) -> None:
    """The chosen state is the newest or the one chosen before: only its weights are kept."""
    spec = training.spec(tmp_path, accuracy_drop=0.1)
    history = measured(rows)
    for count in range(2, len(history) + 1):
        now = step_of(chosen_of(history[:count], spec))
        assert now in (count - 1, step_of(chosen_of(history[: count - 1], spec)))
    assert step_of(chosen_of(history, spec)) == step
    found = doubts(history, spec)
    assert len(found) == bool(said)
    assert all(said in text and f"of step {step}" in text for text in found)


def test_a_higher_loss_on_held_out_views_is_said(tmp_path: Path) -> None:
    history = [Measured(step=n, loss=loss) for n, loss in enumerate((0.1, 0.3, 0.2))]
    (said,) = doubts(history, training.spec(tmp_path))
    assert "the loss on held-out views was 0.1000, and is 0.2000 in the exported one, of step 2" in said


@pytest.mark.usefixtures("not_estimated", "few_levels")
def test_the_warning_is_everywhere_and_the_least_forgetful_state_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = training.new_root(tmp_path)
    rows: Iterator[tuple[float, float]] = iter([(0.3, 0.9), (0.5, 0.6), (0.9, 0.4)])

    def measure(_: Evaluation, step: int) -> Evaluated:
        likeness, accuracy = next(rows)
        return Evaluated(likeness=likeness, accuracy=accuracy)

    monkeypatch.setattr(Evaluation, "measure", measure)
    out = root / "out" / "a.safetensors"
    options: list[Any] = [
        "--base", "ctrlgen-tiny", "--pictures", root / "pictures", "--models", root / "model", "--out", out,
        "--tokenizer", root / "model" / "text", "--resolution", 64, "--rank", 2, "--steps", 2,
        "--validate-every", 1,
    ]  # fmt: skip
    assert cli.main(["train", "lora", *map(str, options)]) == 0
    said = capsys.readouterr()
    text = "no state kept the prompt accuracy within 0.05"
    assert f"ctrlgen: warning: {text}" in said.err
    assert "step 1 of 2 exported" in said.out
    folder = out.with_suffix(".training")
    state = read_state(folder)
    assert state is not None
    assert text in state.warnings[-1]  # the page and the REST answer show these
    assert text in (folder / "report.html").read_text()
    assert text in (folder / "report.json").read_text()
