"""Some generations of benchmarks/soak.py: nothing is left on the networks, whatever fails in between."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lib_ctrlgen.models.storage import FORMS, spread
from tests.support import soak_headless, soak_webui
from tests.support.soaking import Snapshot

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
HEADLESS = (20, 28, 36, 2, 32, 13, 15, 31, 17, 22, 5)
WEBUI = (2, 7, 15, 32, 18, 4, 36, 22, 31, 35, 28, 38, 14)


@pytest.fixture(params=["headless", "webui"])
def soak(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Any]:
    if request.param == "headless":
        soak_headless.write_models(tmp_path)
        yield soak_headless.HeadlessSoak(tmp_path), HEADLESS
    else:
        with soak_webui.hosted(tmp_path) as webui:
            yield webui, WEBUI


def test_nothing_is_left_and_every_picture_is_its_requests_own(soak: Any) -> None:
    host, seeds = soak
    made = {}
    for seed in seeds:
        made[seed] = host.generation(seed)
        assert host.changes() == [], f"generation {seed}"
    finished = [seed for seed in seeds if made[seed] is not None]
    assert len(finished) >= 3
    assert len(host.failed) >= 4, host.failed
    for seed in finished[-2:]:
        assert np.abs(host.alone(seed).astype(int) - made[seed].astype(int)).max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0].register_forward_pre_hook(lambda *_: None),
        lambda net: net[0].weight.data.add_(1e-7),
        lambda net: setattr(net[0], "forward", lambda x: x),
        lambda net: net.append(nn.ReLU()),
        lambda net: setattr(net[0], "weight", nn.Parameter(net[0].weight.detach().clone())),
        lambda net: net.eval(),
    ],
    ids=["hook", "values", "forward", "module", "parameter", "mode"],
)
def test_a_snapshot_sees_every_kind_of_change(change: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    snapshot = Snapshot(net)
    assert snapshot.changes() == []
    change(net)
    assert snapshot.changes() != []


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_stay_so_however_they_are_stored(form: Any, broken: float) -> None:
    """Found by generation 298 of the soak: stored as int8, a network of NaN made a picture."""
    weight = torch.ones(3, 2)
    weight[1, 0] = broken
    kept, scale = form(weight)
    restored = kept.float() if scale is None else kept.float() * spread(scale, weight)
    assert restored.isfinite().all(1).tolist() == [True, False, True]
