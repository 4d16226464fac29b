"""The preprocessors for depth and normals with networks of controlnet_aux, against their formulas."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.network import padded
from tests.support.fake_detectors import forget_package, stripes, write_package

GENERATOR = torch.Generator().manual_seed(4)
MEAN, SPREAD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
CONV = {"weight": torch.randn(1, 3, 1, 1, generator=GENERATOR), "bias": torch.randn(1, generator=GENERATOR)}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """A store without files, beside the small package."""
    write_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_package()
    (tmp_path / "models").mkdir()
    yield ModelStore([tmp_path / "models"], 1 << 30)
    forget_package()


def pixels(image: Image.Image) -> Tensor:
    """The picture [H, W, 3] in 0..255, with its right and lower edge repeated to multiples of 64."""
    return torch.from_numpy(padded(np.array(image))).double()


def mixed(values: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """A convolution of one pixel: values [H, W, 3] to [H, W, C]."""
    return values @ weights["weight"][:, :, 0, 0].T.double() + weights["bias"].double()


def shares(values: Tensor) -> Tensor:
    """Values as shares of the way from the smallest to the largest."""
    return (values - values.min()) / (values.max() - values.min())


def compare(name: str, store: ModelStore, wanted: Tensor, most: float = 1, **params: float) -> None:
    """The map of the picture of stripes is `wanted` [H, W, C], cut to the picture, in grey levels."""
    image = stripes()
    found = np.asarray(preprocessor(name).with_store(store)(image, **params), float)
    cut = np.floor(wanted[: image.height, : image.width].numpy().clip(0, 255))
    assert np.abs(found - cut).max() <= most
    assert found.std() > 20


def with_timm(monkeypatch: pytest.MonkeyPatch, store: ModelStore) -> Tensor:
    """Write weights for MiDaS, and return the inverse depth of the stripes."""
    monkeypatch.setitem(sys.modules, "fake_timm", ModuleType("fake_timm"))
    weights = {"weight": torch.randn(1, 3, 3, 3, generator=GENERATOR), "bias": torch.zeros(1)}
    names = {f"scratch.{key}": value for key, value in weights.items()}
    torch.save(names, store.roots[0] / "dpt_hybrid-midas-501f0c75.pt")
    x = (pixels(stripes()) / 127.5 - 1).permute(2, 0, 1)[None].float()
    return functional.conv2d(x, weights["weight"], weights["bias"], padding=1)[0, 0].double()


def test_midas(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = with_timm(monkeypatch, store)
    compare("depth", store, shares(depth)[..., None] * 255)
    flat = preprocessor("depth").with_store(store)(Image.new("RGB", (640, 640), (127, 127, 127)))
    assert np.asarray(flat)[100:200, 100:200].std() == 0


@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_normals_of_midas(threshold: float, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = with_timm(monkeypatch, store)
    wide = functional.pad(depth[None, None], (1, 1, 1, 1), mode="reflect")
    slope = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).double()
    right, down = functional.conv2d(wide, torch.stack([slope, slope.T])[:, None])[0]
    near = shares(depth) >= threshold
    vectors = torch.stack([torch.full_like(depth, 2 * torch.pi), down * near, right * near], 2)
    units = vectors / vectors.norm(dim=2, keepdim=True)
    compare("normal_map", store, units * 127.5 + 127.5, background_threshold=threshold)


def test_without_a_package_that_the_construction_imports(store: ModelStore) -> None:
    torch.save({"scratch.weight": torch.zeros(1)}, store.roots[0] / "dpt_hybrid-midas-501f0c75.pt")
    with pytest.raises(ModelError, match=r"needs the package fake_timm .*pip install --no-deps fake_timm"):
        preprocessor("depth").with_store(store)(stripes())


def test_normals_of_bae(store: ModelStore, capsys: pytest.CaptureFixture[str]) -> None:
    other = sys.modules["geffnet"] = ModuleType("geffnet")
    weights = {"weight": torch.randn(4, 3, 1, 1, generator=GENERATOR) / 2, "bias": torch.zeros(4)}
    file = {"model": {f"module.decoder.{key}": value for key, value in weights.items()}}
    torch.save(file, store.roots[0] / "scannet.pt")
    wanted = mixed((pixels(stripes()) / 255 - MEAN) / SPREAD, weights)[..., :3]
    compare("normal_bae", store, (wanted + 1) / 2 * 255)
    assert sys.modules.pop("geffnet") is other, "another package of the same name is left alone"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("near", "background"), [(0.0, 0.0), (20.0, 40.0)])
def test_leres(near: float, background: float, store: ModelStore) -> None:
    depth = {f"module.decoder.{key}": value for key, value in CONV.items()}
    torch.save(
        {"depth_model": depth, "shift_model": {"module.a": torch.zeros(2)}}, store.roots[0] / "res101.pth"
    )
    values = (pixels(stripes()).flip(2) - MEAN) / SPREAD
    levels = torch.round(shares(mixed(values, CONV)) * 255)
    levels = 255 - levels * (levels > int(near * 2.55))
    levels = levels * (levels > int(background * 2.55))
    params = {"remove_near": near, "remove_background": background}
    compare("depth_leres", store, levels, **params)


def test_zoe(store: ModelStore) -> None:
    core = {f"core.{key}": value for key, value in CONV.items()}
    index = {"relative_position_index": torch.zeros(9)}
    torch.save({"model": core | index}, store.roots[0] / "ZoeD_M12_N.pt")
    depth = mixed(pixels(stripes()) / 255, CONV)
    low, high = np.percentile(depth.numpy(), [2, 85])
    compare("depth_zoe", store, (1 - (depth - low) / (high - low)) * 255)
    torch.save({"model": index}, store.roots[0] / "ZoeD_M12_N.pt")
    with pytest.raises(ModelError, match=r"missing core\.weight"):
        preprocessor("depth_zoe").with_store(store)(stripes())
