"""Surface normals by DSINE with random weights in the layout of dsine.pt, against the paper's formulas."""

from collections.abc import Iterator
from math import pi, prod, radians, tan
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.network import padded
from tests.support.fake_detectors import forget_package, stripes, write_package

ENCODER = """
from torch import nn
from torch.nn import functional

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.original_model = nn.Conv2d(3, 5, 1)

    def forward(self, x):
        x = self.original_model(x)
        sides = {6: 8, 8: 16, 11: 32}
        return [functional.avg_pool2d(x, sides[n]) if n in sides else None for n in range(12)]
"""
SEEN, WIDTH, STATE, AREA = 5, 32, 4, 25  # channels of the encoder, decoder and state; neighbours of a pixel
HEADS = {
    "decoder.normal_head": (WIDTH // 4 + 2, 6, 3),
    "decoder.feature_head": (WIDTH // 4 + 2, 6, 3),
    "decoder.hidden_head": (WIDTH // 4 + 2, 6, STATE),
    "prob_head": (STATE + 2, 7, AREA),
    "xy_head": (STATE + 2, 7, 2 * AREA),
    "angle_head": (STATE + 2, 7, AREA),
    "up_prob_head": (STATE + 2, 7, 9 * 64),
}  # channels in, inside and out
GENERATOR = torch.Generator().manual_seed(5)


def layout() -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of the published file's tensors, with few channels."""
    convolutions: dict[str, tuple[int, ...]] = {
        "encoder.original_model": (SEEN, 3, 1, 1),
        "decoder.conv2": (WIDTH, SEEN + 2, 1, 1),
    }
    for name, cin, out in (("up1", WIDTH, WIDTH // 2), ("up2", WIDTH // 2, WIDTH // 4)):
        convolutions[f"decoder.{name}._net.0"] = (out, cin + SEEN + 2, 3, 3)
        convolutions[f"decoder.{name}._net.3"] = (out, out, 3, 3)
        for place in (1, 4):
            yield f"decoder.{name}._net.{place}.weight", (out,)
            yield f"decoder.{name}._net.{place}.bias", (out,)
    for name, (cin, inner, out) in HEADS.items():
        convolutions[f"{name}.0"] = (inner, cin, 3, 3)
        convolutions[f"{name}.2"] = (inner, inner, 1, 1)
        convolutions[f"{name}.4"] = (out, inner, 1, 1)
    for gate in "zrq":
        convolutions[f"gru.conv{gate}"] = (STATE, STATE + 3 + 2, 5, 5)
    for name, shape in convolutions.items():
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]


def unit(x: Tensor) -> Tensor:
    """Vectors [3, h, w] of length 1."""
    length: Tensor = torch.linalg.vector_norm(x, dim=0)
    return x / length


class Reference:
    """The network in double precision, of its tensors alone. All values are [C, h, w]."""

    def __init__(self, tensors: dict[str, Tensor], fov: float, size: tuple[int, int]) -> None:
        self.w = {key: value.double() for key, value in tensors.items()}
        self.focal = max(size) / 2 / tan(radians(fov) / 2)
        self.size = size

    def conv(self, name: str, x: Tensor) -> Tensor:
        weight = self.w[f"{name}.weight"]
        if "_net" in name:
            flat = weight.flatten(1)
            flat = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + 1e-5)
            weight = flat.view(weight.shape)
        return functional.conv2d(x[None], weight, self.w[f"{name}.bias"], padding=weight.shape[2] // 2)[0]

    def head(self, name: str, x: Tensor) -> Tensor:
        return self.conv(f"{name}.4", self.conv(f"{name}.2", self.conv(f"{name}.0", x).relu()).relu())

    def joined(self, name: str, x: Tensor, other: Tensor) -> Tensor:
        x = functional.interpolate(x[None], other.shape[1:], mode="bilinear")[0]
        x = torch.cat([x, other])
        for place in (0, 3):
            x = self.conv(f"decoder.{name}._net.{place}", x)
            scale, shift = (self.w[f"decoder.{name}._net.{place + 1}.{key}"] for key in ("weight", "bias"))
            x = functional.leaky_relu(functional.group_norm(x[None], 8, scale, shift)[0])
        return x

    def rays(self, height: int, width: int, cell: int) -> Tensor:
        """The rays [3, h, w] through the middle of each cell, at distance 1."""
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        x = ((columns + 0.5) * cell - self.size[1] / 2) / self.focal
        y = ((rows + 0.5) * cell - self.size[0] / 2) / self.focal
        return torch.stack([x, y, torch.ones_like(x)]).double()

    def seen_from(self, normals: Tensor, rays: Tensor) -> Tensor:
        rays = unit(rays)
        cosine = (normals * rays).sum(0)
        moved = normals + rays * torch.where(cosine < 0.01, 0.01 - cosine, 0.0)
        return unit(moved)

    def refined(self, normals: Tensor, state: Tensor, rays: Tensor) -> Tensor:
        """Each neighbour's normal is rotated about a line in its surface, and their weighted sum is taken."""
        height, width = normals.shape[1:]
        rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
        given = torch.cat([state, rays[:2]])
        chance, aside, angle = (self.head(f"{name}_head", given) for name in ("prob", "xy", "angle"))
        total = torch.zeros_like(normals)
        for number in range(AREA):
            row = (rows + number // 5 - 2).clamp(0, height - 1).expand(height, width)
            column = (columns + number % 5 - 2).clamp(0, width - 1).expand(height, width)
            normal, ray = normals[:, row, column], rays[:, row, column]
            step = aside[[number, AREA + number]]
            step = unit(step) * 8 / self.focal
            other = ray + torch.cat([step, torch.zeros(1, height, width)])
            # The other ray meets the neighbour's plane, which is at distance 1, at this distance.
            distance = (ray * normal).sum(0) / (other * normal).sum(0)
            axis = other * distance - ray
            turn = unit(axis) * angle[number].sigmoid() * pi
            zero = torch.zeros(height, width)
            cross = [zero, -turn[2], turn[1], turn[2], zero, -turn[0], -turn[1], turn[0], zero]
            matrix = torch.matrix_exp(torch.stack(cross, -1).view(height, width, 3, 3))
            turned = (matrix @ normal.permute(1, 2, 0)[..., None])[..., 0].permute(2, 0, 1)
            total += chance[number].sigmoid() * self.seen_from(turned, rays)
        return unit(total)

    def enlarged(self, normals: Tensor, logits: Tensor) -> Tensor:
        height, width = normals.shape[1:]
        shares = logits.view(9, 64, height, width).softmax(0)
        wide = functional.pad(normals[None], (1, 1, 1, 1), mode="replicate")[0]
        around = [wide[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
        mixed = sum(share[None] * part[:, None] for share, part in zip(shares, around, strict=True))
        large = functional.pixel_shuffle(torch.as_tensor(mixed).flatten(0, 1)[None], 8)[0]
        return unit(large)

    def __call__(self, x: Tensor, iterations: int) -> Tensor:
        x = self.conv("encoder.original_model", x)
        cells = [functional.avg_pool2d(x[None], side)[0] for side in (32, 16, 8)]
        rays = [
            self.rays(each.shape[1], each.shape[2], side)
            for each, side in zip(cells, (32, 16, 8), strict=True)
        ]
        seen = [torch.cat([each, ray[:2]]) for each, ray in zip(cells, rays, strict=True)]
        x = self.joined("up1", self.conv("decoder.conv2", seen[0]), seen[1])
        x = torch.cat([self.joined("up2", x, seen[2]), rays[2][:2]])
        normals, features, state = (
            self.head(f"decoder.{name}_head", x) for name in ("normal", "feature", "hidden")
        )
        normals = self.seen_from(unit(normals), rays[2])
        features = torch.cat([features, rays[2][:2]])
        for _ in range(iterations):
            both = torch.cat([state, features])
            update, reset = (self.conv(f"gru.conv{gate}", both).sigmoid() for gate in "zr")
            proposed = self.conv("gru.convq", torch.cat([reset * state, features])).tanh()
            state = state + update * (proposed - state)
            normals = self.refined(normals, state, rays[2])
        return self.enlarged(normals, self.head("up_prob_head", torch.cat([state, rays[2][:2]])))


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Random tensors of which no convolution changes the size of its input much."""
    return {
        key: torch.randn(shape, generator=GENERATOR) / max(1, prod(shape[1:])) ** 0.5
        for key, shape in layout()
    }


@pytest.fixture
def store(
    tmp_path: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModelStore]:
    """A store with the file, and a package with a small encoder."""
    files = {"normalbae/nets/submodules/encoder.py": ENCODER}
    write_package(tmp_path, files)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_package()
    (tmp_path / "models").mkdir()
    names = {f"module.{key}": value for key, value in tensors.items()}
    torch.save({"model": names}, tmp_path / "models" / "dsine.pt")
    yield ModelStore([tmp_path / "models"], 1 << 30)
    forget_package()


@pytest.mark.parametrize(("size", "params"), [((70, 50), {}), ((50, 100), {"fov": 100.0, "iterations": 2})])
def test_the_map_is_that_of_the_formulas(
    size: tuple[int, int], params: dict[str, float], store: ModelStore, tensors: dict[str, Tensor]
) -> None:
    image = stripes(*size)
    found = np.asarray(preprocessor("normal_dsine").with_store(store)(image, **params), float)
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((torch.from_numpy(padded(np.array(image))) / 255 - mean) / spread).permute(2, 0, 1).double()
    network = Reference(tensors, params.get("fov", 60.0), (image.height, image.width))
    normals = network(x, int(params.get("iterations", 5))).permute(1, 2, 0)
    wanted = ((normals + 1) / 2 * 255)[: image.height, : image.width].numpy()
    assert np.median(np.abs(found - np.floor(wanted))) == 0
    assert (np.abs(found - wanted) < 1.5).mean() > 0.995
    assert found.std() > 20


def test_the_field_of_view_and_the_iterations_change_the_map(store: ModelStore) -> None:
    made = preprocessor("normal_dsine").with_store(store)
    maps = [made(stripes(), **params) for params in ({}, {"fov": 0.0}, {"fov": 200.0}, {"iterations": 1})]
    assert len({each.tobytes() for each in maps}) == 4
    assert {each.size for each in maps} == {(70, 50)}
    assert store.reads == 1
