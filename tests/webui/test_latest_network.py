"""What other extensions read and assign on the script "ControlNet" while a generation runs."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.residuals import Residuals
from tests.support.constant_control import PICTURE, hooks
from tests.support.controlnet_runner import Runner
from tests.support.fake_webui import FakeWebUI, Processing

UNIT = {"enabled": True, "module": "none", "model": "edges", "image": PICTURE.partition(",")[2]}
SAME = 1e-6
WIDE = {"width": 128, "height": 64, "passes": [(128, 64)], "steps": 2}


class Ramp:
    """A control map whose brightness grows from left to right, and with a picture's number."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def pixels(self, width: int, height: int, channels: int = 3) -> Tensor:
        ramp = torch.linspace(0, 1, width).expand(1, channels, height, width)
        return (ramp + self.number) / (self.number + 1)


class Model:
    """The network of a control, as far as other extensions see it."""

    name = "controlnet"
    map_channels = 3


MODEL = Model()


@dataclass(frozen=True, eq=False)
class Shows:
    """A control whose residuals are its control map at the latent's size."""

    map: Any = field(default_factory=Ramp)
    model: Any = MODEL

    def residuals(self, call: UNetCall) -> Residuals:
        height, width = call.size
        small = nn.functional.avg_pool2d(self.map.pixels(width * 8, height * 8), 8).mean(1, keepdim=True)
        shown = small.expand(call.batch, 4, height, width)
        return Residuals((shown, shown), shown)

    def control_map(self, width: int, height: int) -> Image.Image:
        return Image.new("RGB", (width, height))


@pytest.fixture
def runner(host: FakeWebUI) -> Runner:
    """A WebUI whose U-Net sees each place of the latent alone, so that tiles have no borders."""
    for block in host.unet.modules():
        if isinstance(block, nn.Conv2d):
            around = torch.ones(3, 3)
            around[1, 1] = 0
            block.weight.data[..., around.bool()] = 0
    return Runner(host)


@pytest.fixture
def shows(monkeypatch: pytest.MonkeyPatch, runner: Runner) -> Iterator[None]:
    """Every unit shows its control map."""

    def load_units(units: Any, *_: Any, **__: Any) -> tuple[ActiveUnit, ...]:
        made = enumerate(units)
        return tuple(ActiveUnit(index=i, spec=u, control=Shows()) for i, u in made if u.enabled)

    with monkeypatch.context() as patch:
        patch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)
        yield


class Inner(nn.Module):
    """What the WebUI's denoiser calls with a batch of rows; other extensions replace its `forward`."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet
        self.before: Callable[[], None] = lambda: None

    def forward(self, rows: Tensor, *others: Tensor) -> Tensor:
        self.before()
        made: Tensor = self.unet(rows, *others)
        return made


class Tiles(Inner):
    """Computes a picture of 128x64 in two tiles, in one call, as TiledDiffusion does."""

    def __init__(self, unet: Any, script: Any, cut: bool = True) -> None:
        super().__init__(unet)
        self.script, self.cut = script, cut

    def forward(self, rows: Tensor, *others: Tensor) -> Tensor:
        params = self.script.latest_network.control_params
        own = [each.hint_cond for each in params]
        for each, maps in zip(params, own, strict=True):
            if self.cut:
                tiles = maps[..., :64], maps[..., 64:]
                each.hint_cond = torch.cat([tile.repeat(len(rows), 1, 1, 1) for tile in tiles])
        made = self.unet(torch.cat([rows[..., :8], rows[..., 8:]]), *(torch.cat([o, o]) for o in others))
        for each, maps in zip(params, own, strict=True):
            each.hint_cond = maps
        return torch.cat(made.chunk(2), dim=-1)


def test_it_is_none_between_generations_and_shared_by_copies(
    host: FakeWebUI, runner: Runner, shows: None
) -> None:
    script, found = runner.scripts[-1], []
    copied, inner = copy(script), Inner(host.unet)
    inner.before = lambda: found.append(copied.latest_network)
    assert script.latest_network is None
    runner.generate([UNIT, {**UNIT, "weight": 0.5}], inner_model=inner)
    params = found[0].control_params
    assert [type(each).__name__ for each in params] == ["ControlParams"] * 2
    assert params[0].control_model_type.name == "ControlNet"
    assert (params[0].preprocessor["name"], params[0].hr_hint_cond) == ("none", None)
    assert torch.equal(params[0].hint_cond, Ramp().pixels(64, 64))
    assert script.latest_network is None
    assert (hooks(inner), hooks(host.unet)) == (0, 0)


def test_it_is_there_before_sampling_begins(host: FakeWebUI, runner: Runner, shows: None) -> None:
    """In img2img TiledDiffusion reads the maps when the sampler is made, before `p.sample`."""
    own, script = runner.scripts
    args = [*runner.args[: script.args_from], UNIT]
    p = Processing(host, script_args=tuple(args), width=64, height=32)
    p.scripts = SimpleNamespace(alwayson_scripts=runner.scripts)
    own.process(p, None)
    (params,) = script.latest_network.control_params
    assert params.hint_cond.shape == (1, 3, 32, 64)
    p.width = 128  # another extension enlarges the picture
    assert params.hint_cond.shape == (1, 3, 32, 128)
    own.postprocess(p, SimpleNamespace(images=[], infotexts=[], index_of_first_image=0))
    assert script.latest_network is None
    own.process(p, None)
    p.script_args = (*args[:-1], {**UNIT, "weight": 9})
    own.process(p, None)
    assert script.latest_network is None, "a request that is refused has no maps"


def test_tiles_are_the_whole_picture(host: FakeWebUI, runner: Runner, shows: None) -> None:
    whole, _, _ = runner.generate([UNIT], **WIDE)
    tiled, _, _ = runner.generate([UNIT], inner_model=Tiles(host.unet, runner.scripts[-1]), **WIDE)
    plain, _, _ = runner.generate([], **WIDE)
    assert float((whole - plain).detach().abs().max()) > 1e-3
    assert float((whole - tiled).abs().max()) < SAME
    again, _, _ = runner.generate([UNIT], **WIDE)
    assert torch.equal(again, whole), "no assigned map is left"


def test_tiles_without_their_maps_stop_the_generation(host: FakeWebUI, runner: Runner, shows: None) -> None:
    inner = Tiles(host.unet, runner.scripts[-1], cut=False)
    with pytest.raises(RequestError, match="tiles or frames") as raised:
        runner.generate([UNIT], inner_model=inner, **WIDE)
    assert raised.value.path == "$.alwayson_scripts.ControlNet.args[0]"
    assert (hooks(inner), runner.scripts[-1].latest_network) == (0, None)


def test_each_pass_has_its_own_maps(host: FakeWebUI, runner: Runner, shows: None) -> None:
    """What is assigned in the first pass ends with it."""
    options = {"passes": [(64, 64), (128, 128)], "enable_hr": True, "hr_upscale_to_x": 128}
    options |= {"hr_upscale_to_y": 128, "steps": 2}
    wanted, _, _ = runner.generate([UNIT], **options)
    first, _, _ = runner.generate([UNIT], **options | {"passes": [(64, 64)]})
    inner = Inner(host.unet)
    read: list[float] = []

    def assign() -> None:
        (params,) = runner.scripts[-1].latest_network.control_params
        if params.hr_hint_cond.shape[-1] == 128 and not read:
            params.hint_cond = torch.zeros(1, 3, 64, 64)
        read.append(float(params.hint_cond.max()))

    inner.before = assign
    found, _, _ = runner.generate([UNIT], inner_model=inner, **options)
    assert torch.equal(found, wanted), "the hires pass of the fake WebUI starts anew"
    assert read == [0, 0, 1, 1]
    inner.before, read[:] = assign, []
    changed, _, _ = runner.generate([UNIT], inner_model=inner, **options | {"passes": [(64, 64)]})
    assert not torch.equal(changed, first)


def test_each_frame_of_a_batch_has_a_map(
    host: FakeWebUI, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AnimateDiff reads as many maps as rows, and assigns those of a few frames for each call."""
    frames = [Shows(Ramp(k)) for k in range(4)]

    def load_units(units: Any, *_: Any, **__: Any) -> tuple[ActiveUnit, ...]:
        made = enumerate(frames)
        return tuple(ActiveUnit(index=0, spec=units[0], control=c, pictures=(k,)) for k, c in made)

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", load_units)
    options = {"batch_size": 4, "prompts": [["a"]] * 4, "all_seeds": [1, 2, 3, 4], "steps": 2}
    whole, _, _ = runner.generate([UNIT], **options)

    class Frames(Inner):
        def forward(self, rows: Tensor, *others: Tensor) -> Tensor:
            made = torch.empty_like(rows)
            (params,) = runner.scripts[-1].latest_network.control_params
            own = params.hint_cond
            assert own.shape == (8, 3, 64, 64)
            for context in ([0, 1, 4, 5], [2, 3, 6, 7]):
                params.hint_cond = own[context]
                made[context] = self.unet(rows[context], *(other[context] for other in others))
                params.hint_cond = own
            return made

    found, _, _ = runner.generate([UNIT], inner_model=Frames(host.unet), **options)
    assert float((found - whole).abs().max()) < SAME
    assert float((whole[0] - whole[3]).abs().max()) > 1e-3


def test_a_map_may_be_changed_in_place(host: FakeWebUI, runner: Runner, shows: None) -> None:
    """The fake's map at half its brightness is that of a unit with half the weight."""
    inner = Inner(host.unet)

    def darken() -> None:
        inner.before = lambda: None
        runner.scripts[-1].latest_network.control_params[0].hint_cond *= 0.5

    inner.before = darken
    found, _, _ = runner.generate([UNIT], inner_model=inner)
    wanted, _, _ = runner.generate([{**UNIT, "weight": 0.5}])
    full, _, _ = runner.generate([UNIT])
    assert float((found - wanted).abs().max()) < SAME
    assert float((full - wanted).detach().abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("given", "weights", "enabled"),
    [
        ({"weight": [0.5, None, 1]}, [0.5, 0.75, 1], [True, True, True]),
        ({"weight": 0.25, "enabled": False}, [0.25] * 3, [False, True, True]),
        ({"enabled": [True, False]}, [0.75] * 3, [True, False, True]),
        ({"guidance_strength": 0.5, "guidance_end": 0.25}, [0.75] * 3, [True] * 3),
    ],
    ids=str,
)
def test_attributes_of_the_generation_replace_fields(
    host: FakeWebUI, runner: Runner, given: Any, weights: list[float], enabled: list[bool]
) -> None:
    from lib_ctrlgen.webui.controlnet.arguments import controlnet_arguments
    from lib_ctrlgen.webui.external_code.unit import ControlNetUnit

    python = ControlNetUnit(**{**UNIT, "weight": 0.75})
    units = [{**UNIT, "weight": 0.75}, None, python, {**UNIT, "weight": 0.75}]
    script = runner.scripts[-1]
    args = [0] * script.args_from + units
    p = SimpleNamespace(script_args=args, scripts=SimpleNamespace(alwayson_scripts=[script]))
    vars(p).update({f"control_net_{name}": value for name, value in given.items()})
    assert list(controlnet_arguments(p)) == units, "only where the setting allows it"
    host.opts.data["control_net_allow_script_control"] = True
    found = [vars(each) if isinstance(each, ControlNetUnit) else each for each in controlnet_arguments(p)]
    assert [each["weight"] for each in found] == weights
    assert [each["enabled"] for each in found] == enabled
    assert ("guidance_strength" in given) == (found[0].get("guidance_end") == 0.5)
    assert (python.weight, python.enabled) == (0.75, True), "the client's own unit is as it was"
    p.script_args = [0] * script.args_from
    alone = [each.enabled for each in controlnet_arguments(p)]
    assert alone == ([True] if given.get("enabled") == [True, False] else [])
