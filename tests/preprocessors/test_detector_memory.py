"""Preprocessors' networks in memory: read once, dropped when the budget is short, away between uses."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.protocols import MappedControl
from lib_ctrlgen.models.offload import lent
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.network import NetworkPreprocessor
from lib_ctrlgen.preprocessors.standalone import Detector
from lib_ctrlgen.request.detection import DetectionSettings
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.tuner.scoring.scores import adherence
from tests.support import control_files as files
from tests.support.fake_detectors import forget_package, randomised, stripes, write_package

META = torch.device("meta")
PICTURES = [files.picture(70, 50, seed) for seed in range(10)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a network for each of two preprocessors, and a ControlNet."""
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_package()
    write_package(tmp_path)
    models = tmp_path / "models"
    models.mkdir()
    for name, file in (("hed", "ControlNetHED.pth"), ("pidinet", "table5_pidinet.pth")):
        network = randomised(preprocessor(name).network.build({}))  # type: ignore[attr-defined]
        torch.save(network.state_dict(), models / file)
    torch.save(files.controlnet().state_dict(), models / "net.pth")
    yield models
    forget_package()


def detector(store: ModelStore, name: str = "hed") -> Detector:
    return Detector.of(parse_request({"preprocessor": name}, DetectionSettings), store)


def test_a_network_is_not_read_for_each_picture(folder: Path) -> None:
    store = ModelStore([folder], 1 << 30)
    found = detector(store)
    for picture in PICTURES:
        found(picture, "$.image")
    assert store.reads == 1


def test_nor_where_the_budget_is_shorter_than_the_network(folder: Path) -> None:
    store = ModelStore([folder], 0)
    with store.working_set():  # as the command and the route do
        for picture in PICTURES[:3]:
            detector(store)(picture, "$.image")
        assert store.reads == 1
    assert store.used_bytes == 0, "afterwards it is dropped"


def test_two_units_share_a_network_and_their_map(folder: Path) -> None:
    store, url = ModelStore([folder], 1 << 30), files.data_url(64, 64)
    names = ("hed", "hed_safe", "hed", "scribble_hed")
    units = [{"model": "net", "image": url, "preprocessor": name} for name in names]
    active = load_units(parse_request({"units": units}).units, Target(store=store, shape=files.shape()))
    reads = store.reads
    shown = []
    for unit in active:
        assert isinstance(unit.control, MappedControl)
        shown.append(unit.control.control_map(64, 64))
    assert store.reads == reads + 1
    assert shown[0] is shown[2]


def test_networks_share_the_budget_of_controls(folder: Path) -> None:
    control = ModelStore([folder], 1 << 30)
    target = Target(store=control, shape=files.shape())
    units = parse_request({"units": [{"model": "net", "image": files.data_url()}]}).units
    load_units(units, target)
    store = ModelStore([folder], control.used_bytes)  # as much as the control alone
    detector(store)(PICTURES[0], "$.image")
    assert store.used_bytes > 0
    load_units(units, Target(store=store, shape=files.shape()))
    assert store.used_bytes == control.used_bytes, "the network was used longest ago, so it is gone"
    reads = store.reads
    detector(store)(PICTURES[1], "$.image")
    assert store.reads == reads + 1


def test_weights_are_on_the_device_only_while_the_network_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no such device
    store = ModelStore([folder], 1 << 30)
    away: Any = preprocessor("hed").with_store(store).on(META).offloaded(away=True)
    assert isinstance(away, NetworkPreprocessor)
    for _ in range(2):
        with away.loaded(away.network) as (network,):
            assert {value.device for value in network.state_dict().values()} == {META}
        assert {value.device.type for value in network.state_dict().values()} == {"cpu"}
    assert (store.reads, store.used("meta"), store.used("cpu") > 0) == (1, 0, True)
    plain = preprocessor("hed").with_store(store)(stripes())
    cpu = preprocessor("hed").with_store(store).on("cpu").offloaded(away=True)(stripes())
    assert np.array_equal(np.asarray(plain), np.asarray(cpu))
    assert store.reads == 1, "the same weights"


def test_a_units_low_vram_reaches_its_preprocessor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.device, bool]] = []

    def noted(self: NetworkPreprocessor, image: Image.Image, **_: Any) -> Image.Image:
        seen.append((self.device, self.away))
        return image

    monkeypatch.setattr(NetworkPreprocessor, "__call__", noted)
    for asked, host in ((True, False), (False, True), (None, True), (None, False)):
        body = {"model": "net", "image": files.data_url(), "preprocessor": "hed", "low_vram": asked}
        target = Target(store=ModelStore([folder], 1 << 30), shape=files.shape(), away=host)
        (unit,) = load_units(parse_request({"units": [body]}).units, target)
        assert isinstance(unit.control, MappedControl)
        unit.control.control_map(64, 64)
    assert seen == [(torch.device("cpu"), away) for away in (True, False, True, False)]


def test_weights_that_are_shared_or_buffers_are_lent_too() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    network[1].weight = network[0].weight
    before = dict(network.named_parameters()) | dict(network.named_buffers())

    def stopped() -> None:
        with lent(network, META):
            assert network[1].weight is network[0].weight
            assert network[2].running_mean.device == META
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stopped()
    after = dict(network.named_parameters()) | dict(network.named_buffers())
    assert all(after[name] is value for name, value in before.items())
    assert network[1].weight is network[0].weight


def test_one_network_runs_at_a_time(folder: Path) -> None:
    store = ModelStore([folder], 1 << 30)
    other, done = preprocessor("pidinet").with_store(store), []
    mine: Any = preprocessor("hed").with_store(store)
    thread = Thread(target=lambda: done.append(other(stripes())))
    with mine.loaded(mine.network):
        thread.start()
        thread.join(0.2)
        assert not done
    thread.join(20)
    assert len(done) == 1


def test_adherence_uses_the_network_of_the_generation_and_one_map_for_all_cells(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    before = NetworkPreprocessor.__call__

    def noted(self: NetworkPreprocessor, image: Image.Image, **given: Any) -> Image.Image:
        seen.append((self.device.type, self.away))
        return before(self, image, **given)

    monkeypatch.setattr(NetworkPreprocessor, "__call__", noted)
    store = ModelStore([folder], 1 << 30)
    body = {"model": "net", "image": files.data_url(64, 64), "preprocessor": "hed"}
    (unit,) = parse_request({"units": [body]}).units
    for seed in range(3):
        adherence(files.picture(64, 64, seed + 5), unit, 0, store, "cpu", away=True)
    assert seen == [("cpu", True)] * 4, "three pictures, and the unit's own"
    assert store.reads == 1
