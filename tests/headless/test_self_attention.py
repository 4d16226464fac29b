"""Reference pictures and StyleAligned in headless generations: grids, batches, plans and costs."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.sampling import run as sampling
from lib_ctrlgen.plots.plan_view import plan_table, shown_plan
from lib_ctrlgen.request.batching import alike
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.scoring.clip_likeness import is_reference
from tests.support import control_files as files

PICTURE = files.data_url(64, 64, 3)
REFERENCE = {"control": "reference", "image": PICTURE, "params": {"method": "both"}}
ALIGNED = {"control": "style_aligned"}


@pytest.fixture(autouse=True)
def latents_as_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures are the latents in thousandths, channel below channel: a VAE hides small differences."""

    def pictures(_vae: Any, latents: Tensor) -> list[Image.Image]:
        values = (latents.flatten(1, 2) * 1000).int().numpy()
        return [Image.fromarray(each) for each in values]

    monkeypatch.setattr(sampling, "pictures", pictures)


def request(*units: dict[str, Any], **fields: Any) -> GenerationRequest:
    plain = {"prompt": "a red star", "width": 64, "height": 64, "steps": 4, "batch_size": 2, "seed": 5}
    return parse_request({**plain, "units": list(units), **fields}, GenerationRequest)


def apart(one: Generation, other: Generation) -> list[int]:
    """The greatest difference of each picture, in thousandths."""
    pairs = zip(one.images, other.images, strict=True)
    return [int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max()) for a, b in pairs]


@pytest.mark.parametrize(
    "cells",
    [
        [{**REFERENCE, "weight": weight} for weight in (0, 0.5, 1)],
        [{**REFERENCE, "reuse": reuse, "guidance_end": 0.75} for reuse in (1, 3)],
        [{**ALIGNED, "weight": weight} for weight in (0, 0.5, "0@0 hold, 1@0.5 hold")],
    ],
    ids=["weights", "reuse", "aligned"],
)
def test_cells_in_one_batch_are_as_alone(engine: Engine, cells: list[dict[str, Any]]) -> None:
    requests = [request(cell) for cell in cells]
    assert all(alike(each) == alike(requests[0]) for each in requests)
    together = engine.together(requests)
    for each, made in zip(requests, together, strict=True):
        assert max(apart(made, engine.generate(each))) <= 2
    assert max(apart(together[0], together[-1])) > 10


def test_equal_rows_of_cells_are_computed_once(engine: Engine) -> None:
    cells = [request({**ALIGNED, "weight": weight}) for weight in (0, "0@0 hold, 1@0.5 hold")]
    made, *_ = engine.together(cells)
    assert made.rows_computed == made.rows_asked - 8, "all rows of two of the four steps"


def test_the_first_picture_of_a_batch_leads(engine: Engine) -> None:
    first, second = apart(engine.generate(request(ALIGNED)), engine.generate(request()))
    assert first <= 2
    assert second > 20


def test_a_batch_of_one_picture_cannot_be_aligned(engine: Engine) -> None:
    with pytest.raises(RequestError, match="batch size of two or more") as caught:
        engine.generate(request(ALIGNED, batch_size=1))
    assert caught.value.path == "$.units[0].control"
    with pytest.raises(RequestError, match="batch size of two or more"):
        engine.together([request({**ALIGNED, "weight": weight}, batch_size=1) for weight in (0.5, 1)])


def test_a_score_compares_pictures_with_references_of_every_kind(engine: Engine) -> None:
    units = request(REFERENCE, {"control": "revision", "image": PICTURE}, ALIGNED).units
    assert [is_reference(unit, engine.store) for unit in units] == [True, True, False]


def test_the_plan_says_what_reference_pictures_cost() -> None:
    units = [REFERENCE, {**REFERENCE, "reuse": 4}, {**REFERENCE, "image": files.data_url(64, 64, 4)}]
    units[2] |= {"guidance_end": 0.25}
    table = plan_table(shown_plan(request(*units, steps=8), 8))
    assert "0 reference" in table
    assert "further U-Net calls for reference pictures: 10 (beside the 8 of the steps)" in table
    assert "further" not in plan_table(shown_plan(request(ALIGNED), 8))
