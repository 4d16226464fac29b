"""The always-on script in the fake host: it controls a generation and leaves nothing behind."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_ctrlgen.errors import HostError, RequestError
from tests.support.constant_control import PICTURE, REQUEST, Pushes, hooks
from tests.support.fake_networks import TinyUNet
from tests.support.fake_webui import FakeWebUI, Processing


def test_off_means_off(host: FakeWebUI, script: Any) -> None:
    host.process_images(script, Processing(host), "")  # what the panel has imported when the page is built
    before = set(sys.modules)
    p = Processing(host)
    plain = Processing(host).sample()
    picture, processed = host.process_images(script, p, "")
    assert torch.equal(picture, plain)
    assert "sample" not in vars(p)
    assert host.callbacks.count == 0
    assert hooks(host.unet) == 0
    assert p.extra_generation_params == {}
    assert processed.images == ["picture"]
    added = {name for name in set(sys.modules) - before if name.startswith("lib_ctrlgen")}
    assert added == set()
    assert "lib_ctrlgen.webui.sampling.generation" not in sys.modules


def test_a_controlled_generation_and_nothing_left_of_it(
    host: FakeWebUI, script: Any, control: Pushes
) -> None:
    plain = Processing(host).sample()
    seen: list[tuple[int, int]] = []
    p = Processing(host, on_step=lambda _step: seen.append((hooks(host.unet), host.callbacks.count)))
    picture, processed = host.process_images(script, p, REQUEST)
    assert not torch.equal(picture, plain)
    assert all(count > 0 and callbacks == 1 for count, callbacks in seen)
    assert [call.position.step for call in control.calls] == [0, 1]
    assert (hooks(host.unet), host.callbacks.count) == (0, 0)
    assert torch.equal(Processing(host).sample(), plain)
    assert processed.images[0] == "picture"
    assert [image.size for image in processed.images[1:]] == [(64, 64)]
    assert len(processed.infotexts) == len(processed.images)
    assert '"sha:' in p.extra_generation_params["CtrlGen"]
    assert PICTURE not in p.extra_generation_params["CtrlGen"]


@pytest.mark.parametrize("split", [False, True])
def test_a_control_that_is_not_finite_makes_no_picture(
    host: FakeWebUI, script: Any, control: Pushes, split: bool
) -> None:
    control.value = float("nan")
    with pytest.raises(RequestError, match="not finite") as raised:
        host.process_images(script, Processing(host, split=split), REQUEST)
    assert raised.value.path == "$.units[0]"
    assert raised.value.status_code == 422
    assert (hooks(host.unet), host.callbacks.count) == (0, 0)


def test_control_maps_are_appended_only_when_the_setting_says_so(
    host: FakeWebUI, script: Any, control: Pushes
) -> None:
    host.opts.data["ctrlgen_append_maps"] = False
    _, processed = host.process_images(script, Processing(host), REQUEST)
    assert processed.images == ["picture"]


@pytest.mark.parametrize(("arguments", "appended"), [((0, 5), 1), ((), 1), ((3, 5), 0)], ids=str)
def test_a_script_of_the_dropdown_gets_its_own_pictures_alone(
    host: FakeWebUI, script: Any, control: Pushes, arguments: Any, appended: int
) -> None:
    """SD upscale joins all pictures that it gets, prompt matrix counts them."""
    _, processed = host.process_images(script, Processing(host, script_args=arguments), REQUEST)
    assert len(processed.images) == 1 + appended == len(processed.infotexts)


@pytest.mark.parametrize("split", [False, True])
def test_rows_follow_the_hosts_layout(host: FakeWebUI, script: Any, control: Pushes, split: bool) -> None:
    p = Processing(host, prompts=[["a", "b"], ["c", "d"]], split=split, steps=2)
    host.process_images(script, p, {"units": [{"model": "m", "image": PICTURE}]})
    rows = [row for call in control.calls for row in zip(*vars(call.position.rows).values(), strict=True)]
    step = [
        (True, 0, 0, 0),
        (True, 0, 0, 1),
        (True, 1, 0, 0),
        (True, 1, 0, 1),
        (False, 0, 0, 0),
        (False, 1, 0, 0),
    ]
    assert rows == step * 2


def test_rows_of_an_instruct_pix2pix_step(script: Any) -> None:
    generation = __import__("lib_ctrlgen.webui.sampling.generation", fromlist=["step_rows"])
    sampler = SimpleNamespace(sampler_extra_args={"cond": SimpleNamespace(batch=[[1], [1]])})
    params = SimpleNamespace(x=torch.zeros(6, 4, 1, 1), denoiser=SimpleNamespace(sampler=sampler))
    rows = generation.step_rows(params)
    assert [(row.cond, row.image) for row in rows] == [(True, 0), (True, 1), *[(False, 0), (False, 1)] * 2]
    params.x = torch.zeros(5, 4, 1, 1)
    owned = generation.step_rows(params, [(0, 1), (1,)])
    assert [row.concept for row in owned] == [0, 1, 1, 0, 0]
    params.x = torch.zeros(5, 4, 1, 1)
    with pytest.raises(HostError, match="layout"):
        generation.step_rows(params)


def test_each_pass_of_hires_fix_has_its_own_size_and_steps(
    host: FakeWebUI, script: Any, control: Pushes
) -> None:
    p = Processing(host, passes=[(64, 64), (128, 96)])
    _, processed = host.process_images(script, p, REQUEST)
    assert [(call.position.step, call.size) for call in control.calls] == [
        (0, (8, 8)), (1, (8, 8)), (0, (12, 16)), (1, (12, 16)),
    ]  # fmt: skip
    assert processed.images[1].size == (128, 96)


def test_the_hires_pass_may_have_its_own_weight(host: FakeWebUI, script: Any, control: Pushes) -> None:
    unit = {"model": "m", "image": PICTURE, "weight": "1 in 0..0.5", "hires": "1 in 0.5..1"}
    host.process_images(script, Processing(host, passes=[(64, 64), (128, 96)]), {"units": [unit]})
    found = [(call.position.step, call.position.hires) for call in control.calls]
    assert found == [(0, False), (1, False), (2, True), (3, True)]


def swap(host: FakeWebUI, unet: Any, at: int) -> Any:
    def on_step(step: int) -> None:
        if step == at:
            host.unet = unet

    return on_step


def test_a_refiner_of_the_same_shape_is_controlled_too(host: FakeWebUI, script: Any, control: Pushes) -> None:
    first, second = host.unet, TinyUNet()
    whole = {"units": [{"model": "m", "image": PICTURE}]}
    host.process_images(script, Processing(host, on_step=swap(host, second, 2)), whole)
    assert len(control.calls) == 4
    assert hooks(first) == hooks(second) == 0


def test_a_refiner_of_another_family_stops_before_its_first_call(
    host: FakeWebUI, script: Any, control: Pushes
) -> None:
    first, other = host.unet, TinyUNet(context=16)
    called: list[int] = []
    other.register_forward_pre_hook(lambda *_: called.append(1))
    with pytest.raises(HostError, match="context 16"):
        host.process_images(script, Processing(host, on_step=swap(host, other, 2)), REQUEST)
    assert called == []
    assert (hooks(first), hooks(other), host.callbacks.count) == (0, 1, 0)


def test_another_checkpoint_between_batches_is_refused(host: FakeWebUI, script: Any, control: Pushes) -> None:
    p = Processing(host)
    script.process(p, REQUEST)
    p.sample()
    host.unet = TinyUNet(width=8)
    with pytest.raises(HostError, match="between the batches"):
        p.sample()


def test_a_unet_that_hooks_cannot_reach_is_refused(host: FakeWebUI, script: Any, control: Pushes) -> None:
    host.loaded["modules.sd_unet"].current_unet = SimpleNamespace()
    with pytest.raises(HostError, match="SD Unet"):
        host.process_images(script, Processing(host), REQUEST)


def test_a_callback_that_never_comes_makes_no_picture(host: FakeWebUI, script: Any, control: Pushes) -> None:
    p = Processing(host, on_step=lambda _step: host.callbacks.lists["cfg_denoiser"].clear())
    with pytest.raises(HostError, match="expected"):
        host.process_images(script, p, REQUEST)


def test_one_p_may_be_processed_again_and_copied(host: FakeWebUI, script: Any, control: Pushes) -> None:
    p = Processing(host)
    host.process_images(script, p, REQUEST)
    controlled = len(control.calls)
    host.process_images(script, p, REQUEST)
    assert len(control.calls) == 2 * controlled
    copied = Processing(host, **{name: value for name, value in vars(p).items() if name != "host"})
    host.process_images(script, copied, "")
    assert len(control.calls) == 2 * controlled
    assert "sample" not in vars(copied)


def test_another_extensions_sample_is_kept(host: FakeWebUI, script: Any, control: Pushes) -> None:
    p = Processing(host)
    theirs: list[int] = []

    def sample(**kwargs: Any) -> Any:
        theirs.append(1)
        return Processing.sample(p)

    p.sample = sample  # type: ignore[method-assign]
    host.process_images(script, p, REQUEST)
    host.process_images(script, p, "")
    assert theirs == [1, 1]
    assert vars(p)["sample"] is sample


def test_registering_adds_what_the_host_calls(host: FakeWebUI, script: Any) -> None:
    sys.modules["lib_ctrlgen.webui.script"].register()
    host.callbacks.fire("ui_settings")
    own = {name: option for name, option in host.opts.data_labels.items() if name.startswith("ctrlgen")}
    assert {option.section for option in own.values()} == {("ctrlgen", "CtrlGen")}
    assert all(name.startswith("control") for name in host.opts.data_labels if name not in own)
    assert host.opts.data["ctrlgen_models_gb"] == 0
    assert host.opts.data_labels["ctrlgen_model_folders"].options["restrict_api"]


def test_the_store_is_one_until_its_folders_change(host: FakeWebUI, script: Any, tmp_path: Path) -> None:
    settings = sys.modules["lib_ctrlgen.webui.settings"]
    store = settings.model_store()
    assert settings.model_store() is store
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.safetensors").touch()
    host.opts.data["ctrlgen_model_folders"] = f"{tmp_path / 'more'}\n"
    assert settings.model_store().names() == ["a"]


@pytest.mark.parametrize(("side", "warned"), [(512, True), (128, False)])
def test_a_size_that_the_tiny_model_has_not_learnt_is_in_the_infotext(
    host: FakeWebUI, script: Any, control: Pushes, side: int, warned: bool
) -> None:
    host.model.sd_checkpoint_info.filename = "/models/ctrlgen-tiny.safetensors"
    p = Processing(host, width=side, height=side)
    host.process_images(script, p, REQUEST)
    assert (f"{side} x {side}" in str(p.extra_generation_params)) == warned
    assert any("take 128 x 128" in comment for comment in p.comments) == warned
