"""`reuse`, `low_vram` and `storage` in the real WebUI; also if it was started with --medvram or --lowvram."""

from typing import Any

import numpy as np
import pytest

from tests.live.conftest import DEPTH, EDGES, PICTURE, Answer, WebUI, close

pytestmark = pytest.mark.live
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sampler_name": "Heun"},
        {"prompt": "a cat AND a dog:0.5", "batch_size": 2},
        {"override_settings": {"batch_cond_uncond": False}},
        HIRES,
    ],
    ids=str,
)
def test_reuse_stays_near_and_is_no_control_of_another_kind(
    webui: WebUI, plain: Answer, fields: dict[str, Any]
) -> None:
    steps = {"steps": 8}
    whole = webui.generate(EDGES, **steps, **fields)
    again = webui.generate(EDGES | {"reuse": 2}, **steps, **fields)
    assert again.status == 200, again.json
    assert not again.same(whole)
    free = webui.generate(**steps, **fields)

    def distance(one: Answer, other: Answer) -> float:
        return float(np.abs(one.images[0].astype(int) - other.images[0]).mean())

    assert distance(again, whole) < distance(free, whole) / 2
    assert webui.generate().same(plain)


def test_reuse_of_what_computes_nothing_is_refused(webui: WebUI) -> None:
    refused = webui.generate(PICTURE | {"reuse": 2})
    assert refused.status == 422
    assert refused.detail["path"] == "$.units[0].reuse"


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("unit", [EDGES, PICTURE], ids=["controlnet", "ip-adapter"])
def test_parked_weights_give_the_same_picture(webui: WebUI, unit: dict[str, Any], low: bool) -> None:
    assert close(webui.generate(unit | {"low_vram": low}).images[0], webui.generate(unit).images[0])


@pytest.mark.parametrize(("storage", "most"), [("fp16", 3), ("bf16", 12), ("fp8", 60), ("int8", 40)])
def test_smaller_weights_give_a_near_picture(webui: WebUI, plain: Answer, storage: str, most: int) -> None:
    whole = webui.generate(EDGES, DEPTH).images[0].astype(int)
    units = [unit | {"storage": storage, "low_vram": True} for unit in (EDGES, DEPTH)]
    made = webui.generate(*units)
    assert made.status == 200, made.json
    assert np.abs(made.images[0].astype(int) - whole).max() <= most
    assert webui.generate().same(plain)


def test_an_unknown_storage_is_refused(webui: WebUI) -> None:
    refused = webui.generate(EDGES | {"storage": "int4"})
    assert refused.status == 422
    assert refused.detail["path"] == "$.units[0].storage"


def test_a_grid_of_reuse_is_its_cells(webui: WebUI) -> None:
    script = {
        "script_name": "CtrlGen X/Y tuner",
        "script_args": [{"x": {"path": "units.0.reuse", "values": "1, 2, 4"}, "name": "live reuse"}],
    }
    sheet = webui.generate(EDGES, **script)
    assert sheet.status == 200, sheet.json
    cells = [picture for picture in sheet.images if picture.shape == (64, 64, 3)]
    for cell, reuse in zip(cells, (1, 2, 4), strict=True):
        assert close(cell, webui.generate(EDGES | {"reuse": reuse}).images[0])
