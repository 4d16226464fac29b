"""Segmentation of anime faces with random weights in the layout of UNet.pth, against its formula."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from tests.support.fake_detectors import stripes

# MobileNetV2's blocks by level of the U-Net: channels in, out, how much wider inside, stride.
LEVELS = (
    ((32, 16, 1, 1),),
    ((16, 24, 6, 2), (24, 24, 6, 1)),
    ((24, 32, 6, 2), *((32, 32, 6, 1),) * 2),
    ((32, 64, 6, 2), *((64, 64, 6, 1),) * 3, (64, 96, 6, 1), *((96, 96, 6, 1),) * 2),
    ((96, 160, 6, 2), *((160, 160, 6, 1),) * 2),
)
DECODER = ((32, 7), (48, 16), (64, 24), (192, 32), (160, 96))  # channels in and out by level
COLOURS = ["ffff00", "0000ff", "ff0000", "ffffff", "00ff00", "00ffff", "ff00ff"]
GENERATOR = torch.Generator().manual_seed(7)


def convolution(key: str, norm: str, cin: int, out: int, kernel: int) -> Iterator[tuple[str, Tensor]]:
    """A convolution without bias, of `cin` channels a group, and its batch normalisation."""
    scale = (2 / (cin * kernel**2)) ** 0.5
    yield f"{key}.weight", torch.randn(out, cin, kernel, kernel, generator=GENERATOR) * scale
    yield f"{norm}.weight", torch.rand(out, generator=GENERATOR) + 0.5
    yield f"{norm}.bias", torch.randn(out, generator=GENERATOR) * 0.3
    yield f"{norm}.running_mean", torch.randn(out, generator=GENERATOR) * 0.3
    yield f"{norm}.running_var", torch.rand(out, generator=GENERATOR) + 0.5
    yield f"{norm}.num_batches_tracked", torch.tensor(3)


def layout() -> Iterator[tuple[str, Tensor]]:
    """The tensors of the published file."""
    yield from convolution("en_block0.0.0", "en_block0.0.1", 3, 32, 3)
    for level, blocks in enumerate(LEVELS):
        for number, (cin, out, wider, _stride) in enumerate(blocks):
            at = f"en_block{level}.{number + (level == 0)}.conv"
            parts = int(wider > 1)
            if parts:
                yield from convolution(f"{at}.0.0", f"{at}.0.1", cin, cin * wider, 1)
            yield from convolution(f"{at}.{parts}.0", f"{at}.{parts}.1", 1, cin * wider, 3)
            yield from convolution(f"{at}.{parts + 1}", f"{at}.{parts + 2}", cin * wider, out, 1)
    for level, (cin, out) in enumerate(DECODER):
        yield f"de_block{level}.1.weight", torch.randn(out, cin, 3, 3, generator=GENERATOR) / cin**0.5
        yield f"de_block{level}.1.bias", torch.randn(out, generator=GENERATOR)


def probabilities(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network of a picture [1, 3, H, W] in 0..1, of its tensors alone."""

    def normed(x: Tensor, key: str) -> Tensor:
        mean, var = w[f"{key}.running_mean"], w[f"{key}.running_var"]
        return functional.batch_norm(x, mean, var, w[f"{key}.weight"], w[f"{key}.bias"])

    def step(x: Tensor, key: str, kernel: int, stride: int, groups: int) -> Tensor:
        x = functional.conv2d(x, w[f"{key}.0.weight"], None, stride, kernel // 2, groups=groups)
        return normed(x, f"{key}.1").clamp(0, 6)

    skips = []
    x = step(x, "en_block0.0", 3, 2, 1)
    for level, blocks in enumerate(LEVELS):
        for number, (cin, out, wider, stride) in enumerate(blocks):
            at = f"en_block{level}.{number + (level == 0)}.conv"
            parts = int(wider > 1)
            inner = step(x, f"{at}.0", 1, 1, 1) if parts else x
            inner = step(inner, f"{at}.{parts}", 3, stride, cin * wider)
            inner = functional.conv2d(inner, w[f"{at}.{parts + 1}.weight"])
            inner = normed(inner, f"{at}.{parts + 2}")
            x = x + inner if (cin, stride) == (out, 1) else inner
        skips.append(x)
    for level in (4, 3, 2, 1, 0):
        x = functional.interpolate(x, scale_factor=2.0)
        x = functional.conv2d(x, w[f"de_block{level}.1.weight"], w[f"de_block{level}.1.bias"], padding=1)
        if level:
            x = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
            x = torch.cat([torch.maximum(x, 0.1 * x), skips[level - 1]], 1)
    return x.softmax(1)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return dict(layout())


@pytest.fixture
def store(tmp_path: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """A store with the file, where sd-webui-controlnet keeps it; the network gets a short side of 128."""
    monkeypatch.setattr("lib_ctrlgen.preprocessors.anime_face_segment.SIDE", 128)
    folder = tmp_path / "sd-webui-controlnet" / "annotator" / "downloads" / "anime_face_segment"
    folder.mkdir(parents=True)
    torch.save({f"module.{key}": value for key, value in tensors.items()}, folder / "UNet.pth")
    models = tmp_path / "sd-webui-controlnet" / "models"
    models.mkdir()
    return ModelStore([models], 1 << 30)


def test_the_likeliest_class_has_its_colour(store: ModelStore, tensors: dict[str, Tensor]) -> None:
    image = stripes(160, 128)
    found = np.asarray(preprocessor("seg_anime_face").with_store(store)(image))
    wide = np.pad(np.asarray(image), ((0, 0), (0, 32), (0, 0)), mode="edge")
    x = torch.from_numpy(wide).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        likeliest = probabilities(tensors, x)[0, :, :, :160].argmax(0).numpy()
    wanted = np.array([list(bytes.fromhex(colour)) for colour in COLOURS], np.uint8)[likeliest]
    assert (found == wanted).all(axis=2).mean() > 0.99
    assert len(np.unique(likeliest)) > 3


def test_a_map_has_the_size_of_its_picture(store: ModelStore) -> None:
    made = preprocessor("anime_face_segment").with_store(store)
    large, small = stripes(256, 192), stripes(70, 50)
    maps = [np.asarray(made(image)) for image in (large, small)]
    assert [each.shape for each in maps] == [(192, 256, 3), (50, 70, 3)]
    palette = {tuple(bytes.fromhex(colour)) for colour in COLOURS}
    assert all({tuple(colour) for colour in each.reshape(-1, 3).tolist()} <= palette for each in maps)
    assert store.reads == 1


def test_another_network_with_the_name_of_the_file_is_an_error(tmp_path: Path) -> None:
    torch.save({"inc.weight": torch.zeros(1)}, tmp_path / "UNet.pth")
    made = preprocessor("anime_face_segment").with_store(ModelStore([tmp_path], 1 << 30))
    with pytest.raises(ModelError, match=r"'UNet\.pth' does not fit its architecture: missing en_block0"):
        made(stripes())
