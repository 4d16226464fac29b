"""The preprocessors that draw edges and lines with a network, against their formulas.

The networks have random weights and few channels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.manga_line import MangaLines, manga_network
from lib_ctrlgen.preprocessors.mlsd import line_ends
from lib_ctrlgen.preprocessors.network import NetworkPreprocessor
from tests.support.fake_detectors import forget_package, randomised, stripes, write_package

WIDTHS, BLOCKS = (2, 3, 4, 5, 6, 5, 4, 3, 2, 2), (2, 1, 2, 1, 2, 2, 1, 2, 1, 2)  # of a small MangaLines


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """A store with random weights for every preprocessor of this file, beside the small package."""
    write_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_package()
    yield ModelStore([tmp_path / "models"], 1 << 30)
    forget_package()


def ready(name: str, store: ModelStore, **changed: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """The preprocessor, and the weights that were written for it into the store's folder."""
    made: Any = preprocessor(name).with_store(store)
    assert isinstance(made, NetworkPreprocessor)
    network = MangaLines(WIDTHS, BLOCKS) if made.network.build is manga_network else made.network.build({})
    tensors = randomised(network).state_dict() | changed
    path = store.roots[0] / made.network.weights
    path.parent.mkdir(exist_ok=True)
    torch.save({"state_dict": {f"module.{key}": value for key, value in tensors.items()}}, path)
    return made, tensors


def inputs(image: Image.Image) -> Tensor:
    """The picture [1, 3, H, W] in 0..255, with its right and lower edge repeated to 64 and 128 pixels."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    return functional.pad(pixels, (0, -image.width % 64, 0, -image.height % 64), mode="replicate")


def grey(image: Image.Image) -> np.ndarray:
    """The values of a grey map, which has three equal channels."""
    pixels = np.asarray(image, int)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def shown(values: Tensor, image: Image.Image) -> np.ndarray:
    """A map [1, 1, H, W] in 0..1 as grey levels of the picture's size."""
    return np.floor(values[0, 0, : image.height, : image.width].numpy() * 255).clip(0, 255)


def hed_edges(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The mean of two logits of the small HED, as a probability."""
    x = (x - weights["norm"]) / 127.5 - 1
    fine = functional.conv2d(x, weights["block1.weight"], weights["block1.bias"], padding=1)
    coarse = functional.conv2d(x, weights["block2.weight"], weights["block2.bias"], stride=2)
    return torch.sigmoid((fine + functional.interpolate(coarse, x.shape[2:], mode="bilinear")) / 2)


def test_hed(store: ModelStore) -> None:
    image = stripes()
    made, weights = ready("hed", store)
    edge = hed_edges(weights, inputs(image))
    assert np.abs(grey(made(image)) - shown(edge, image)).max() <= 1
    levels = grey(preprocessor("hed_safe").with_store(store)(image))
    clear = shown((edge * 3 % 1 - 0.5).abs() < 0.49, image) > 0  # not at the border of two levels
    assert (levels == shown(torch.floor(edge * 3) / 2, image))[clear].all()
    assert {0, 127} <= set(np.unique(levels)) <= {0, 127, 255}


def test_scribbles_are_ridges_of_the_soft_edges(store: ModelStore) -> None:
    image = stripes()
    soft = grey(ready("hed", store)[0](image)).astype(float)
    found = grey(preprocessor("scribble_hed").with_store(store)(image))
    smooth = ndimage.gaussian_filter(soft, 3, mode="mirror", truncate=4)
    row = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0]])
    lines = [row, row.T, np.eye(3), np.eye(3)[::-1]]
    ridge = np.any(
        [ndimage.maximum_filter(smooth, footprint=line, mode="constant") == smooth for line in lines], axis=0
    )
    wide = ndimage.gaussian_filter(255.0 * (ridge & (smooth > 127)), 3, mode="mirror", truncate=4)
    assert set(np.unique(found)) == {0, 255}
    assert (found == 255 * (wide > 4.5)).mean() > 0.97


def test_pidinet_sees_blue_first(store: ModelStore) -> None:
    image = stripes()
    made, weights = ready("pidinet", store)
    x = inputs(image).flip(1) / 127.5 - 1
    conv = functional.conv2d(x, weights["init_block.weight"], weights["init_block.bias"], padding=1)
    edge = torch.sigmoid(conv * 4)
    assert np.abs(grey(made(image)) - shown(edge, image)).max() <= 1
    sketch = grey(preprocessor("pidinet_sketch").with_store(store)(image))
    sure = shown((edge - 0.5).abs() > 1e-3, image) > 0
    assert (sketch == shown(edge > 0.5, image))[sure].all()
    assert len(np.unique(grey(preprocessor("pidinet_safe").with_store(store)(image)))) == 3
    strokes = grey(preprocessor("pidinet_scribble").with_store(store)(image))
    assert set(np.unique(strokes)) == {0, 255}


def test_teed_and_anyline(store: ModelStore) -> None:
    image = stripes()
    made, weights = ready("softedge_teed", store)
    x = inputs(image)
    conv = functional.conv2d(x / 255, weights["block_1.weight"], weights["block_1.bias"], padding=1)
    edge = torch.sigmoid((conv + x[:, :1] / 100 - 1) / 2)
    assert np.abs(grey(made(image, safe_steps=0)) - shown(edge, image)).max() <= 1
    assert len(np.unique(grey(made(image, safe_steps=5)))) <= 6
    anyline, _ = ready("softedge_anyline", store)
    both = grey(anyline(image, safe_steps=0))
    assert (both >= grey(made(image, safe_steps=0)) - 1).all()
    assert both[10:14, 50:].mean() > both[20:30, 50:].mean() + 30, "the dark stripe is drawn on the edges"


def test_realistic_line_art_is_inverted(store: ModelStore) -> None:
    image = stripes()
    for name in ("lineart", "lineart_coarse"):
        made, weights = ready(name, store)
        x = inputs(image) / 255
        dark = torch.sigmoid(
            functional.conv2d(x, weights["model0.weight"], weights["model0.bias"], padding=1)
        )
        assert np.abs(grey(made(image)) - (255 - shown(dark, image))).max() <= 1


def test_line_art_of_anime(store: ModelStore) -> None:
    made, weights = ready("lineart_anime", store)
    red, blue = (Image.new("RGB", (70, 50), colour) for colour in ((200, 30, 30), (20, 40, 220)))
    for image in (red, blue):
        colour = torch.tensor(image.getpixel((0, 0))) / 127.5 - 1
        line = torch.tanh((weights["model.weight"].sum((2, 3)) @ colour + weights["model.bias"])[0])
        assert abs(grey(made(image))[25, 35] - (255 - (line * 127.5 + 127.5))) <= 1.5
    assert made(stripes(300, 20)).size == (300, 20)


def manga_lines(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network of `lineart_anime_denoise`, written from the published tensors' names alone."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        norm = [weights[f"{name}.0.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = functional.leaky_relu(functional.batch_norm(x, *norm, eps=1e-3), 0.2)
        kernel = weights[f"{name}.2.weight"]
        return functional.conv2d(x, kernel, weights[f"{name}.2.bias"], stride, kernel.shape[2] // 2)

    def stage(number: int, x: Tensor) -> Tensor:
        for place in range(BLOCKS[number]):
            name = f"block{number}.model.{place}"
            half = 2 if 1 <= number <= 4 and place == BLOCKS[number] - 1 else 1
            new = conv(f"{name}.conv1.model", x, half)
            if f"{name}.shortcut.model.0.weight" in weights:
                kernel, bias = (weights[f"{name}.shortcut.model.0.{part}"] for part in ("weight", "bias"))
                x = functional.conv2d(x, kernel, bias, half)
            if 5 <= number <= 8 and place == 0:
                new, x = (each.repeat_interleave(2, 2).repeat_interleave(2, 3) for each in (new, x))
            x = x + conv(f"{name}.residual.model", new)
        return x

    skips = [x := stage(number, x) for number in range(5)]
    for number in range(5, 9):
        x = stage(number, x) + skips[8 - number]
    return conv("conv15.model", stage(9, x))


def test_line_art_without_texture(store: ModelStore) -> None:
    image = stripes()
    network = MangaLines(WIDTHS, BLOCKS)
    changed = {
        key: value.abs() + 0.5
        for key, value in randomised(network).state_dict().items()
        if key.endswith("running_var")
    }
    changed |= {"conv15.model.2.weight": torch.full((1, 2, 1, 1), 40.0)}
    made, weights = ready("lineart_anime_denoise", store, **changed)
    red, green, blue = inputs(image)[0]
    brightness = torch.round(0.299 * red + 0.587 * green + 0.114 * blue)[None, None]
    wanted = (255 - manga_lines(weights, brightness))[0, 0, : image.height, : image.width].clip(0, 255)
    assert np.abs(grey(made(image)) - np.floor(wanted.numpy())).mean() < 1.5
    assert wanted.std() > 5


def test_lines_go_from_their_centre_to_their_ends() -> None:
    output = torch.full((9, 16, 20), -9.0)
    output[1:5] = 0
    output[0, 6, 8], output[1:5, 6, 8] = 3.0, torch.tensor([-4.0, -1.0, 5.0, 2.0])
    output[0, 6, 9] = 2.9  # beside a likelier centre
    output[0, 12, 3], output[1:5, 12, 3] = 0.0, torch.tensor([-1.0, 0.0, 1.0, 0.0])
    first, second = [8.0, 10.0, 26.0, 16.0], [4.0, 24.0, 8.0, 24.0]
    assert line_ends(output, 0.1, 0.1).tolist() == [first, second]
    assert line_ends(output, 0.6, 0.1).tolist() == [first]
    assert line_ends(output, 0.1, 2.5).tolist() == [first]
    assert line_ends(output, 2.0, 0.1).shape == (0, 4)


def test_straight_lines_are_drawn(store: ModelStore) -> None:
    weights = {"block23.weight": torch.zeros(9, 4, 2, 2), "block23.bias": torch.zeros(9)}
    weights["block23.weight"][0, 0] = 5  # a centre where it is red
    weights["block23.bias"][1:5] = torch.tensor([-3.0, 0.0, 3.0, 0.0])
    made, _ = ready("mlsd", store, **weights)
    image = Image.new("RGB", (70, 50))
    image.putpixel((40, 20), (255, 0, 0))
    image.putpixel((41, 21), (255, 0, 0))
    found = grey(made(image, value_threshold=0.01))
    assert np.argwhere(found).tolist() == [[20, x] for x in range(34, 47)]
    assert not grey(made(Image.new("RGB", (70, 50)))).any()


@pytest.mark.parametrize(
    "name", ["hed", "scribble_hed", "pidinet", "softedge_anyline", "mlsd", "lineart_anime"]
)
def test_odd_sizes(name: str, store: ModelStore) -> None:
    made, _ = ready(name, store)
    assert [made(Image.new("RGB", size)).size for size in ((1, 1), (9, 1), (130, 2))] == [
        (1, 1),
        (9, 1),
        (130, 2),
    ]
