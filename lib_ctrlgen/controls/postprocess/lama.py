"""LaMa: a network that fills the holes of a picture.

Suvorov et al. 2022, Resolution-robust Large Mask Inpainting with Fourier Convolutions; Chi, Jiang and Mu
2020, Fast Fourier Convolution. The layout of the network is that of big-lama; its widths and its depth are
read from the file's tensors. TorchScript files are refused, because they contain code.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.errors import ModelError, at_path
from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.offload import lent
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.models.weights import find_weights
from lib_ctrlgen.request.names import last_part, listed

NAMES = ("controlnetlama", "big-lama", "lama")
SIDE = 256  # pixels, the short side of the pictures that the network gets
CELL = 8
GLOBAL = 0.75  # the share of the channels that belong to the global part
PUBLISHED = "ControlNetLama.pth"

Pair: TypeAlias = tuple[Tensor, Tensor | None]  # the local and the global part of a hidden state


class FourierUnit(nn.Module):
    """A 1x1 convolution on the real and imaginary parts of the Fourier spectrum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_layer = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] in and out."""
        spectrum = torch.fft.rfft2(x, norm="ortho")
        parts = torch.view_as_real(spectrum).movedim(-1, 2).flatten(1, 2)
        parts = functional.relu(self.bn(self.conv_layer(parts)))
        paired = parts.view(len(x), -1, 2, *parts.shape[2:]).movedim(2, -1).contiguous()
        found: Tensor = torch.fft.irfft2(torch.view_as_complex(paired), s=x.shape[-2:], norm="ortho")
        return found


class Spectral(nn.Module):
    """The path from the global part to the global part, with a `FourierUnit` on half of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Sequential(
            nn.Conv2d(channels, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True)
        )
        self.fu = FourierUnit(half)
        self.conv2 = nn.Conv2d(half, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] in and out."""
        inner = self.conv1(x)
        found: Tensor = self.conv2(inner + self.fu(inner))
        return found


class FourierConv(nn.Module):
    """Convolutions between the local and global parts of the input and those of the output.

    `cin` and `out` are the channels of the local and of the global part.
    """

    def __init__(self, cin: tuple[int, int], out: tuple[int, int], kernel: int, stride: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 if kernel < 7 else 0

        def conv(come: int, go: int) -> nn.Conv2d | None:
            shape: dict[str, Any] = {"stride": stride, "padding": padding, "padding_mode": "reflect"}
            return nn.Conv2d(come, go, kernel, bias=False, **shape) if come and go else None

        self.convl2l: Any = conv(cin[0], out[0])
        self.convl2g = conv(cin[0], out[1])
        self.convg2l = conv(cin[1], out[0])
        self.convg2g = Spectral(cin[1]) if cin[1] and out[1] else None

    def forward(self, x: Pair) -> Pair:
        """Return the new local and global parts."""
        local, whole = x
        to_local: Tensor = self.convl2l(local)
        to_whole: Tensor | None = None if self.convl2g is None else self.convl2g(local)
        if whole is not None and self.convg2l is not None and self.convg2g is not None:
            to_local = to_local + self.convg2l(whole)
            to_whole = to_whole + self.convg2g(whole)
        return to_local, to_whole


class FourierLayer(nn.Module):
    """A `FourierConv` with batch normalisation and ReLU."""

    def __init__(self, cin: tuple[int, int], out: tuple[int, int], kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.ffc = FourierConv(cin, out, kernel, stride)
        self.bn_l = nn.BatchNorm2d(out[0])
        self.bn_g = nn.BatchNorm2d(out[1]) if out[1] else None

    def forward(self, x: Pair) -> Pair:
        """Return the new local and global parts."""
        local, whole = self.ffc(x)
        cut = None if self.bn_g is None else functional.relu(self.bn_g(whole))
        return functional.relu(self.bn_l(local)), cut


class FourierBlock(nn.Module):
    """A residual block of two Fourier layers."""

    def __init__(self, channels: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = FourierLayer(channels, channels)
        self.conv2 = FourierLayer(channels, channels)

    def forward(self, x: Pair) -> Pair:
        """Return the new local and global parts."""
        local, whole = self.conv2(self.conv1(x))
        return x[0] + local, x[1] + whole


class Start(nn.Module):
    """Pads the input, which becomes the local part; there is no global part yet."""

    def forward(self, x: Tensor) -> Pair:
        """Return [B, C, h + 6, w + 6] with three mirrored pixels on each side, and None."""
        return functional.pad(x, (3,) * 4, mode="reflect"), None


class Join(nn.Module):
    """Concatenates the local and the global part."""

    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        """Return one tensor [B, C, h, w]."""
        return torch.cat(x, 1)


class LamaNetwork(nn.Module):
    """Three layers that halve the size, `blocks` residual blocks, and three that double it.

    `width` is the number of channels at full size.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        middle = width * CELL
        whole = int(middle * GLOBAL)
        deep = middle - whole, whole
        self.model = nn.Sequential(
            Start(),
            FourierLayer((4, 0), (width, 0), 7),
            FourierLayer((width, 0), (2 * width, 0), stride=2),
            FourierLayer((2 * width, 0), (4 * width, 0), stride=2),
            FourierLayer((4 * width, 0), deep, stride=2),
            *(FourierBlock(deep) for _ in range(blocks)),
            Join(),
            *(part for level in (8, 4, 2) for part in _larger(level * width)),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, 3, 7),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the filled picture [B, 3, H, W] in 0..1.

        `x` [B, 4, H, W] is the picture with 0 in its holes, and a channel that is 1 in holes and 0 elsewhere.
        """
        found: Tensor = self.model(x)
        return found


def _larger(channels: int) -> tuple[nn.Module, ...]:
    half = channels // 2
    grow = nn.ConvTranspose2d(channels, half, 3, stride=2, padding=1, output_padding=1)
    return grow, nn.BatchNorm2d(half), nn.ReLU()


def lama_network(tensors: Mapping[str, Tensor], name: str, device: torch.device) -> LamaNetwork:
    """The network of a file's tensors, on the device in float32. Raises ModelError if they are no LaMa."""
    prefix = "generator." if any(key.startswith("generator.") for key in tensors) else ""
    own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    first = own.get("model.1.ffc.convl2l.weight")
    blocks = sum(key.endswith(".conv1.ffc.convl2l.weight") for key in own)
    if first is None or not blocks:
        raise ModelError(f"'{name}' is no LaMa: use ControlNetLama.pth of lllyasviel/Annotators")
    with torch.device("meta"):
        network = LamaNetwork(int(first.shape[0]), blocks)
    fill(network, own, name, device, torch.float32)
    return network


@dataclass(frozen=True, kw_only=True, eq=False)
class Lama:
    """A loaded LaMa that fills the holes of pictures."""

    network: nn.Module
    device: torch.device
    origin: tuple[Hashable, ...]

    def __call__(self, picture: Image.Image, holes: NDArray[np.bool_]) -> Image.Image:
        """The picture with its holes [H, W] filled and all other pixels unchanged.

        The network gets the picture with a short side of 256 pixels.
        """
        pixels = pixels_of(picture)
        known, mask = _small(pixels, holes)
        height, width = mask.shape
        inputs = np.concatenate([known * ~mask[..., None] / 255.0, mask[..., None]], 2).astype(np.float32)
        given = torch.from_numpy(inputs).permute(2, 0, 1)[None].to(self.device)
        wide = functional.pad(given, (0, -width % CELL, 0, -height % CELL), mode="replicate")
        with (
            lent(self.network, self.device),
            torch.no_grad(),
            torch.autocast(self.device.type, enabled=False),
        ):
            made = self.network(wide)[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()
        made = np.where(mask[..., None], made * 255.0, known).astype(np.float32)
        large = cv2.resize(made, picture.size, interpolation=cv2.INTER_LINEAR)
        filled = np.rint(large).clip(0, 255).astype(np.uint8)
        return Image.fromarray(np.where(holes[..., None], filled, pixels))


def _small(pixels: NDArray[np.uint8], holes: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A picture and its holes, resized to a short side of `SIDE`; a pixel that a hole touches is a hole."""
    height, width = holes.shape
    scale = SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    mask = cv2.resize(holes.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return cv2.resize(pixels, size, interpolation=how), np.asarray(mask > 0, np.bool_)


def find_lama(target: Target, path: str) -> Lama:
    """The LaMa in the model folders. Raises RequestError at `path`, with the missing file and its folder."""
    with at_path(path):
        file = _file(target.store) or _preprocessors_file(target.store)

    home = target.placement.home

    def load_lama(path: Path) -> LamaNetwork:
        return lama_network(read_tensors(path), path.stem, home)

    with at_path(path):
        network = target.store.get(file, load_lama, home)
    return Lama(network=network, device=target.device, origin=("lama", *stamp(file)))


def _preprocessors_file(store: ModelStore) -> Path:
    """The file among the weights of preprocessors. Raises ModelError."""
    try:
        return find_weights(PUBLISHED, store.weight_folders)
    except ModelError as error:
        raise ModelError(f"{error}; or choose 'inpaint_only'") from error


def _file(store: ModelStore) -> Path | None:
    """The first of `NAMES` that exists as a file; None if none does, after searching the folders again.

    Raises ModelError if several files with different contents have this name.
    """
    for _ in range(2):
        for wanted in NAMES:
            named = [name for name in store.names() if last_part(name).lower() == wanted]
            found = {store.files.hash(path): path for path in map(store.resolve, named)}
            if len(found) > 1:
                raise ModelError(f"several files may be LaMa's: {listed(named)}; keep one of them")
            if found:
                return next(iter(found.values()))
        store.refresh()
    return None
