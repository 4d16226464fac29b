"""The model cache keeps what a generation uses, and its budget follows the free memory."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.models import memory, sizes, store
from lib_ctrlgen.models import tensor_files as weights
from lib_ctrlgen.models.memory import GB, Automatic, Fixed, Memory, container_memory
from lib_ctrlgen.models.sizes import sizes_by_memory
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files

NAMES = ("one", "two", "three")
FULL = 4.335e9  # three ControlNets of SD1.5 in float32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(NAMES):
        state = files.controlnet(seed).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, root / f"{name}.safetensors")
    return root


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every model file that is opened to be read."""
    found: list[Path] = []
    original = weights.safe_open

    def counting(path: Path, **options: Any) -> Any:
        found.append(path)
        return original(path, **options)

    monkeypatch.setattr(weights, "safe_open", counting)
    return found


def generation(cache: ModelStore, unet: Any) -> store.WorkingSet:
    """Load three units as a generation does, and encode their maps."""
    units = [{"model": name, "image": files.data_url(), "preprocessor": "canny"} for name in NAMES]
    used = cache.working_set()
    with used:
        loaded = load_units(
            parse_request({"units": units}).units,
            Target(store=cache, shape=DiffusersUNet(unet).shape, unet=unet),
        )
        for unit in loaded:
            unit.control.residuals(files.call())
    return used


def total(folder: Path, unet: Any) -> int:
    cache = ModelStore([folder], 1 << 40)
    generation(cache, unet)
    return cache.used_bytes


def test_ten_generations_read_every_file_once(
    folder: Path,
    unet: Any,
    opened: list[Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the proportions of a machine with 16 GB of which 10 are free, at the default budget."""
    scale = total(folder, unet) / FULL
    opened.clear()
    monkeypatch.setattr(memory, "RESERVE", int(memory.RESERVE * scale))
    state = Memory(total=int(16 * GB * scale), available=int(10 * GB * scale))
    budget = Automatic(least=int(4 * GB * scale), measure=lambda _: state)
    cache = ModelStore([folder], budget)
    used = [generation(cache, unet) for _ in range(10)]
    assert len(opened) == 2 * len(NAMES), "each file's header and its tensors, in the first generation"
    assert not any(each.shortage for each in used)
    assert not caplog.records


def test_what_does_not_fit_is_said_once_and_costs_one_file(
    folder: Path, unet: Any, opened: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    limit = int(total(folder, unet) * 4 * GB / FULL)
    opened.clear()
    cache = ModelStore([folder], Fixed(least=limit, advice="Allow {needed:.2f} GB."))
    with caplog.at_level(logging.WARNING):
        used = [generation(cache, unet) for _ in range(10)]
    assert len(opened) == 2 * len(NAMES) + 9, "one file is read again by each of nine generations"
    assert all(each.shortage for each in used)
    assert cache.used_bytes <= limit
    (record,) = caplog.records
    assert "Allow 0." in record.getMessage()


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=6), st.integers(0, 40)
)
def test_a_working_set_is_never_dropped_while_it_is_used(generations: list[list[int]], budget: int) -> None:
    """Values of so many bytes: asked for again inside the set, none is computed twice."""
    cache = ModelStore([], budget)
    for wanted in generations:
        made: list[int] = []

        def value(size: int, made: list[int] = made) -> torch.Tensor:
            made.append(size)
            return torch.zeros(size, dtype=torch.uint8)

        with cache.working_set():
            for size in (*wanted, *wanted):
                cache.cached(size, lambda size=size, value=value: value(size))
        assert len(made) == len(set(made)) <= len(set(wanted))
        assert cache.used_bytes <= budget


def test_the_smallest_value_that_is_enough_goes_first() -> None:
    """One control network and not the checkpoint, where either would do."""
    cache = ModelStore([], 10)
    for _ in range(3):
        with cache.working_set():
            sizes = {"checkpoint": 6, "first": 3, "second": 3}
            made = [
                cache.cached(name, lambda size=size: torch.zeros(size, dtype=torch.uint8))
                for name, size in sizes.items()
            ]
        assert len(made) == 3
        assert ("computed", "checkpoint") in cache._cache
        assert cache.used_bytes == 9


def test_an_older_generations_models_go_before_the_last_ones() -> None:
    cache = ModelStore([], 6)
    for names in (("a", "b"), ("c", "d"), ("c", "d")):
        with cache.working_set():
            for name in names:
                cache.cached(name, lambda: torch.zeros(3, dtype=torch.uint8))
    assert set(cache._cache) == {("computed", "c"), ("computed", "d")}


def test_sets_may_be_entered_again_and_in_one_another() -> None:
    cache = ModelStore([], 0)
    outer = cache.working_set()
    with outer, cache.working_set(), outer:
        first = cache.cached("a", lambda: torch.zeros(1))
    assert cache.used_bytes == 0
    with outer:
        assert cache.cached("a", lambda: torch.ones(1)) is not first
        assert cache.cached("a", lambda: torch.zeros(1)) == 1
    with pytest.raises(RuntimeError), outer:
        raise RuntimeError
    assert not cache._entered


@pytest.mark.parametrize(
    ("state", "used", "limit"),
    [
        (Memory(total=32 * GB, available=20 * GB), 0, 12 * GB),
        (Memory(total=32 * GB, available=14 * GB), 6 * GB, 12 * GB),  # what it fills is its own
        (Memory(total=64 * GB, available=64 * GB), 0, int(0.6 * 64 * GB)),
        (Memory(total=8 * GB, available=1 * GB), 0, 4 * GB),  # at least what it was before
        (None, 0, 4 * GB),
    ],
)
def test_the_automatic_budget(state: Memory | None, used: int, limit: int) -> None:
    assert Automatic(measure=lambda _: state).limit("cpu", used) == limit


def test_the_machine_is_measured() -> None:
    state = memory.memory_of("cpu")
    assert state is not None
    assert 0 < state.available <= state.total
    assert memory.memory_of("privateuseone") is None
    assert Automatic().limit("cpu", 0) >= 4 * GB


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    assert container_memory(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert container_memory(tmp_path) is None, "no limit"
    (tmp_path / "memory.max").write_text(f"{8 * GB}\n")
    (tmp_path / "memory.current").write_text(f"{6 * GB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {GB}\n")
    assert container_memory(tmp_path) == Memory(total=8 * GB, available=3 * GB)


def test_each_memory_has_its_own_budget(folder: Path, unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that stay in the CPU's memory between uses do not count as the device's."""
    monkeypatch.setattr(sizes, "memory_type", lambda device: "cuda" if device.type == "cpu" else device.type)
    on_device = sizes_by_memory({"a": torch.zeros(8, dtype=torch.uint8), "b": files.picture(2, 2)})
    assert on_device == {"cuda": 8, "cpu": 12}
    cache = ModelStore([], Automatic(least=10, measure=lambda kind: None))
    for number in range(3):
        cache.cached(number, lambda: torch.zeros(5, dtype=torch.uint8))
        cache.cached(("seen", number), lambda: files.picture(1, 1))
    assert cache.used("cuda") == 10
    assert cache.used("cpu") == 9
    placement = Placement(device=torch.device("cuda"), dtype=torch.float16, away=True)
    assert placement.home.type == "cpu"
