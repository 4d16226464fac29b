"""DensePose: TorchScript programs with known outputs, through to the coloured map."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models import weights as lookup
from lib_ctrlgen.models.published import named
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.densepose import WEIGHTS

PURPLE, YELLOW, BLACK = (68, 1, 84), (253, 231, 36), (0, 0, 0)  # the ends of viridis
NAMES = ("densepose", "densepose_parula")
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Program(nn.Module):
    """Two bodies in a picture that is not black: part 24 on the left half of a box, part 1 in a later box."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        count = 2 if x.float().mean() > 0 else 0
        boxes = torch.tensor([[10.0, 20.0, 50.0, 60.0], [40.0, -8.0, 72.0, 24.0]])[:count]
        coarse = torch.zeros(count, 2, 8, 8)
        coarse[:, 1, :, :4] = 1.0
        coarse[:, 0, :, 4:] = 1.0
        fine = torch.zeros(count, 25, 8, 8)
        if count > 0:
            fine[0, 24] = 1.0
            fine[1, 1] = 1.0
            coarse[1, 1] = 2.0
        return boxes, coarse, fine, fine, fine


class Wrong(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[0], x[0]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    write(tmp_path, monkeypatch, Program())
    return ModelStore([tmp_path], 1 << 20)


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, program: nn.Module) -> None:
    """Write a program, and publish its hash."""
    path = folder / WEIGHTS
    torch.jit.save(torch.jit.script(program), path)  # type: ignore[no-untyped-call]
    publish(monkeypatch, hashlib.sha256(path.read_bytes()).hexdigest())


def publish(monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    entry = named(WEIGHTS)
    assert entry is not None
    assert entry.program
    changed = msgspec.structs.replace(entry, sha256=digest)
    monkeypatch.setattr(lookup, "named", lambda _name: changed)


def colours(name: str, store: ModelStore, image: Image.Image) -> Any:
    made: Any = preprocessor(name).with_store(store)
    return np.asarray(made(image)), made.table()


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_drawn_in_their_boxes(name: str, store: ModelStore) -> None:
    pixels, table = colours(name, store, Image.new("RGB", (70, 80), "white"))
    wanted = np.zeros((80, 70), int)
    wanted[20:60, 10:30] = 24
    wanted[0:24, 40:70] = 1
    assert pixels.shape == (80, 70, 3)
    assert (pixels == table[wanted]).all()
    assert len({tuple(row) for row in table.tolist()}) == 25


def test_the_colours() -> None:
    viridis, parula = (preprocessor(name).table() for name in NAMES)  # type: ignore[attr-defined]
    np.testing.assert_allclose(viridis[[0, -1]], [PURPLE, YELLOW], atol=1)
    assert tuple(parula[0]) == BLACK
    # dark blue at the beginning, yellow at the end
    assert parula[1].argmax() == 2
    assert (parula[-1][:2] > 200).all()


@pytest.mark.parametrize(("name", "background"), [(NAMES[0], PURPLE), (NAMES[1], BLACK)])
def test_nobody_gives_the_background(name: str, background: tuple[int, int, int], store: ModelStore) -> None:
    pixels, _ = colours(name, store, Image.new("RGB", (70, 80)))
    assert (pixels == background).all()


def test_only_the_published_program_is_loaded(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (8, 8))
    publish(monkeypatch, "0" * 64)
    with pytest.raises(ModelError, match=r"is a TorchScript program.* not that of the published file"):
        preprocessor("densepose").with_store(store)(image)
    publish(monkeypatch, "")
    with pytest.raises(
        ModelError, match="loads no file of this name: densepose and densepose_parula cannot run"
    ):
        preprocessor("densepose").with_store(store)(image)


def test_without_torchvision_the_error_names_it(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"needs the package torchvision .*--no-deps torchvision"):
        preprocessor("densepose").with_store(store)(Image.new("RGB", (8, 8)))


def test_another_program_is_an_error(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store.roots[0], monkeypatch, Wrong())
    with pytest.raises(ModelError, match="is not DensePose with 24 parts: its outputs are"):
        preprocessor("densepose").with_store(store)(Image.new("RGB", (8, 8)))
    (store.roots[0] / WEIGHTS).write_bytes(b"no program")
    publish(monkeypatch, hashlib.sha256(b"no program").hexdigest())
    with pytest.raises(ModelError, match="cannot be read"):
        preprocessor("densepose").with_store(store)(Image.new("RGB", (8, 8)))
