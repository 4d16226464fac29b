"""Control maps on disk: made once for a picture, parameters, a size and weights, also by another process."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.protocols import MappedControl
from lib_ctrlgen.images.poses.openpose_json import pose_of
from lib_ctrlgen.models import disk_cache
from lib_ctrlgen.models.disk_cache import DiskCache
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import Detection, disk_maps, preprocessor
from lib_ctrlgen.preprocessors.base import Preprocessor
from lib_ctrlgen.preprocessors.canny import Canny
from lib_ctrlgen.preprocessors.network import NetworkPreprocessor
from lib_ctrlgen.preprocessors.standalone import Detector
from lib_ctrlgen.request.detection import DetectionSettings
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files
from tests.support.command_line import Captured, fails
from tests.support.fake_detectors import forget_package, randomised, stripes, write_package
from tests.support.poses import document


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path / "own"))
    forget_package()
    write_package(tmp_path)
    write_hed(tmp_path, 0)
    yield
    forget_package()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The preprocessors that were run."""
    found: list[str] = []
    for kind in (NetworkPreprocessor, Canny):
        before = kind.__call__

        def counted(self: Preprocessor, *args: Any, _before: Any = before, **given: Any) -> Any:
            found.append(self.name)
            return _before(self, *args, **given)

        monkeypatch.setattr(kind, "__call__", counted)
    return found


def write_hed(folder: Path, seed: int) -> None:
    network = randomised(preprocessor("hed").network.build({}), seed)  # type: ignore[attr-defined]
    (folder / "models").mkdir(exist_ok=True)
    torch.save(network.state_dict(), folder / "models" / "ControlNetHED.pth")


def new_store(folder: Path, limit: int = 1 << 20) -> ModelStore:
    """The store of another process, with the same folder on disk."""
    return ModelStore([folder / "models"], 1 << 30, disk=DiskCache(folder / "maps", limit))


def found(store: ModelStore, name: str, image: Image.Image | None = None, **params: Any) -> Image.Image:
    settings = parse_request({"preprocessor": name, "params": params}, DetectionSettings)
    return Detector.of(settings, store)(image or stripes(), "$.image").map


def test_another_process_reads_the_map(tmp_path: Path, runs: list[str]) -> None:
    first = found(new_store(tmp_path), "hed")
    for store in (new_store(tmp_path), new_store(tmp_path)):
        assert found(store, "hed").tobytes() == first.tobytes()
        assert store.reads == 0, "the network is not loaded"
        assert store.disk is not None
        assert (store.disk.counts.hits, store.disk.counts.misses) == (1, 0)
        found(store, "hed")
        assert store.disk.counts.hits == 1, "the second time it is in memory"
    assert runs == ["hed"]


def test_what_the_map_depends_on_makes_another_one(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(name: str = "hed", **params: Any) -> int:
        before = len(runs)
        found(new_store(tmp_path), name, **params)
        return len(runs) - before

    assert [again(), again()] == [1, 0]
    assert [again(resolution=64), again(resolution=64)] == [1, 0]
    assert [again("hed | canny"), again("hed | canny"), again("hed | canny", low_threshold=7)] == [2, 0, 2]
    changed = stripes()
    changed.putpixel((3, 3), (1, 2, 3))
    assert [again(image=changed), again(image=changed)] == [1, 0]
    write_hed(tmp_path, 1)
    assert [again(), again()] == [1, 0], "other weights"
    monkeypatch.setattr(disk_maps, "code", lambda: "newer")
    assert [again(), again()] == [1, 0], "other code"


def test_nothing_is_kept_without_a_limit_or_without_a_detection(tmp_path: Path) -> None:
    found(ModelStore([tmp_path / "models"], 1 << 30), "hed")
    for name in ("none", "invert", "tile_resample", "recolor_luminance"):
        found(new_store(tmp_path), name)
    assert not list(tmp_path.rglob("*.png"))
    assert disk_cache.map_cache(0) is None


def test_maps_of_unknown_weights_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NetworkPreprocessor, "weight_files", Preprocessor.weight_files)
    found(new_store(tmp_path), "hed")
    assert not list((tmp_path / "maps").rglob("*.png"))


def test_a_map_that_is_no_picture_is_made_again(tmp_path: Path, runs: list[str]) -> None:
    store = new_store(tmp_path)
    first = found(store, "hed")
    assert store.disk is not None
    (kept,) = store.disk.files()
    store.disk.put(kept.path.stem, b"whole, but no picture")
    assert found(new_store(tmp_path), "hed").tobytes() == first.tobytes()
    assert len(runs) == 2


def test_poses_are_kept_with_their_maps() -> None:
    pose = pose_of(document())
    whole = Detection(stripes(), pose)
    again = disk_maps.decoded(disk_maps.encoded(whole))
    assert again.pose == pose
    assert again.map.tobytes() == whole.map.tobytes()
    assert disk_maps.decoded(disk_maps.encoded(replace(whole, pose=None))).pose is None


def test_units_use_the_maps_of_detections_and_of_each_other(tmp_path: Path, runs: list[str]) -> None:
    state = files.controlnet().state_dict()
    torch.save(state, tmp_path / "models" / "net.pth")
    body = {"model": "net", "image": files.data_url(64, 64), "preprocessor": "canny"}

    def shown(**fields: Any) -> bytes:
        units = parse_request({"units": [{**body, **fields}]}).units
        (unit,) = load_units(units, Target(store=new_store(tmp_path), shape=files.shape()))
        assert isinstance(unit.control, MappedControl)
        return unit.control.control_map(64, 64).tobytes()

    first = found(new_store(tmp_path), "canny", files.picture(64, 64)).tobytes()
    assert [shown(), shown()] == [first, first]
    assert len(runs) == 1
    shown(image=files.data_url(64, 64, seed=1))
    shown(image=files.data_url(40, 64))
    assert len(runs) == 3


@pytest.mark.parametrize("given", ["option", "variable"])
def test_the_command_keeps_maps_if_it_is_allowed(
    given: str, tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    stripes().save(tmp_path / "a.png")
    command = ["detect", "hed", str(tmp_path / "a.png"), "--models", str(tmp_path / "models")]
    command += ["--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    assert not (tmp_path / "own" / "maps").exists()
    if given == "option":
        command += ["--map-cache", "0.001"]
    else:
        monkeypatch.setenv("CTRLGEN_MAP_CACHE", "0.001")
    for _ in range(2):
        assert cli.main(command) == 0
    assert len(runs) == 2
    assert len(list((tmp_path / "own" / "maps").rglob("*.png"))) == 1
    capsys.readouterr()
    monkeypatch.setenv("CTRLGEN_MAP_CACHE", "much")
    assert "CTRLGEN_MAP_CACHE is a size in GB" in fails(command[:7], capsys)
