"""The time of a training is counted from single passes: how many there are of each."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.request.training_check import TrainingTimes
from lib_ctrlgen.train.cost import time_text
from lib_ctrlgen.train.dataset.checks import read_pictures
from lib_ctrlgen.train.time_cost import Passes, PassSeconds, passes_of, times_of
from lib_ctrlgen.train.validation import LEVELS
from tests.support import training

SECONDS = PassSeconds(step=1.0, first_step=10.0, sampler_step=2.0, loss=0.5, latent=3.0, reference=0.25)
DREAM = {"kind": "dreambooth", "token": "sks", "prior_prompt": "a photo of a dog", "captions": "a sks"}


def counted(root: Path, *, referenced: bool = False, **fields: Any) -> Passes:
    spec = training.spec(root, **{"prompts": [], "steps": 500, "validate_every": 200, **fields})
    return passes_of(spec, read_pictures(spec), referenced=referenced)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight views with the same caption, of which two have an alpha channel."""
    found = training.write_pictures(tmp_path / "pictures", 8, caption="")
    for number in range(2):
        shown = training.picture(number)
        shown.putalpha(Image.linear_gradient("L").resize(shown.size).point(lambda level: 255 * (level > 99)))
        shown.save(found / f"view{number}.png")
    return found


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"validations": 4, "latents": 8, "previews": 1, "losses": LEVELS, "prior": 0}),
        ({"steps": 400}, {"validations": 3}),
        ({"validate_every": 0}, {"validations": 2}),
        ({"captions": "a {name}", "hold_out": 2}, {"previews": 4, "losses": 2 * LEVELS}),
        ({"prompts": ["a", "b"], "flip": True}, {"previews": 2, "latents": 16, "references": 0}),
        (DREAM, {"prior": 100, "latents": 108}),
        (DREAM | {"prior_count": 7, "flip": True}, {"prior": 7, "latents": 30}),
        (DREAM | {"prior": 0.0}, {"prior": 0, "latents": 8}),
    ],
)
def test_the_passes_of_a_training(tmp_path: Path, fields: dict[str, Any], expected: dict[str, int]) -> None:
    found = dataclasses.asdict(counted(tmp_path, **fields))
    assert {name: found[name] for name in expected} == expected


def test_random_backgrounds_are_encoded_eight_times(tmp_path: Path, folder: Path) -> None:
    for number in range(2, 8):
        (folder / f"view{number}.png").unlink()
    fields = {"background": "random", "hold_out": 1}
    assert counted(tmp_path, **fields).latents == 16
    adapter = counted(tmp_path, referenced=True, kind="ip-adapter", adapter="a", prior=0.0, **fields)
    assert (adapter.latents, adapter.references) == (2, 16)


def test_the_times_are_passes_times_seconds() -> None:
    passes = Passes(prior=3, latents=4, references=8, steps=50, validations=2, previews=4, losses=6)
    found = times_of(passes, SECONDS, preview_steps=5)
    assert found == TrainingTimes(prior=3 * 18.0, encoding=14.0, steps=50.0, validations=2 * (4 * 18.0 + 3.0))
    assert time_text(found) == (
        "about 4 min (54 s to make the prior's pictures, 14 s to encode the pictures, 50 s for the steps, "
        "2 min for the validations)"
    )
    assert time_text(TrainingTimes(steps=0.2)) == "about 0 s"
