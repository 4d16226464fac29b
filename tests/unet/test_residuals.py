"""Residuals: of a few layers only, and of wrong sizes."""

import pytest
import torch

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.residuals import Residuals
from tests.support import networks
from tests.support.networks import Script, active, random_call
from tests.support.unet_calls import port_of, run

SIZES = ((4, 8, 8), (8, 4, 4), (8, 4, 4))


def test_of_a_few_layers_the_others_are_zero() -> None:
    given = torch.randn(2, 8, 4, 4)
    found = Residuals.only({1: given}, SIZES)
    assert [tuple(layer.shape[1:]) for layer in found.layers] == list(SIZES)
    assert torch.equal(found.layers[1], given)
    assert not found.down[0].any()
    assert not found.mid.any()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({}, "no layer"),
        ({0: torch.zeros(2, 4, 1, 1)}, r"residual 0 is \[2, 4, 1, 1\], and the U-Net takes \[2, 4, 8, 8\]"),
        ({2: torch.zeros(2, 4, 4, 4)}, r"residual 2 is \[2, 4, 4, 4\]"),
    ],
)
def test_wrong_sizes_are_refused(layers: dict[int, torch.Tensor], message: str) -> None:
    with pytest.raises(HostError, match=message):
        Residuals.only(layers, SIZES)


@pytest.mark.parametrize("height", [8, 9])
def test_sizes_are_those_of_the_unet(height: int) -> None:
    """Whatever the latent's size: with residuals of zeros the prediction is the plain one."""
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    unet, call = networks.ldm_unet(), random_call("c0 u0", 2, (8, 8))
    sizes = port_of(unet).shape.residual_sizes(height, 12)
    assert sizes[0] == (32, height, 12)
    assert sizes[-1] == (64, (height + 7) // 8, 2)
    if height == 8:
        seen = []
        for block in (*unet.input_blocks, unet.middle_block):
            block.register_forward_hook(lambda _m, _a, output: seen.append(tuple(output.shape[1:])))
        run(unet, call)
        assert tuple(seen) == port_of(unet).shape.residual_sizes(8, 8)


def test_a_control_with_residuals_of_one_place_stops_the_call() -> None:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    unet, call = networks.ldm_unet(), random_call("c0 u0", 2)
    channels = port_of(unet).shape.residual_channels
    control = networks.NoiseControl(channels, [(1, 1)] * len(channels), 1)
    with (
        ControlSession(port_of(unet), [active(control)], Script(1, [(0, call.rows)])),
        pytest.raises(HostError, match=r"\$\.units\[0\]: residual 0 is \[2, 32, 1, 1\]"),
    ):
        run(unet, call)
