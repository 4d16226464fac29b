"""Depth merged from several sizes: the search for sizes and areas, and the map of `depth_leres++`."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import depth_merging, preprocessor
from lib_ctrlgen.preprocessors.isolated.terms import Terms, under
from lib_ctrlgen.preprocessors.network import Map, Pixels, padded
from tests.support.fake_detectors import FILES, forget_package, stripes, write_package

MERGING = """
import torch
from torch import nn

class UnetGenerator(nn.Module):
    def __init__(self, input_nc, output_nc, num_downs, ngf, norm_layer):
        super().__init__()
        assert num_downs == 10 and ngf == 64 and isinstance(norm_layer(4), nn.Identity)
        self.model = nn.Conv2d(input_nc, output_nc, 1)

    def forward(self, x):
        assert x.shape[2:] == (1024, 1024) and abs(x).max() == 1
        return torch.tanh(self.model(x))
"""
DEPTH = {"weight": torch.tensor([0.3, -0.1, 0.5]).view(1, 3, 1, 1), "bias": torch.tensor([2.0])}
MERGE = {"weight": torch.tensor([0.4, 0.9]).view(1, 2, 1, 1), "bias": torch.tensor([0.2])}
CORNER = np.s_[:24, :24]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """A store with the weights of both networks, beside a package with networks of one convolution."""
    write_package(tmp_path, {**FILES, "leres/pix2pix/models/networks.py": MERGING})
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_package()
    models = tmp_path / "models"
    models.mkdir()
    depth = {f"module.decoder.{key}": value for key, value in DEPTH.items()}
    torch.save({"depth_model": depth}, models / "res101.pth")
    torch.save({f"model.{key}": value for key, value in MERGE.items()}, models / "latest_net_G.pth")
    yield ModelStore([models], 1 << 30)
    forget_package()


def at(values: Tensor, height: int, width: int, mode: str = "bicubic") -> Tensor:
    """Values [C, h, w] at another size."""
    return functional.interpolate(values[None], (height, width), mode=mode)[0]


def shares(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize(("near", "background"), [(0.0, 0.0), (20.0, 40.0)])
def test_the_map_of_a_small_picture(near: float, background: float, store: ModelStore) -> None:
    """A picture of 128 x 64 pixels is seen at 448 x 448 alone, and no area has more detail."""
    image = stripes()
    pixels = torch.from_numpy(padded(np.array(image))).permute(2, 0, 1).double().flip(0)
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen = (at(pixels, 448, 448, "bilinear").round() - mean[:, None, None]) / spread[:, None, None]
    depth = (seen * DEPTH["weight"][0]).sum(0, keepdim=True) + DEPTH["bias"]
    given = shares(at(at(depth, 64, 128), 1024, 1024)) * 2 - 1
    merged = (given * MERGE["weight"].sum() + MERGE["bias"]).tanh()
    levels = torch.round(shares(at(shares(merged), 64, 128)) * 255)
    levels = 255 - levels * (levels > int(near * 2.55))
    wanted = (levels * (levels > int(background * 2.55)))[0, :50, :70].numpy()
    made = preprocessor("depth_leres++").with_store(store)
    found = np.asarray(made(image, remove_near=near, remove_background=background), float)
    assert (np.abs(found - wanted[..., None]).max(axis=2) <= 2).mean() > 0.99
    assert found.std() > 20


def test_it_needs_both_files_and_can_be_cancelled(store: ModelStore) -> None:
    made = preprocessor("depth_leres++").with_store(store)
    assert [path.name for path in made.weight_files() or ()] == ["res101.pth", "latest_net_G.pth"]
    with (
        under(Terms(cancelled=lambda: True)),
        pytest.raises(HostError, match=r"depth_leres\+\+ was cancelled"),
    ):
        made(stripes())
    (store.roots[0] / "latest_net_G.pth").unlink()
    with pytest.raises(ModelError, match=r"weights latest_net_G\.pth \(merges depths"):
        preprocessor("depth_leres++").with_store(ModelStore(store.roots, 1 << 30))(stripes())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All sizes in pixels are an eighth of the real ones."""
    for name, value in {"FIELD": 56, "MERGED": 128, "LARGEST": 200, "CELL": 4}.items():
        monkeypatch.setattr(depth_merging, name, value)


def corner(height: int = 64, width: int = 80) -> Pixels:
    """A picture with soft brightness and a checkerboard in a corner."""
    rows, columns = np.mgrid[:height, :width]
    grey = (rows + columns).astype(np.uint8)
    grey[CORNER] += (rows + columns)[CORNER].astype(np.uint8) // 4 % 2 * 60
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.usefixtures("small")
def test_the_large_size_has_edges_near_most_pixels() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)
    sizes = [depth_merging.large_size(pixels) for pixels in (corner(), noise, corner(16, 16))]
    assert [size for size, _near in sizes] == [56, 196, 56]
    assert sizes[0][1] < 0.5 < sizes[1][1], "the share of pixels near edges"


@pytest.mark.usefixtures("small")
def test_areas_have_more_edges_than_the_picture_and_cannot_grow() -> None:
    pixels = np.asarray(cv2.resize(corner(), (320, 256), interpolation=cv2.INTER_CUBIC), np.uint8)
    edges = depth_merging.gradients(pixels)
    edges[edges < edges[edges > 0].mean()] = 0
    found = list(depth_merging.areas(pixels, 10))
    assert found

    def density(area: depth_merging.Area) -> float:
        if min(area.x, area.y) < 0 or area.x + area.side > 320 or area.y + area.side > 256:
            return -1.0
        return float(edges[area.y : area.y + area.side, area.x : area.x + area.side].mean())

    for area in found:
        assert area.side >= 112
        assert density(area) >= edges.mean() > density(area.grown(10))


@pytest.mark.usefixtures("small")
def test_an_area_gets_the_detail_that_the_network_sees_in_it_alone() -> None:
    """The network sees the picture without detail, except at the size that areas have."""
    sides: list[int] = []

    def depth(pixels: Pixels, side: int) -> Map:
        sides.append(side)
        grey = pixels.mean(axis=2).astype(np.float32)
        return grey if side == 112 else np.asarray(cv2.GaussianBlur(grey, (0, 0), 4), np.float32)

    def sharp(consistent: Map, detailed: Map) -> Map:
        assert consistent.shape == detailed.shape == (128, 128)
        return np.asarray((detailed + 1) / 2, np.float32)

    pixels = corner()
    found = depth_merging.detailed_depth(pixels, depth_merging.Networks(depth, sharp))
    assert sides[:2] == [56, 56], "of the whole picture"
    assert set(sides[2::2]) == {56}
    assert set(sides[3::2]) == {112}
    grey = pixels.mean(axis=2)
    soft = np.asarray(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 4), float)
    base = (soft - soft.min()) / (soft.max() - soft.min())
    assert np.abs(found - base)[-8:, -8:].max() < 0.02, "outside of areas nothing changes"
    detail = np.s_[8:20, 8:20]
    fine, coarse = (
        (each - cv2.GaussianBlur(each, (0, 0), 4))[detail] for each in (found.astype(float), base)
    )
    alike = [np.corrcoef(each.ravel(), (grey - soft)[detail].ravel())[0, 1] for each in (fine, coarse)]
    assert alike[0] > 0.8, "the detail of the picture"
    assert alike[1] < 0.3, "which the depth of the whole picture does not have"


def test_a_mask_is_whole_in_the_middle_and_nothing_at_the_ends() -> None:
    mask = depth_merging.mask_of(101)
    assert mask[0] == mask[-1] == 0
    assert mask[40:61].min() == pytest.approx(1)
    assert np.allclose(mask, mask[::-1], atol=1e-3)
    assert mask[15] == pytest.approx(0.5, abs=0.05), "half at the border of 15 percent"
