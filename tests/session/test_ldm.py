"""The session on the WebUI's own U-Nets compared with controlled forward passes that use no hooks."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from tests.support import networks
from tests.support.block_reference import (
    SD_SITES,
    XL_DEPTHS,
    XL_FEATURES,
    Reference,
    transformer_names,
    with_levels,
)
from tests.support.networks import (
    Call,
    ContextNoise,
    FeatureNoise,
    NetworkControl,
    Script,
    TokenControl,
    active,
    random_call,
)
from tests.support.pictures import mask_image
from tests.support.unet_calls import run

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
TOLERANCE = 1e-4  # other processors and batches of other sizes round otherwise


@pytest.fixture(scope="module")
def sd() -> tuple[Any, Reference]:
    unet = networks.ldm_unet()
    levels = [1, 1, 2, 2, 4, 4, 4, 4, 4, 2, 2, 2, 1, 1, 1, 8]
    return unet, with_levels(Reference(unet, transformer_names([(name, 1) for name in SD_SITES])), levels)


@pytest.fixture(scope="module")
def xl() -> tuple[Any, Reference]:
    pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    unet = networks.sgm_unet()
    depths = dict(XL_DEPTHS)
    per_block = [2, 2, 4, 4, 4, 4, 4, 2, 2, 2, 4]
    levels = [level for level, depth in zip(per_block, depths.values(), strict=True) for _ in range(depth)]
    reference = with_levels(Reference(unet, transformer_names(XL_DEPTHS)), levels)
    reference.after = XL_FEATURES
    return unet, reference


@pytest.fixture(scope="module")
def nets() -> list[NetworkControl]:
    """Three networks on hints at which they are well conditioned: on others a random network makes
    a change of 1e-7 in the hint a thousand times larger, and rounding errors with it.
    """
    hints = [torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(10 + k)) for k in (1, 2, 3)]
    return [NetworkControl(networks.controlnet(k), hint) for k, hint in zip((1, 2, 3), hints, strict=True)]


def compare(
    pair: tuple[Any, Reference], units: Sequence[ActiveUnit], steps: int, script: Sequence[tuple[int, Call]]
) -> float:
    """Run a script of (step, call) in a session and by hand; the largest difference.

    Where the largest output is more than 1, relative to it.
    """
    unet, reference = pair
    worst, effect = 0.0, 0.0
    clock = Script(steps, [(step, call.rows) for step, call in script])
    with ControlSession(LdmUNet(unet), units, clock) as open_session:
        found = [run(unet, call) for _, call in script]
        assert open_session.calls == len(script)
    for (step, call), got in zip(script, found, strict=True):
        with torch.no_grad():
            wanted = reference.forward(call, step, steps, units)
        worst = max(worst, float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1)))
        effect = max(effect, float((wanted - run(unet, call)).abs().max()))
    assert effect > 1e-2
    return worst


GUIDED = "c0 c1 u0"
Stack = Callable[[list[NetworkControl]], list[ActiveUnit]]

STACKS: dict[str, Stack] = {
    "one": lambda nets: [active(nets[0], weight=0.8)],
    "one, negative": lambda nets: [active(nets[0], weight=-0.5)],
    "three modes, scheduled": lambda nets: [
        active(nets[0], 0, weight="1>0.2"),
        active(nets[1], 1, weight="0.4@0, 1.2@0.6 hold", control_mode="prompt", guidance_start=0.2),
        active(nets[2], 2, weight="0.9", control_mode="control", guidance_end=0.7),
    ],
    "layers and mask": lambda nets: [
        active(
            nets[0], 0, mask_image(1), layer_weights=[0.1 * k if k % 3 else f"1>{k / 10}" for k in range(13)]
        ),
        active(nets[1], 1, mask_image(2), weight=0.5, control_mode="control", mask_strength="0.9>0.2"),
    ],
    "one adapter": lambda _: [active(TokenControl(1), weight="0.7@0, 1.5@1")],
    "two adapters, masked": lambda _: [
        active(TokenControl(1), 0, mask_image(3), weight=0.6, mask_strength="1>0"),
        active(TokenControl(2, tokens=16), 1, mask_image(4), layer_weights=[k / 10 for k in range(16)]),
    ],
    "everything": lambda nets: [
        active(TokenControl(1), 0, weight="1>0"),
        active(nets[0], 1, mask_image(5), weight=0.7, control_mode="prompt"),
        active(nets[1], 2, weight=0.7, control_mode="control"),
        active(TokenControl(2), 3, mask_image(6), guidance_start=0.4),
        active(noise(3), 4, mask_image(7), weight="0.5>1", control_mode="prompt", mask_strength=0.8),
    ],
    "tokens behind the text": lambda _: [active(ContextNoise(1), weight="0.7>1.4", guidance_start=0.2)],
    "two of them, layers and masks": lambda _: [
        active(ContextNoise(1), 0, mask_image(3), weight=0.6, mask_strength="1>0"),
        active(ContextNoise(2, 5), 1, mask_image(4), layer_weights=[k / 10 for k in range(16)]),
        active(TokenControl(1), 2, weight=0.6),
        active(noise(2), 3, weight=0.5),
    ],
    "features": lambda _: [active(noise(1), weight=0.7)],
    "features in three modes, scheduled": lambda _: [
        active(noise(1), 0, weight="1>0.2"),
        active(noise(2), 1, weight=-0.6, control_mode="prompt", guidance_start=0.3),
        active(noise(3), 2, weight=0.9, control_mode="control", guidance_end=0.7),
    ],
    "features, layers and masks": lambda _: [
        active(noise(1), 0, mask_image(1), layer_weights=[0.3, "1>0", 0, 1.5]),
        active(noise(2), 1, mask_image(2), control_mode="control", mask_strength="0.9>0.2"),
    ],
}


def noise(seed: int) -> FeatureNoise:
    return FeatureNoise(networks.SD_PLACES, seed)


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_over_several_steps(name: str, sd: tuple[Any, Reference], nets: list[NetworkControl]) -> None:
    script = [(step, random_call(GUIDED, 10 + step)) for step in range(4)]
    assert compare(sd, STACKS[name](nets), 4, script) <= TOLERANCE


ROWS: dict[str, list[tuple[int, str]]] = {
    "one image": [(0, "u0 c0"), (1, "u0 c0")],
    "cond and uncond apart": [(0, "c0 c1"), (0, "u0 u1"), (1, "c0 c1"), (1, "u0 u1")],
    "AND": [(0, "c0 c0 c1 c1 u0 u1"), (1, "c0 c0 c0"), (1, "u0")],
    "uncond skipped": [(0, "c0 u0"), (1, "c0"), (2, "c0 u0")],
    "a step twice": [(0, "c0 u0"), (0, "c0 u0"), (1, "c0 u0"), (1, "c0 u0")],
    "mixed chunks": [(0, "c0 u1"), (0, "u0 c1"), (2, "u0 c0 u1"), (2, "c1")],
}


@pytest.mark.parametrize("layout", ROWS)
def test_any_layout_of_rows(layout: str, sd: tuple[Any, Reference], nets: list[NetworkControl]) -> None:
    script = [(step, random_call(kinds, 20 + step)) for step, kinds in ROWS[layout]]
    assert compare(sd, STACKS["everything"](nets), 3, script) <= TOLERANCE


def test_a_latent_that_is_not_square(sd: tuple[Any, Reference]) -> None:
    hint = torch.rand(1, 3, 64, 128)
    units = [
        active(NetworkControl(networks.controlnet(4), hint), 0, mask_image(7, (8, 16))),
        active(TokenControl(3), 1, mask_image(8, (8, 16))),
    ]
    script = [(step, random_call("c0 u0", step, (8, 16))) for step in range(2)]
    assert compare(sd, units, 2, script) <= TOLERANCE


def test_the_layout_of_sdxl(xl: tuple[Any, Reference]) -> None:
    units = [
        active(
            NetworkControl(networks.sdxl_controlnet(5), torch.rand(1, 3, 64, 64)), 0, control_mode="prompt"
        ),
        active(TokenControl(4), 1, mask_image(9), layer_weights=[k / 12 for k in range(17)]),
        active(FeatureNoise(networks.XL_PLACES, 5), 2, mask_image(3), control_mode="prompt"),
        active(ContextNoise(6), 3, weight=0.8),
    ]
    script = [(step, random_call(GUIDED, 30 + step)) for step in range(2)]
    assert compare(xl, units, 2, script) <= TOLERANCE


def test_control_mode_control_computes_conditional_rows_only(
    sd: tuple[Any, Reference], nets: list[NetworkControl]
) -> None:
    control = NetworkControl(nets[0].network, nets[0].hint)
    script = [(0, random_call(kinds, 1)) for kinds in ("c0 u0 c1", "u0 u1", "c0")]
    assert compare(sd, [active(control, control_mode="control")], 1, script) <= TOLERANCE
    assert [rows.cond for rows in control.rows] == [(True, True), (True,)]
    assert [rows.image for rows in control.rows] == [(0, 1), (0,)]


def test_outside_its_window_nothing_is_computed(
    sd: tuple[Any, Reference], nets: list[NetworkControl]
) -> None:
    control, tokens = NetworkControl(nets[0].network, nets[0].hint), TokenControl(1)
    units = [
        active(control, 0, guidance_start=0.25, guidance_end=0.75),
        active(tokens, 1, weight="0@0 hold, 0@0.5, 1@1"),
    ]
    script = [(step, random_call("c0 u0", step)) for step in range(4)]
    assert compare(sd, units, 4, script) <= TOLERANCE
    assert len(control.rows) == 2
    assert tokens.computed == 1


@pytest.mark.parametrize(("build", "places"), [("sd", networks.SD_PLACES), ("xl", networks.XL_PLACES)])
def test_the_places_of_features(
    build: str, places: Sequence[tuple[int, int]], request: pytest.FixtureRequest
) -> None:
    unet, _ = request.getfixturevalue(build)
    found = LdmUNet(unet).shape.feature_places
    assert [(place.channels, place.stride) for place in found][: len(places)] == list(places)


@pytest.mark.parametrize(("build", "blocks", "residuals"), [("sd", SD_SITES, 13), ("xl", None, 10)])
def test_the_shape_and_the_order_of_sites(
    build: str, blocks: list[str] | None, residuals: int, request: pytest.FixtureRequest
) -> None:
    unet, reference = request.getfixturevalue(build)
    names = transformer_names([(name, 1) for name in blocks] if blocks else XL_DEPTHS)
    port = LdmUNet(unet)
    sites = port.attention_sites()
    assert [site.name for site in sites] == [f"{name}.attn2" for name in names]
    assert [site.to_q for site in sites] == [unet.get_submodule(f"{name}.attn2.to_q") for name in names]
    assert [site.to_out for site in sites] == [unet.get_submodule(f"{name}.attn2.to_out.0") for name in names]
    shape = port.shape
    assert shape.family.context_dim == networks.CONTEXT
    assert shape.in_channels == 4
    assert shape.attention_hidden == tuple(
        attention.inner.to_q.out_features for attention in reference.attentions
    )
    assert len(shape.residual_channels) == residuals
    assert shape.residual_channels == tuple(_encoder_channels(unet))


def _encoder_channels(unet: Any) -> list[int]:
    """The channels of the encoder's outputs and of the mid block, seen in a run."""
    seen: list[int] = []
    blocks = [*unet.input_blocks, unet.middle_block]
    handles = [block.register_forward_hook(lambda _m, _a, out: seen.append(out.shape[1])) for block in blocks]
    call = random_call("c0", 0)
    vector = {} if getattr(unet, "num_classes", None) is None else {"y": call.vector}
    with torch.no_grad():
        unet(call.x, call.timestep, context=call.context, **vector)
    for handle in handles:
        handle.remove()
    return seen
