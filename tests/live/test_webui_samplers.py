"""The headless host's pictures beside the real WebUI's: every sampler, with some schedulers, same seeds."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.sampler_names import SAMPLERS, SCHEDULERS
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.live.conftest import EDGES, WebUI

pytestmark = pytest.mark.live
STEPS = 8
SHARED = {"prompt": "a red circle", "negative_prompt": "a blue square", "width": 64, "height": 64, "seed": 7}
CLOSE = 1  # of 255: the WebUI cuts fractions of a grey value off, diffusers rounds them
TAKES_SCHEDULER = tuple(name for name, each in SAMPLERS.items() if each.scheduler)


@pytest.fixture(scope="module")
def engine(webui_root: Path) -> Engine:
    if find_spec("k_diffusion") is None:
        sys.path.append(str(webui_root / "repositories/k-diffusion"))
    folder, controls = (webui_root / "models" / name for name in ("Stable-diffusion", "ControlNet"))
    text = next(iter(folder.glob("**/vocab.json")), None)
    place = Place(device=torch.device("cpu"), dtype=torch.float32, tokenizer=text.parent if text else None)
    return Engine([folder, controls], 1 << 30, place)


def difference(webui: WebUI, engine: Engine, **fields: Any) -> int:
    """The largest difference of a pixel between both hosts' pictures of a request."""
    wanted = {"model": "ctrlgen-tiny", "cfg_scale": 5.0, "steps": STEPS, **SHARED, **fields}
    mine = engine.generate(parse_request(wanted, GenerationRequest))
    sent = {name: value for name, value in wanted.items() if name not in ("model", "sampler", "units")}
    theirs = webui.generate(*wanted.get("units", ()), sampler_name=wanted["sampler"], **sent)
    assert theirs.status == 200, theirs.json
    pairs = zip(mine.images, theirs.images, strict=False)  # control maps follow
    return max(int(np.abs(np.asarray(a).astype(int) - b.astype(int)).max()) for a, b in pairs)


@pytest.mark.parametrize("steps", [STEPS, 21])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_with_its_own_scheduler(webui: WebUI, engine: Engine, sampler: str, steps: int) -> None:
    assert difference(webui, engine, sampler=sampler, steps=steps) <= CLOSE


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DPM++ 3M SDE", "DPM2 a", "LCM", "Restart"])
def test_every_scheduler(webui: WebUI, engine: Engine, sampler: str, scheduler: str) -> None:
    assert difference(webui, engine, sampler=sampler, scheduler=scheduler) <= CLOSE


@pytest.mark.parametrize("sampler", TAKES_SCHEDULER)
@pytest.mark.parametrize("scheduler", ["Karras", "SGM Uniform"])
def test_every_sampler_with_another_scheduler(
    webui: WebUI, engine: Engine, sampler: str, scheduler: str
) -> None:
    assert difference(webui, engine, sampler=sampler, scheduler=scheduler) <= CLOSE


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_batches(webui: WebUI, engine: Engine, sampler: str) -> None:
    fields = {"width": 128, "batch_size": 2, "steps": 5}
    assert difference(webui, engine, sampler=sampler, **fields) <= CLOSE


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "DPM++ SDE", "Restart", "DDIM", "UniPC"])
@pytest.mark.parametrize("steps", [3, 40])
def test_few_and_many_steps(webui: WebUI, engine: Engine, sampler: str, steps: int) -> None:
    assert difference(webui, engine, sampler=sampler, steps=steps) <= CLOSE


@pytest.mark.parametrize("sampler", [name for name, each in SAMPLERS.items() if not each.adaptive])
def test_schedules_follow_one_clock(webui: WebUI, engine: Engine, sampler: str) -> None:
    unit = {**EDGES, "weight": "1.5@0 hold, 0@0.4 hold, 1@0.7"}
    wanted = {"prompt": "a (red:2@0 hold, 0.5@0.5) circle", "sampler": sampler}
    assert difference(webui, engine, units=[unit], **wanted) <= CLOSE


def test_the_webui_has_no_other_names(webui: WebUI) -> None:
    samplers = {each["name"]: each["aliases"] for each in webui.get("/sdapi/v1/samplers").json()}
    assert samplers == {name: list(each.aliases) for name, each in SAMPLERS.items()}
    labels = [each["label"] for each in webui.get("/sdapi/v1/schedulers").json()]
    assert labels == list(SCHEDULERS)


@pytest.mark.skipif(not os.environ.get("CTRLGEN_WEBUI_SDXL"), reason="live test: set CTRLGEN_WEBUI_SDXL")
@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "UniPC", "DDIM"])
@pytest.mark.parametrize("scheduler", ["Automatic", "Align Your Steps"])
def test_sdxl(webui: WebUI, engine: Engine, sampler: str, scheduler: str) -> None:
    if scheduler != "Automatic" and SAMPLERS[sampler].scheduler is None:
        pytest.skip("takes no scheduler")
    name = os.environ["CTRLGEN_WEBUI_SDXL"]
    before = webui.get("/sdapi/v1/options").json()["sd_model_checkpoint"]
    try:
        webui.post("/sdapi/v1/options", {"sd_model_checkpoint": name})
        assert difference(webui, engine, model=name, sampler=sampler, scheduler=scheduler) <= CLOSE
    finally:
        webui.post("/sdapi/v1/options", {"sd_model_checkpoint": before})
