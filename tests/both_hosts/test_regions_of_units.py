"""Masks of units: regions side by side, and feathered edges against a Gaussian."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.images.canvas import Frame, feathered
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.attention import level_size
from tests.support.acting_units import TOLERANCE, WAYS, controlled, half
from tests.support.networks import (
    NoiseControl,
    Script,
    TokenControl,
    active,
    random_call,
)
from tests.support.unet_calls import (
    RESIDUAL_CHANNELS,
    RESIDUAL_SIZES,
    port_of,
    relative_error,
    run,
)


def thirds() -> list[Image.Image]:
    """Three columns of 24, 16 and 24 pixels."""
    masks = []
    for start, end in ((0, 24), (24, 40), (40, 64)):
        masks.append(Image.new("L", (64, 64)))
        masks[-1].paste(255, (start, 0, end, 64))
    return masks


@pytest.mark.parametrize("feather", [0, 6])
def test_three_regions_with_units_of_their_own_are_the_formula(unet: Any, feather: float) -> None:
    """R_k = sum_u s_u,k out_u,k mask_u, on the residuals themselves."""
    controls = [NoiseControl(RESIDUAL_CHANNELS, RESIDUAL_SIZES, seed) for seed in (1, 2, 3)]
    settings: list[dict[str, Any]] = [
        {"weight": 0.5},
        {"weight": 1.5, "mask_strength": 0.75},
        {"control_mode": "prompt"},
    ]
    units = [
        active(control, k, mask, mask_feather=feather, **own)
        for k, (control, mask, own) in enumerate(zip(controls, thirds(), settings, strict=True))
    ]
    call = random_call("c0 u0", 8)
    soft = [0.825 ** (12 - k) for k in range(13)]
    layers = [
        torch.zeros(2, channels, *size)
        for channels, size in zip(RESIDUAL_CHANNELS, RESIDUAL_SIZES, strict=True)
    ]
    weights = ([0.5] * 13, [1.5] * 13, soft)
    for control, mask, by, strength in zip(controls, thirds(), weights, (1, 0.75, 1), strict=True):
        pixels = np.asarray(mask, np.float64) / 255
        if feather:
            pixels = gaussian(pixels, feather)
        cells = torch.from_numpy(1 - strength * (1 - pixels))[None, None]
        for k, (layer, raw) in enumerate(zip(layers, control.raw(2).layers, strict=True)):
            layer.add_(by[k] * raw * functional.adaptive_avg_pool2d(cells, layer.shape[-2:]).float())
    wanted = NoiseControl(RESIDUAL_CHANNELS, RESIDUAL_SIZES, 0)
    wanted.raw = lambda batch: type(controls[0].raw(1))(tuple(layers[:-1]), layers[-1])  # type: ignore[method-assign]
    assert (
        relative_error(controlled(unet, units, call), controlled(unet, [active(wanted)], call)) <= TOLERANCE
    )


def gaussian(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """A dense convolution with the normalised Gaussian as far as four sigmas, the border repeated."""
    reach = int(np.ceil(4 * sigma))
    at = np.arange(-reach, reach + 1)
    kernel = np.exp(-(at**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        around = [(0, 0), (0, 0)]
        around[axis] = (reach, reach)
        padded = np.pad(pixels, around, mode="edge")
        pixels = np.apply_along_axis(lambda line: np.convolve(line, kernel, "valid"), axis, padded)
    return pixels


def test_the_feather_is_a_gaussian_of_its_sigma() -> None:
    pixels = np.asarray(half(True), np.float32) / 255
    assert np.abs(feathered(pixels, 5.0) - gaussian(pixels, 5.0)).max() < 1e-5


@pytest.mark.parametrize("mode", ["just_resize", "crop_and_resize", "resize_and_fill"])
@pytest.mark.parametrize("feather", [0, 3, 40.5])
def test_masks_that_complete_each_other_stay_so(mode: Any, feather: float) -> None:
    rng = np.random.default_rng(1)
    one = Image.fromarray(rng.integers(0, 256, (37, 51), dtype=np.uint8))
    other = one.point(lambda value: 255 - value)
    for size in ((64, 48), (16, 24), (51, 37)):
        total = sum(Frame(mode).mask(mask, *size, feather) for mask in (one, other))
        assert np.abs(total - 1).max() < 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_acting_feathers_alike(unet: Any, way: str) -> None:
    """The same control on both sides of a soft border is the control without masks; on one side it is not."""
    control = WAYS[way](1)
    sides = [active(control, k, half(k == 0), mask_feather=10) for k in range(2)]
    call = random_call("c0 u0", 9)
    with torch.no_grad():
        plain = run(unet, call)
    whole = controlled(unet, [active(control)], call)
    assert relative_error(controlled(unet, sides, call), whole) <= 1e-4
    hard = controlled(unet, [active(control, 0, half(True))], call)
    soft = controlled(unet, sides[:1], call)
    weak = controlled(unet, [active(control, 0, half(True), mask_strength=0)], call)
    assert min(relative_error(soft, whole), relative_error(soft, hard), relative_error(soft, plain)) > 1e-3
    assert relative_error(weak, whole) <= TOLERANCE


def test_a_feathered_mask_on_attention_is_the_dense_formula(unet: Any) -> None:
    """Each layer's term times the mask's mean over the pixels of each of its tokens."""
    unit = active(TokenControl(1), 0, half(True), mask_feather=6)
    call = random_call("c0", 10)
    seen: list[tuple[Tensor, Tensor]] = []
    sites = port_of(unet).attention_sites()
    plain: dict[str, Tensor] = {}
    with torch.no_grad():
        hook = sites[0].to_out.register_forward_pre_hook(lambda _m, args: plain.update(out=args[0]))
        query = sites[0].to_q.register_forward_hook(lambda _m, _a, out: plain.update(query=out))
        run(unet, call)
        hook.remove()
        query.remove()

    class Spy:
        def __call__(self, _module: Any, args: tuple[Tensor, ...]) -> None:
            seen.append((args[0], plain["query"]))

    with torch.no_grad(), ControlSession(port_of(unet), [unit], Script(4, [(0, call.rows)])):
        spy = sites[0].to_out.register_forward_pre_hook(Spy())
        run(unet, call)
        spy.remove()
    found, query_rows = seen[0]
    pair = TokenControl(1).pair(0, sites[0].hidden)
    heads = sites[0].heads
    q, k, v = (
        t.reshape(1, t.shape[1], heads, -1).transpose(1, 2)
        for t in (query_rows, pair.keys[1:], pair.values[1:])
    )
    mixed = (torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v).transpose(1, 2).reshape(found.shape)
    pixels = torch.from_numpy(gaussian(np.asarray(half(True), np.float64) / 255, 6))[None, None]
    tokens = functional.adaptive_avg_pool2d(pixels, level_size(found.shape[1], (8, 8))).reshape(1, -1, 1)
    assert relative_error(found, plain["out"] + mixed * tokens.float()) <= TOLERANCE
