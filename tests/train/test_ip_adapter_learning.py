"""Does an IP-Adapter learn? On the bundled tiny model, with a striped ball that it never saw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.bundled import NAME, tiny_folder
from lib_ctrlgen.train.batch import Batch
from lib_ctrlgen.train.methods.base import Base
from lib_ctrlgen.train.methods.ip_adapter import IPAdapterMethod
from lib_ctrlgen.train.tiny.subject import subject_views, write_others, write_views
from tests.support import adapter_training as trainings


@pytest.fixture(scope="module")
def base() -> Base:
    folder = tiny_folder()
    place = Place(device=trainings.CPU, dtype=torch.float32, tokenizer=folder / "text")
    return trainings.base_of(Engine([folder], 1 << 30, place), NAME)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One view of the ball, and four pictures of other things."""
    found = tmp_path_factory.mktemp("data")
    write_views(subject_views(0, count=1), found)
    write_others(found / "others", 4)
    return found


def method_of(base: Base, folder: Path, part: str = "whole") -> IPAdapterMethod:
    fields = {"pictures": str(folder / "pictures"), "resolution": 64, "batch": 2, "lr": 5e-3}
    spec = trainings.spec(f"{NAME}-ip", part, **fields)
    return IPAdapterMethod.create(spec, base)


def test_one_picture_is_learnt_by_heart(base: Base, folder: Path) -> None:
    """The first check of a trainer: the loss of a single picture falls, at noise that it did not see too."""
    method = method_of(base, folder)
    batches = trainings.batches(base, method, folder / "pictures")
    unseen = [trainings.loss_of(base, method, batches.draw(900 + seed, 0), seed) for seed in range(4)]
    trainings.trained(base, method, [[batches.draw(step, 0)] for step in range(30)])
    after = [trainings.loss_of(base, method, batches.draw(900 + seed, 0), seed) for seed in range(4)]
    assert np.mean(after) < 0.7 * np.mean(unseen)


def test_the_prior_leads_back_to_what_the_adapter_predicted(base: Base, folder: Path) -> None:
    """After a disturbance, batches of other references restore what the adapter predicts for them."""
    method = method_of(base, folder, "low-rank")
    others = trainings.batches(base, method, folder / "others", prior=True)
    shown = [others.draw(900 + number, 0) for number in range(2)]
    before = [trainings.predicted(base, method, each) for each in shown]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for each in method.module().parameters():
            each.add_(0.2 * torch.randn(each.shape, generator=generator))
    disturbed = drift(base, method, shown, before)
    trainings.trained(base, method, [[others.draw(step, 0)] for step in range(15)])
    assert disturbed > 1e-4
    assert drift(base, method, shown, before) < 0.75 * disturbed


def drift(base: Base, method: IPAdapterMethod, shown: list[Batch], before: list[Tensor]) -> float:
    """The mean squared change of predictions."""
    pairs = zip(shown, before, strict=True)
    return float(
        np.mean([(trainings.predicted(base, method, one) - was).square().mean() for one, was in pairs])
    )
