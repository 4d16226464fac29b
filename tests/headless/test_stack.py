"""Cells of a grid in one batch are the same as alone, with any sampler, and compute fewer rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.sampling import conditions
from lib_ctrlgen.headless.sampling.batch import PromptBatch
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.prompts import blended
from lib_ctrlgen.prompts.scheduled import parse_prompt
from lib_ctrlgen.request.batching import alike
from lib_ctrlgen.request.sampler_names import SAMPLERS
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.worker import Capacity, ScoredCell, Task, Worker, out_of_memory
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support.pictures import CLOSE, difference

EDGES = {"model": f"{models.NAME}-edges", "image": files.data_url(), "weight": 2}
LOOK = {"model": f"{models.NAME}-ip", "image": files.data_url(seed=2), "weight": 2}
MASKED = EDGES | {"mask": files.data_url(seed=3)}


def request(*units: dict[str, Any], **fields: Any) -> GenerationRequest:
    plain = {"prompt": "a red star", "width": 64, "height": 64, "steps": 4, "sampler": "Euler"}
    return parse_request({**plain, "units": list(units), **fields}, GenerationRequest)


def each_is_as_alone(engine: Engine, cells: Sequence[GenerationRequest]) -> list[Generation]:
    """Make cells together and alone; they are the same, and not all alike."""
    assert all(alike(cell) == alike(cells[0]) is not None for cell in cells)
    together = engine.together(cells)
    for cell, made in zip(cells, together, strict=True):
        alone = engine.generate(cell)
        assert difference(made.images, alone.images) <= CLOSE
        assert made.seeds == alone.seeds
        assert made.plan == alone.plan
    assert difference(together[0].images, together[-1].images) > CLOSE
    return together


# What these compute at a step depends on up to three earlier steps.
MULTISTEP = ("LMS", "DPM++ 3M SDE", "PLMS", "UniPC")


@pytest.mark.parametrize("sampler", [name for name, each in SAMPLERS.items() if not each.adaptive])
def test_windows_are_as_alone_and_share_their_steps(engine: Engine, sampler: str) -> None:
    steps = 4 if sampler in MULTISTEP else 3
    ends = [
        request(EDGES | {"weight": 8, "guidance_end": end}, sampler=sampler, steps=steps) for end in (0.25, 1)
    ]
    made = each_is_as_alone(engine, ends)[0]
    assert made.rows_computed < made.rows_asked


def test_cells_of_a_sampler_that_chooses_its_steps_are_made_one_by_one(engine: Engine) -> None:
    cells = [request(EDGES | {"weight": weight}, sampler="dpm adaptive") for weight in (0, 1)]
    assert alike(cells[0]) is None
    made = EngineHost(engine=engine).generate(cells)
    assert difference(made[1].images, engine.generate(cells[1]).images) == 0
    assert difference(made[0].images, made[1].images) > CLOSE


def test_the_rows_of_four_window_ends(engine: Engine) -> None:
    ends = [request(EDGES | {"guidance_end": e}, sampler="DPM++ 2M") for e in (0.25, 0.5, 0.75, 1)]
    made = engine.together(ends)[0]
    assert (made.rows_computed, made.rows_asked) == (2 + 4 + 6 + 8, 4 * 8)


KINDS: dict[str, list[dict[str, Any]]] = {
    "weights and schedules": [
        {"units": [EDGES | {"weight": w}, LOOK | {"weight": v}]}
        for w, v in ((0, 2), ("2 in 0..0.5", 2), ("2>0", 0.5), (-1, "0>2"))
    ],
    "modes, layers and masks": [
        {"units": [MASKED | own, LOOK]}
        for own in (
            {"control_mode": "prompt"},
            {"control_mode": "control"},
            {"layer_weights": [k / 5 for k in range(13)]},
            {"mask_strength": "0>1"},
        )
    ],
    "guidance": [
        {"units": [EDGES], "cfg_scale": scale, "seed": seed}
        for scale, seed in ((2, 0), ("2@0 hold, 6@0.5", 0), (9, 5), (1, 0))
    ],
    "named weights": [
        {"prompt": "a (red:glow=1) star AND a ring :0.5", "prompt_weights": {"glow": glow}}
        for glow in (1, "1>2", 9)
    ],
    "concepts": [
        {
            "blend": {
                "mode": "saliency",
                "concepts": [
                    {"prompt": "{prompt}, red", "weight": weight},
                    {"prompt": "a square", "mask": files.data_url(seed=4), "mask_strength": strength},
                ],
            }
        }
        for weight, strength in ((1, 1), ("1>0", 1), (1, "0>1"))
    ],
    "mixed features": [
        {"blend": {"mode": "embedding", "concepts": [{"weight": w}, {"prompt": "a blue square"}]}}
        for w in (1, 3)
    ],
    "seeds of a batch": [{"units": [EDGES | {"weight": w}], "batch_size": 2} for w in (0, 3)],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_cells_of_every_kind_are_as_alone(engine: Engine, kind: str) -> None:
    each_is_as_alone(engine, [request(**fields, steps=2) for fields in KINDS[kind]])


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 5},
        {"prompt": "another"},
        {"sampler": "DDIM"},
        {"units": [EDGES | {"preprocessor": "canny"}]},
        {"units": [EDGES, EDGES]},
        {"units": [EDGES | {"enabled": False}]},
        {"blend": {"concepts": [{}, {"prompt": "b"}]}},
        {"batch_size": 2},
    ],
    ids=str,
)
def test_requests_that_differ_in_more_than_numbers_are_not_alike(fields: dict[str, Any]) -> None:
    assert alike(request(**{"units": [EDGES], **fields})) != alike(request(EDGES))


def test_a_trajectory_is_made_by_itself(engine: Engine) -> None:
    walk = request(
        batch_size=3, prompt="", blend={"mode": "trajectory", "concepts": [{"prompt": "a"}, {"prompt": "b"}]}
    )
    assert alike(walk) is None
    (made,) = EngineHost(engine=engine).generate([walk])
    assert difference(made.images, engine.generate(walk).images) == 0


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"prompt": "a ring"}, ["blue", "a ring"]),
        (
            {
                "prompt": "",
                "batch_size": 3,
                "blend": {
                    "mode": "trajectory",
                    "spacing": 1,
                    "concepts": [{"prompt": "a"}, {"prompt": "b"}],
                },
            },
            ["blue", "a", "b"],
        ),
    ],
    ids=["prompt", "trajectory"],
)
def test_prompts_are_parsed_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], texts: list[str]
) -> None:
    parsed: list[str] = []

    def parse(text: str, **options: bool) -> Any:
        parsed.append(text)
        return parse_prompt(text, **options)

    for module in (conditions, blended):
        monkeypatch.setattr(module, "parse_prompt", parse)
    engine.together([request(negative_prompt="blue", steps=2, **fields)])
    assert parsed == texts


def test_a_batch_tells_what_is_shared_from_what_each_has() -> None:
    cells = [request(EDGES | {"weight": w}, batch_size=size) for w, size in ((1, 2), (0.5, 1))]
    batch = PromptBatch.of(cells)
    assert (batch.cells, batch.pictures, batch.starts) == (2, 3, (0, 2))
    assert batch.shared is cells[0]
    assert batch.per_request(batch.per_picture(["a", "b"])) == [["a", "a"], ["b"]]


def test_the_first_request_and_one_of_each_other_kind_are_checked() -> None:
    modes = ("prompt", "balanced", "prompt", "control", "balanced")
    cells = [request(EDGES | {"control_mode": mode}) for mode in modes]
    found = PromptBatch.of(cells).to_check()
    assert [cells.index(each) for each in found] == [0, 1, 3]


def test_a_wrong_number_of_one_cell_names_the_place(engine: Engine) -> None:
    with pytest.raises(RequestError) as caught:
        engine.together([request(LOOK), request(LOOK | {"control_mode": "prompt"})])
    assert caught.value.path == "$.units[0].control_mode"


def test_texts_pictures_maps_and_hints_are_made_once_for_many_requests(engine: Engine) -> None:
    canny = EDGES | {"preprocessor": "canny", "image": files.data_url(seed=9)}
    cells = [request(canny, LOOK, sampler=name, prompt="a new (text:1.2)") for name in ("Euler", "DDIM")]
    engine.generate(cells[0])
    encoder = engine.encoder(engine.load(cells[0].model))
    hints: list[int] = []
    network = next(u for u in engine.units(PromptBatch.of(cells[:1]), engine.load(cells[0].model))).control
    handle = network.model.hint_encoder.register_forward_hook(lambda *_: hints.append(1))  # type: ignore[union-attr]
    before, entries = encoder.calls, len(engine.store._cache)
    engine.generate(cells[1])
    engine.generate(request(canny | {"weight": 0.5}, LOOK, steps=2, prompt="a new (text:0.7)"))
    handle.remove()
    assert encoder.calls == before
    assert not hints
    assert len(engine.store._cache) == entries


class Tight:
    """A host with memory for so many pixels; it notes the batches that it made."""

    def __init__(self, host: EngineHost, pixels: int) -> None:
        self.host, self.pixels = host, pixels
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)

    def generate(self, requests: Sequence[GenerationRequest]) -> Any:
        if sum(r.batch_size * r.width * r.height for r in requests) > self.pixels:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.batches.append(len(requests))
        return self.host.generate(requests)


def test_batches_are_halved_until_they_fit_and_no_cell_is_lost(engine: Engine, tmp_path: Path) -> None:
    host = Tight(EngineHost(engine=engine), 3 * 64 * 64)
    cells = [request(EDGES | {"weight": k / 4}, steps=1) for k in range(8)]
    other = [request(EDGES | {"weight": k / 4}, steps=2) for k in range(3)]
    tasks = [Task(key=str(k), request=cell) for k, cell in enumerate(cells)]
    more = [Task(key=f"more {k}", request=cell) for k, cell in enumerate(other)]
    done = {task.key: outcome for task, outcome in Worker(host, tmp_path).each([tasks, more])}
    assert list(done) == [task.key for task in tasks + more]
    assert all(isinstance(outcome, ScoredCell) for outcome in done.values())
    cells_made = [count for count in host.batches if count]
    assert max(cells_made) == 3
    assert cells_made[-2:] == [3, 1] or cells_made[-1] == 3


def test_a_cell_too_large_for_the_memory_fails_alone(engine: Engine, tmp_path: Path) -> None:
    host = Tight(EngineHost(engine=engine), 64 * 64 - 1)
    tasks = [Task(key=str(k), request=request(seed=k)) for k in range(3)]
    outcomes = [outcome for _, outcome in Worker(host, tmp_path).each([tasks])]
    assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)
    assert len(outcomes) == 3


def test_what_lack_of_memory_looks_like() -> None:
    assert out_of_memory(MemoryError())
    assert out_of_memory(torch.cuda.OutOfMemoryError("x"))
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not out_of_memory(ValueError("a batch"))


def test_the_largest_batch_is_searched_between_what_fits_and_what_does_not() -> None:
    capacity = Capacity()
    sizes, limit = [], 11
    while len(sizes) < 8:
        count = capacity.count(16, 10)
        sizes.append(count)
        (capacity.fitted if count <= limit else capacity.failed)(count * 10)
    assert sizes == [16, 8, 12, 10, 10, 11, 11, 11] or sizes[-1] in (10, 11)
    assert capacity.count(4, 10) == 4
