"""Cells that reuse residuals give the same pictures in one batch as alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.batching import alike
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import control_files as files
from tests.support import headless_models as models


def cell(sampler: str, **unit: Any) -> GenerationRequest:
    edges = {"model": f"{models.NAME}-edges", "image": files.data_url(), "weight": 8, **unit}
    plain = {"prompt": "a red star", "width": 64, "height": 64, "steps": 4, "sampler": sampler}
    return parse_request({**plain, "units": [edges]}, GenerationRequest)


def difference(one: Sequence[Image.Image], other: Sequence[Image.Image]) -> int:
    pairs = zip(one, other, strict=True)
    return max(int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max()) for a, b in pairs)


GRIDS: dict[str, list[dict[str, Any]]] = {
    "reuse": [{"reuse": reuse} for reuse in (1, 3, 20)],
    "ends": [{"reuse": 3, "guidance_end": end} for end in (0.25, 0.75, 1)],
    "weights that part late": [{"reuse": 2, "weight": w} for w in (8, "8@0 hold, -8@0.5 hold")],
    "starts": [{"reuse": 2, "guidance_start": start} for start in (0, 0.25, 0.5)],
}


@pytest.mark.parametrize(("name", "sampler"), [*((name, "Euler") for name in GRIDS), ("reuse", "Heun")])
def test_cells_in_one_batch_are_as_alone(engine: Engine, name: str, sampler: str) -> None:
    cells = [cell(sampler, **unit) for unit in GRIDS[name]]
    assert all(alike(each) == alike(cells[0]) for each in cells)
    together = engine.together(cells)
    for each, made in zip(cells, together, strict=True):
        alone = engine.generate(each)
        assert difference(made.images, alone.images) <= 1
        assert made.plan == alone.plan
    assert difference(together[0].images, together[-1].images) > 1
    assert together[0].rows_computed < together[0].rows_asked
