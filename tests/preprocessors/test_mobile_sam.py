"""Segmentation without classes: which masks remain of those that a network finds, and their colours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.isolated.terms import Terms, under
from lib_ctrlgen.preprocessors.mobile_sam import Masks, MobileSam, boxes_of, kept, painted
from tests.support.fake_detectors import forget_package, write_package
from tests.support.fake_sam import SAM_FILES

# The insides of the grey, the white and the dark area.
INSIDE = (np.s_[2:12, 52:98], np.s_[4:56, 4:40], np.s_[20:44, 54:90])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The preprocessor with a network that reads brightness, and a grid of 8 x 8 points."""
    write_package(tmp_path, SAM_FILES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(MobileSam, "side", 8)
    forget_package()
    ready: Any = preprocessor("mobile_sam").with_store(ModelStore([tmp_path / "models"], 1 << 30))
    tensors = ready.network.build({}).state_dict()
    tensors["image_encoder.patch_embed.weight"] = torch.full((1, 3, 16, 16), 1 / 768)
    tensors["image_encoder.patch_embed.bias"] = torch.zeros(1)
    (tmp_path / "models").mkdir()
    torch.save(tensors, tmp_path / "models" / "mobile_sam.pt")
    yield ready
    forget_package()


def areas() -> Image.Image:
    """A grey picture with two areas of other brightness, of which the second is smaller."""
    image = Image.new("RGB", (100, 60), (90, 90, 90))
    image.paste((220, 220, 220), (0, 0, 46, 60))
    image.paste((10, 10, 10), (50, 16, 94, 48))
    return image


def test_each_area_has_a_colour_of_its_own(made: Any) -> None:
    found = np.asarray(made(areas()))
    colours = [found[rows, columns] for rows, columns in INSIDE]
    assert all((part == part[0, 0]).all() for part in colours)
    sequence = np.random.default_rng(0).integers(0, 255, (3, 3), np.uint8).tolist()
    assert [part[0, 0].tolist() for part in colours] == sequence, "in the order of the areas' sizes"
    assert np.array_equal(found, np.asarray(made(areas()))), "the colours are always the same"


def test_a_picture_of_one_colour_is_one_mask(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MobileSam, "side", 2)
    found = np.asarray(made(Image.new("RGB", (64, 64), (90, 90, 90))))
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 1
    for size in ((1, 1), (2, 130)):
        assert made(Image.new("RGB", size)).size == size


def test_without_a_mask_the_map_is_black(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_ctrlgen.preprocessors.mobile_sam.CERTAIN", 1.0)
    assert not np.asarray(made(areas())).any()


def test_it_stops_between_two_calls_of_the_network(made: Any) -> None:
    with under(Terms(cancelled=lambda: True)), pytest.raises(HostError, match="mobile_sam was cancelled"):
        made(areas())


def test_of_masks_with_like_boxes_the_likeliest_remains() -> None:
    sides = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 6.9], [20, 0, 30, 10], [0, 0, 0, 0]]
    boxes, scores = np.array(sides, np.float32), np.array([0.9, 0.95, 0.89, 0.99, 0.9], np.float32)
    masks = Masks(bits=np.zeros((5, 1), np.uint8), boxes=boxes, scores=scores)
    # 1 hides 0 (IoU 0.9) and 2 (0.77); nothing hides the other two
    assert kept(masks) == [3, 1, 4]
    assert kept(Masks(bits=masks.bits[:0], boxes=boxes[:0], scores=masks.scores[:0])) == []


def test_boxes_and_colours_of_masks() -> None:
    masks = np.zeros((3, 5, 7), bool)
    masks[0, 1:4, 2:6] = True
    masks[2] = True
    assert boxes_of(masks).tolist() == [[2, 1, 5, 3], [0, 0, 0, 0], [0, 0, 6, 4]]
    bits = np.packbits(masks.reshape(3, -1), axis=1)
    found = painted(bits, (5, 7))
    sequence = np.random.default_rng(0).integers(0, 255, (3, 3), np.uint8)
    assert found[0, 0].tolist() == sequence[0].tolist()
    assert found[2, 3].tolist() == sequence[1].tolist(), "the smaller mask is on the larger one"
    assert not painted(bits[:0], (5, 7)).any()
