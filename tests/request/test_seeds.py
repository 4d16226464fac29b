"""For seed -1 a random seed is drawn, and recorded wherever a picture's seed is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.outputs import write_generation
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.request.seeds import drawn_seed, seeded
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import AutoSpec
from lib_ctrlgen.tuner.open_seed import with_kept_seeds, with_search_seed

SMALL = {"prompt": "a red star", "width": 64, "height": 64, "steps": 1, "sampler": "euler karras"}


def request(**fields: Any) -> GenerationRequest:
    return parse_request({**SMALL, "seed": -1, **fields}, GenerationRequest)


def test_seeds_are_drawn_and_leave_room_for_a_batch() -> None:
    drawn = {drawn_seed() for _ in range(50)}
    assert len(drawn) > 45
    assert all(0 <= seed <= 2**32 - 64 for seed in drawn)
    assert seeded(request(seed=0)) == request(seed=0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert seeded(request()) != seeded(request())


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_size": 2},
        {"batch_size": 3, "blend": {"mode": "trajectory", "concepts": [{}, {"prompt": "b"}]}},
        {"blend": {"mode": "prediction", "explore": 2, "concepts": [{}, {"prompt": "b"}]}},
        {"blend": {"mode": "seeds", "concepts": [{"seed": -1}, {"seed": -1}]}},
        {"batch_size": 3, "blend": {"mode": "trajectory", "concepts": [{"seed": -1}, {"prompt": "b"}]}},
    ],
    ids=["batch", "trajectory", "map", "concepts", "concepts of a trajectory"],
)
def test_a_drawn_seed_is_written_everywhere(engine: Engine, tmp_path: Path, fields: dict[str, Any]) -> None:
    made = engine.generate(request(**fields))
    assert min(made.seeds) >= 0
    assert made.request.seed in made.seeds  # along a trajectory, a concept may have its own
    written = write_generation(request(**fields), made, tmp_path)
    kept = json.loads(written.result.read_text())
    assert kept["request"]["seed"] == made.request.seed
    blend = kept["request"].get("blend") or {"concepts": []}
    assert all(concept.get("seed") != -1 for concept in blend["concepts"])
    assert kept["seeds"] == list(made.seeds)
    for path, seed in zip(written.images, made.seeds, strict=True):
        text: dict[str, str] = Image.open(path).text  # type: ignore[attr-defined]
        assert str(seed) in path.name
        assert f"Sampler: Euler, Schedule type: Karras, CFG scale: 7, Seed: {seed}, " in text["parameters"]
        assert json.loads(text["ctrlgen"])["seed"] == seed
    again = engine.generate(parse_request(kept["request"], GenerationRequest))
    for one, other in zip(made.images, again.images, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_all_cells_of_a_tuner_share_one_seed_also_in_a_later_run(tmp_path: Path) -> None:
    kept = with_kept_seeds({"seed": -1, "steps": 1}, tmp_path / "out")
    assert kept["seed"] >= 0
    assert with_kept_seeds({"seed": -1}, tmp_path / "out")["seed"] == kept["seed"]
    assert with_kept_seeds({"seed": 4}, tmp_path / "out") == {"seed": 4}
    assert with_kept_seeds({}, tmp_path / "out") == {}
    (tmp_path / "out" / "seed.txt").write_text("?")
    assert with_kept_seeds({"seed": -1}, tmp_path / "out")["seed"] >= 0


def test_seeds_of_concepts_and_of_a_search_are_kept_too(tmp_path: Path) -> None:
    payload = {"blend": {"mode": "seeds", "concepts": [{"seed": -1}, {"seed": 3}, {"seed": -1}]}}
    kept, again = (with_kept_seeds(payload, tmp_path / "out")["blend"] for _ in range(2))
    assert kept == again
    first, second, third = (each["seed"] for each in kept["concepts"])
    assert second == 3
    assert first != third
    assert min(first, third) >= 0
    auto = parse_request({"budget": 9, "seed": -1, "ranges": [{"path": "CFG", "values": "3-9"}]}, AutoSpec)
    assert with_search_seed(auto, tmp_path / "out") == with_search_seed(auto, tmp_path / "out") != auto


def test_a_cell_without_a_seed_is_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"^\$\.seed: an axis needs fixed seeds"):
        EngineHost(engine=engine).batch({**SMALL, "seed": -1}, 1)
    blend = {"mode": "seeds", "concepts": [{}, {"seed": -1}]}
    with pytest.raises(RequestError, match=r"^\$\.blend\.concepts\[1\]\.seed: an axis needs fixed seeds"):
        EngineHost(engine=engine).batch({**SMALL, "blend": blend}, 1)
