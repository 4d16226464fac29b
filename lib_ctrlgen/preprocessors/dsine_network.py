"""The network of `normal_dsine`, in the layout of dsine.pt.

Bae and Davison 2024, Rethinking Inductive Biases for Surface Normal Estimation. A decoder predicts normals at
an eighth of the size from an EfficientNet's features and the rays of a camera. Then a recurrent unit refines
them: in each iteration a pixel's normal becomes the weighted mean of its neighbours' normals, each rotated
about an axis in the neighbour's surface. Weighted means of 3 x 3 normals enlarge the result.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import Tensors
from .packages import building, detector_file, own_modules

ENCODER = "normalbae.nets.submodules.encoder"
EIGHTH, SIXTEENTH, LAST = (
    6,
    8,
    11,
)  # places among the encoder's features; the last ones have 1 / 32 of the size
COARSE = 8  # how much smaller the refined normals are than the picture
GROUPS = 8  # of the group normalisation
ANGLE = 0.01  # the least cosine between a normal and the ray that sees it
SMALLEST = 1e-8  # the least divisor of a change of depth


class StandardisedConv(nn.Conv2d):
    """A convolution whose weights have mean 0 and deviation 1 for each output channel (Qiao et al. 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] in and out."""
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        spread = centred.flatten(1).std(1).view(-1, 1, 1, 1) + 1e-5
        return functional.conv2d(x, centred / spread, self.bias, padding=1)


class Joining(nn.Module):
    """Enlarges features to the size of others and convolves both twice."""

    def __init__(self, cin: int, out: int) -> None:
        super().__init__()
        self._net = nn.Sequential(
            StandardisedConv(cin, out, 3),
            nn.GroupNorm(GROUPS, out),
            nn.LeakyReLU(),
            StandardisedConv(out, out, 3),
            nn.GroupNorm(GROUPS, out),
            nn.LeakyReLU(),
        )

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """[B, C, h, w] of any size and [B, D, H, W] in, [B, E, H, W] out."""
        large = functional.interpolate(x, others[0].shape[2:], mode="bilinear", align_corners=False)
        found: Tensor = self._net(torch.cat((large, *others), 1))
        return found


def head(tensors: Tensors, name: str) -> nn.Sequential:
    """Three convolutions of the widths that a file has under this name. Raises KeyError."""
    first, last = tensors[f"{name}.0.weight"], tensors[f"{name}.4.weight"]
    inner = first.shape[0]
    return nn.Sequential(
        nn.Conv2d(first.shape[1], inner, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(inner, inner, 1),
        nn.ReLU(),
        nn.Conv2d(inner, last.shape[0], 1),
    )


class Decoder(nn.Module):
    """The first normals, and the features and the state of the refinement, at an eighth of the size."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        width, cin = tensors["decoder.conv2.weight"].shape[:2]
        self.conv2 = nn.Conv2d(cin, width, 1)
        for name in ("up1", "up2"):
            out, cin = tensors[f"decoder.{name}._net.0.weight"].shape[:2]
            self.add_module(name, Joining(cin, out))
        for name in ("normal_head", "feature_head", "hidden_head"):
            self.add_module(name, head(tensors, f"decoder.{name}"))

    def forward(
        self, features: tuple[Tensor, Tensor, Tensor], rays: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normals [1, 3, h, w], features and state of an encoder's features and rays, the smallest first."""
        x = self.conv2(torch.cat((features[0], rays[0]), 1))
        x = self.get_submodule("up1")(x, features[1], rays[1])
        x = self.get_submodule("up2")(x, features[2], rays[2])
        x = torch.cat((x, rays[2]), 1)
        normals = functional.normalize(self.get_submodule("normal_head")(x), dim=1)
        return normals, self.get_submodule("feature_head")(x), self.get_submodule("hidden_head")(x)


class Recurrent(nn.Module):
    """A gated recurrent unit of convolutions (Cho et al. 2014; Ballas et al. 2016)."""

    def __init__(self, state: int, cin: int, kernel: int) -> None:
        super().__init__()
        for name in ("convz", "convr", "convq"):
            self.add_module(name, nn.Conv2d(state + cin, state, kernel, padding=kernel // 2))

    def forward(self, state: Tensor, x: Tensor) -> Tensor:
        """The next state [B, S, h, w]."""
        both = torch.cat((state, x), 1)
        update = self.get_submodule("convz")(both).sigmoid()
        reset = self.get_submodule("convr")(both).sigmoid()
        proposed = self.get_submodule("convq")(torch.cat((reset * state, x), 1)).tanh()
        found: Tensor = (1 - update) * state + update * proposed
        return found


class Dsine(nn.Module):
    """The encoder, the decoder and the refinement."""

    def __init__(self, encoder: nn.Module, tensors: Tensors) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = Decoder(tensors)
        state, both, kernel = tensors["gru.convz.weight"].shape[:3]
        self.kernel = kernel
        self.gru = Recurrent(state, both - state, kernel)
        for name in ("prob_head", "xy_head", "angle_head", "up_prob_head"):
            self.add_module(name, head(tensors, name))

    def forward(self, x: Tensor, centre: tuple[float, float], slope: float, iterations: int) -> Tensor:
        """Unit normals [1, 3, H, W] of RGB [1, 3, H, W] normalised as ImageNet; sides are multiples of 32.

        centre      where the camera's axis meets the picture, x and y in pixels from the upper left corner
        slope       how much a ray moves aside, for each pixel from the centre, at distance 1
        iterations  of the refinement
        """
        found = self.encoder(x)
        picked = found[LAST], found[SIXTEENTH], found[EIGHTH]
        rays = [self.rays(each, x, centre, slope) for each in picked]
        normals, features, state = self.decoder(picked, (rays[0], rays[1], rays[2]))
        normals = facing(normals, directions(rays[2]))
        features = torch.cat((features, rays[2]), 1)
        for _ in range(iterations):
            state = self.gru(state, features)
            normals = self.refined(normals, torch.cat((state, rays[2]), 1), rays[2], slope * COARSE)
        weights = self.get_submodule("up_prob_head")(torch.cat((state, rays[2]), 1))
        return functional.normalize(enlarged(normals, weights), dim=1)

    @staticmethod
    def rays(features: Tensor, x: Tensor, centre: tuple[float, float], slope: float) -> Tensor:
        """How far aside [1, 2, h, w] the rays through the centres of features' cells are at distance 1."""
        axes = []
        for side, middle in ((3, centre[0]), (2, centre[1])):
            count = features.shape[side]
            cell = x.shape[side] / count
            places = torch.arange(count, device=x.device, dtype=x.dtype) + 0.5
            axes.append((places * cell - middle) * slope)
        across, down = axes
        return torch.stack(torch.meshgrid(across, down, indexing="xy"))[None]

    def refined(self, normals: Tensor, state: Tensor, rays: Tensor, slope: float) -> Tensor:
        """Normals [1, 3, h, w] after one iteration."""
        chance = self.get_submodule("prob_head")(state).sigmoid()[:, None]
        aside = torch.stack(self.get_submodule("xy_head")(state).chunk(2, 1), 1)
        angle = self.get_submodule("angle_head")(state).sigmoid()[:, None] * torch.pi
        near = neighbours(normals, self.kernel)
        moved = functional.normalize(aside, dim=1) * slope
        axes = surface_axes(near, moved, neighbours(rays, self.kernel))
        turned = functional.normalize(rotated(near, axes, angle), dim=1)
        turned = facing(turned, directions(rays)[:, :, None])
        return functional.normalize((chance * turned).sum(2), dim=1)


def directions(rays: Tensor) -> Tensor:
    """Unit vectors [1, 3, h, w] of rays [1, 2, h, w]."""
    return functional.normalize(torch.cat((rays, torch.ones_like(rays[:, :1])), 1), dim=1)


def facing(normals: Tensor, rays: Tensor) -> Tensor:
    """Unit normals with a cosine of at least `ANGLE` to the unit rays that see them; both [1, 3, ...]."""
    cosine = functional.cosine_similarity(normals, rays, dim=1)[:, None]
    return functional.normalize(normals + rays * (cosine.clamp(min=ANGLE) - cosine), dim=1)


def neighbours(x: Tensor, kernel: int) -> Tensor:
    """The values [1, C, kernel * kernel, h, w] around each pixel of [1, C, h, w]; edges are repeated."""
    height, width = x.shape[2:]
    wide = functional.pad(x, (kernel // 2,) * 4, mode="replicate")
    return functional.unfold(wide, kernel).view(1, x.shape[1], kernel**2, height, width)


def surface_axes(normals: Tensor, aside: Tensor, rays: Tensor) -> Tensor:
    """Unit axes [1, 3, n, h, w] in the surfaces with these normals, in the directions `aside` in the picture.

    `aside` [1, 2, n, h, w] and `rays` [1, 2, n, h, w] are at distance 1. An axis that is not defined is 0.
    """
    moved = rays + aside
    divisor = (moved * normals[:, :2]).sum(1, keepdim=True) + normals[:, 2:]
    divisor = torch.where(divisor.abs() < SMALLEST, SMALLEST * divisor.sign(), divisor)
    nearer = -(aside * normals[:, :2]).sum(1, keepdim=True) / divisor
    axes = functional.normalize(torch.cat((aside + nearer * moved, nearer), 1), dim=1)
    return torch.where(axes.isfinite().all(1, keepdim=True), axes, torch.zeros_like(axes))


def rotated(vectors: Tensor, axes: Tensor, angle: Tensor) -> Tensor:
    """Vectors [1, 3, ...] rotated about unit axes by angles in radians (Rodrigues's formula).

    An axis of 0 rotates nothing.
    """
    once = torch.cross(axes, vectors, dim=1)
    return vectors + angle.sin() * once + (1 - angle.cos()) * torch.cross(axes, once, dim=1)


def enlarged(x: Tensor, weights: Tensor) -> Tensor:
    """[1, C, h, w] enlarged by `COARSE`: each pixel is a weighted mean of the 3 x 3 around it.

    `weights` [1, 9 * COARSE * COARSE, h, w] are logits (Teed and Deng 2020, RAFT).
    """
    height, width = x.shape[2:]
    shares = weights.view(1, 1, 9, COARSE, COARSE, height, width).softmax(2)
    found = (shares * neighbours(x, 3)[:, :, :, None, None]).sum(2)
    return found.permute(0, 1, 4, 2, 5, 3).reshape(1, x.shape[1], height * COARSE, width * COARSE)


def dsine_encoder() -> nn.Module:
    """EfficientNet B5 (Tan and Le 2019), which returns the list of its features."""
    file = detector_file(ENCODER)
    with building(ENCODER), own_modules("geffnet", "hubconf"), redirect_stdout(io.StringIO()):
        encoder: nn.Module = file.Encoder()
    return encoder


def dsine_network(tensors: Tensors) -> nn.Module:
    """The network of a file's tensors, from which all widths but the encoder's are read. Raises KeyError."""
    return Dsine(dsine_encoder(), tensors)
