"""The model store finds models by name and counts the bytes of its cache."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.sizes import tensor_sizes
from lib_ctrlgen.models.store import ModelStore


def load_ones(path: Path) -> Tensor:
    """One float32 per byte of the file."""
    return torch.ones(path.stat().st_size)


def store_of(root: Path, sizes: dict[str, int], budget: int = 1 << 30) -> ModelStore:
    for name, size in sizes.items():
        path = root / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return ModelStore([root], budget)


def test_two_generations_with_three_units_read_each_file_once(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"a": 10, "b": 20, "c": 30})
    for _ in range(2):
        for name in ("a", "b", "c"):
            store.get(store.resolve(name), load_ones)
    assert store.reads == 3
    assert store.used_bytes == 4 * 60


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"a": 10, "b": 10, "c": 10}, budget=4 * 20)
    for name in ("a", "b", "a", "c", "a"):
        store.get(store.resolve(name), load_ones)
    assert store.reads == 3
    store.get(store.resolve("b"), load_ones)
    assert store.reads == 4, "b was dropped, a was not"


@given(st.lists(st.sampled_from("abcd"), max_size=20), st.integers(0, 250))
def test_never_over_the_budget(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], budget: int
) -> None:
    sizes = {"a": 5, "b": 10, "c": 20, "d": 40}
    store = store_of(tmp_path_factory.mktemp("store"), sizes, budget)
    for name in names:
        assert store.get(store.resolve(name), load_ones).numel() == sizes[name]
        assert store.used_bytes <= budget


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"a": 10})
    path = store.resolve("a")
    first = store.get(path, load_ones)
    path.write_bytes(b"x" * 10)
    os.utime(path, ns=(1, 1))
    assert store.get(path, load_ones) is not first
    path.unlink()
    with pytest.raises(ModelError, match="no such file"):
        store.get(path, load_ones)


def test_variants_and_computed_values_have_their_own_place(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"a": 10})
    path = store.resolve("a")
    half, full = (store.get(path, load_ones, dtype) for dtype in (torch.float16, torch.float32))
    assert half is not full
    assert store.get(path, load_ones, torch.float16) is half
    feature = store.cached(("feature", 1), lambda: torch.ones(3))
    assert store.cached(("feature", 1), lambda: torch.zeros(3)) is feature
    assert store.reads == 2
    store.clear()
    assert store.used_bytes == 0


def test_a_failed_load_leaves_nothing(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"a": 1})

    def broken(path: Path) -> Tensor:
        raise ModelError(f"{path.name} is broken")

    for _ in range(2):
        with pytest.raises(ModelError, match="is broken"):
            store.get(store.resolve("a"), broken)
    assert store.get(store.resolve("a"), load_ones).numel() == 1


def test_threads_share_one_load(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"a": 10})
    path, go = store.resolve("a"), Event()

    def slow(path: Path) -> Tensor:
        go.wait(1)
        return load_ones(path)

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(store.get, path, slow) for _ in range(8)]
        go.set()
        found = {id(item.result()) for item in waiting}
    assert len(found) == 1
    assert store.reads == 1


def test_models_loaded_in_inference_mode_are_plain_tensors(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"a": 10})
    with torch.inference_mode():
        assert not store.get(store.resolve("a"), load_ones).is_inference()


@dataclass
class Pair:
    left: nn.Module
    right: tuple[Tensor, ...]
    note: str = ""


def test_sizes_count_shared_memory_once() -> None:
    layer = nn.Linear(4, 2)
    assert sum(tensor_sizes(Pair(layer, (layer.weight, torch.zeros(3)))).values()) == 4 * (8 + 2 + 3)
    assert tensor_sizes({"a": [torch.zeros(2, dtype=torch.float16)], "b": "text"}).popitem()[1] == 4


NAMES = {"control_v11p_sd15_canny": 1, "control_v11p_sd15_canny_small": 1, "sub/Depth": 1, "ip.adapter": 1}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("control_v11p_sd15_canny", "control_v11p_sd15_canny"),
        ("control_v11p_sd15_canny.safetensors", "control_v11p_sd15_canny"),
        ("CONTROL_V11P_SD15_CANNY", "control_v11p_sd15_canny"),
        ("v11p_sd15_canny_", "control_v11p_sd15_canny_small"),
        ("small", "control_v11p_sd15_canny_small"),
        ("depth", "sub/Depth"),
        ("sub/depth", "sub/Depth"),
        ("sub\\depth", "sub/Depth"),
        ("ip.adapter", "ip.adapter"),
    ],
)
def test_names_resolve(tmp_path: Path, name: str, found: str) -> None:
    store = store_of(tmp_path, NAMES)
    assert store.resolve(name) == tmp_path / f"{found}.safetensors"
    assert store.names() == sorted(NAMES)


@pytest.mark.parametrize("name", ["", " ", "../secret", "nothing like it", "[d14c016b]"])
def test_unknown_names_list_the_nearest(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.safetensors").touch()
    store = store_of(tmp_path / "models", NAMES)
    with pytest.raises(ModelError, match="no model named"):
        store.resolve(name)


def test_the_nearest_name_is_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nearest: sub/Depth"):
        store_of(tmp_path, NAMES).resolve("dpeth")
    with pytest.raises(ModelError, match="there are none"):
        ModelStore([tmp_path / "missing"], 1).resolve("x")


def test_paths_only_inside_a_root(tmp_path: Path) -> None:
    store = store_of(tmp_path / "models", NAMES)
    inside = tmp_path / "models" / "sub" / "Depth.safetensors"
    assert store.resolve(str(inside)) == inside
    outside = tmp_path / "other.safetensors"
    outside.touch()
    for path in (outside, tmp_path / "models" / ".." / "other.safetensors"):
        with pytest.raises(ModelError, match="outside the model folders"):
            store.resolve(str(path))


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    store_of(tmp_path / "elsewhere", {"a": 1})
    root = tmp_path / "models"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "loop").symlink_to(root, target_is_directory=True)
    assert ModelStore([root], 1).names() == ["linked/a"]


def test_a_new_file_is_found_without_a_refresh(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"a": 1})
    assert store.names() == ["a"]
    (tmp_path / "new.pth").touch()
    assert store.resolve("new").name == "new.pth"
    store.refresh()
    assert store.names() == ["a", "new"]


def test_earlier_roots_win_and_encoders_are_no_models(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    store_of(first, {"a": 1})
    store_of(second, {"a": 1, "net/diffusion_pytorch_model": 1, "clip/model": 1, "model": 1})
    for folder in ("net", "clip"):
        (second / folder / "config.json").write_text("{}")
    store = ModelStore([first, second], 1)
    assert store.names() == ["a", "model", "net"]
    assert store.resolve("a").parent == first
    assert store.resolve("net").stem == "diffusion_pytorch_model"
    assert store.folders() == {"net": second / "net", "clip": second / "clip"}
