"""LoRAs with schedules in a fake host: tags, hooks at each step, weights of the text encoders."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.request.spec import ControlRequest
from tests.support import control_files as files
from tests.support import lora_kinds as kinds
from tests.support import networks
from tests.support.fake_webui import FakeWebUI, fresh, served
from tests.support.unet_calls import run

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
RAMP = "a <lora:style:0.5:1>0> star <lora:ink:0.3>"


class Host:
    """A fake WebUI with a U-Net, and its extension Lora with two files."""

    def __init__(self, webui: FakeWebUI, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.webui = webui
        self.unet = networks.ldm_unet(context=files.CONTEXT)
        webui.model.model.diffusion_model = self.unet  # type: ignore[assignment]
        webui.model.sd_checkpoint_info = SimpleNamespace(filename=str(folder / "model.safetensors"))  # type: ignore[assignment]
        paths = {
            name: kinds.write(
                folder / f"{name}.safetensors", kinds.kohya(self.unet, seed=seed, pattern="attn2")
            )
            for seed, name in enumerate(("style", "ink"))
        }
        on_disk = {name: SimpleNamespace(filename=str(path)) for name, path in paths.items()}
        self.loaded = [SimpleNamespace(mentioned_name="style", te_multiplier=0.5)]
        extension = SimpleNamespace(
            available_networks=on_disk,
            available_network_aliases=on_disk,
            forbidden_network_aliases={},
            list_available_networks=lambda: None,
            loaded_networks=self.loaded,
        )
        patch.setitem(sys.modules, "networks", extension)
        self.module = fresh("sampling.scheduled_loras")

    def processing(self, *prompts: str, hires: str = "") -> Any:
        def parse() -> None:
            p.parsed = list(p.prompts), list(p.all_hr_prompts)

        p = SimpleNamespace(
            prompts=list(prompts),
            all_prompts=list(prompts),
            all_hr_prompts=[hires or text for text in prompts],
            iteration=0,
            batch_size=len(prompts),
            disable_extra_networks=False,
            parse_extra_network_prompts=parse,
        )
        return p

    def loras(self, p: Any, **named: Any) -> Any:
        check = fresh("sampling.prompt_check")
        request = ControlRequest(prompt_weights=named)
        return self.module.ScheduledLoras(p, check.scheduled_loras(p, request), named)

    def hooks(self) -> int:
        return sum(len(module._forward_hooks) for module in self.unet.modules())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    webui = FakeWebUI()
    with served(webui, tmp_path):
        yield Host(webui, tmp_path, monkeypatch)


def params(step: int, *, hires: bool = False, steps: int = 4) -> Any:
    p = SimpleNamespace(is_hr_pass=hires)
    return SimpleNamespace(denoiser=SimpleNamespace(step=step, total_steps=steps, p=p))


def test_the_host_gets_ordinary_tags_and_the_users_text_stays(host: Host) -> None:
    p = host.processing(RAMP, "b", hires="c <lora:style:1@0, 0@0.5>")
    loras = host.loras(p)
    p.parse_extra_network_prompts()
    assert p.parsed == (
        ["a <lora:style:0.5:0> star <lora:ink:0.3>", "b"],
        ["c <lora:style:1:0>", "c <lora:style:1:0>"],
    )
    assert p.all_prompts == [RAMP, "b"]
    assert p.all_hr_prompts[0] == "c <lora:style:1@0, 0@0.5>"
    assert [str(tag.unet) for tag in (*loras.first, *loras.hires)] == ["1@0, 0@1", "1@0, 0@0.5"]


def test_each_step_has_its_weight_and_the_hooks_go(host: Host) -> None:
    p = host.processing(RAMP, hires="c <lora:style:0.5@0, 0@0.5>")
    loras = host.loras(p)
    p.parse_extra_network_prompts()
    text = torch.randn(2, 7, files.CONTEXT, generator=torch.Generator().manual_seed(1))
    call = replace(networks.random_call("c0 u0", 1), context=text)

    def predicted() -> torch.Tensor:
        return run(host.unet, call)

    plain, seen = predicted(), []
    with loras.batch() as follow:
        for step in range(4):
            follow(params(step))
            seen.append(float((predicted() - plain).abs().mean()))
        follow(params(2, hires=True))
        assert torch.equal(predicted(), plain)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] > 0
    assert host.hooks() == 0
    with pytest.raises(KeyboardInterrupt):
        interrupted(loras, host)
    assert host.hooks() == 0
    assert torch.equal(predicted(), plain)


def interrupted(loras: Any, host: Host) -> None:
    with loras.batch() as follow:
        follow(params(0))
        assert host.hooks() > 0
        raise KeyboardInterrupt


def test_the_text_encoders_get_the_weights_of_a_step(host: Host) -> None:
    p = host.processing("a <lora:style:1>0>")
    loras = host.loras(p)
    p.parse_extra_network_prompts()
    weights = loras.text_weights(0.75, hires=False)
    assert weights == {"style": 0.25}
    with loras.encoding(weights):
        assert host.loaded[0].te_multiplier == 0.25
    assert host.loaded[0].te_multiplier == 0.5


def test_disabled_extra_networks_are_off(host: Host) -> None:
    p = host.processing(RAMP)
    loras = host.loras(p)
    p.parse_extra_network_prompts()
    p.disable_extra_networks = True
    with loras.batch() as follow:
        follow(params(0))
        assert host.hooks() == 0


def test_the_base_of_a_change_is_the_weight_before_merging(host: Host) -> None:
    own = fresh("sampling.host_loras").own_weight
    layer = torch.nn.Linear(2, 2)
    assert own(layer) is layer.weight
    layer.network_weights_backup = torch.ones(2, 2)
    assert torch.equal(own(layer), torch.ones(2, 2))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("<lora:stile:1>0>", "no LoRA named 'stile'; nearest: style"),
        ("<lora:style:1@0.5, 0@0.2>", "progress must rise"),
        ("<lora:style:1>0><lora:style:1>", "occurs twice"),
        ("<lora:style:0.5:1>0:lbw=ALL>", "'lbw=ALL' is not supported"),
        ("<lora:style:1@0, 0@0.5:lbw=ALL>", "'lbw=ALL' is not supported"),
    ],
)
def test_wrong_tags_are_errors_before_sampling(host: Host, prompt: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        host.loras(host.processing(prompt))
    assert caught.value.path == "$.prompt"
    assert said in caught.value.message


def test_without_the_extension_a_schedule_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "networks")
    with pytest.raises(HostError, match="the WebUI's extension Lora is off"):
        host.loras(host.processing("<lora:style:1>0>"))
