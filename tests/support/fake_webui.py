"""A fake of the parts of the WebUI that `lib_ctrlgen.webui` uses.

As in the WebUI, hooks and callbacks swallow exceptions, and `p.sample` does not.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.fake_gradio import Component, OptionHTML, OptionInfo, refresh_button
from tests.support.fake_libraries import edge_libraries, module
from tests.support.fake_masking import create_binary_mask, expand_crop_region, get_crop_region
from tests.support.fake_networks import (
    FakeVAE,
    ImageRNG,
    TinyUNet,
    decode_latent_batch,
)
from tests.support.fake_shared import (
    Callbacks,
    Comments,
    Opts,
    SdConditioning,
    add_callback,
    reconstruct_cond_batch,
    reconstruct_multicond_batch,
)

SAMPLERS = dict.fromkeys(("Euler", "DDIM", "DPM adaptive", "DPM++ 2M"))
SCHEDULERS = {name: SimpleNamespace(label=name, name=name.lower()) for name in ("Automatic", "Karras")}
CHECKPOINTS = {name: SimpleNamespace(name=name) for name in ("other", "ctrlgen-tiny")}


class Processing:
    """What is read of a `p`, and a sampler that calls the U-Net as CFGDenoiser does."""

    def __init__(self, host: FakeWebUI, **options: Any) -> None:
        self.host = host
        self.sd_model = host.model
        self.script: Any = None
        self.width = self.height = 64
        self.steps = 4
        self.batch_size, self.n_iter, self.iteration = 1, 1, 0
        self.all_seeds = [1]
        self.prompts: list[list[str]] = [["a"]]  # per image, its prompts joined by AND
        self.split = False
        self.passes = [(64, 64)]
        self.extra_generation_params: dict[str, Any] = {}
        self.comments: dict[str, int] = {}
        self.on_step: Callable[[int], None] = lambda _step: None
        self.is_api = True
        self.script_args: tuple[Any, ...] = (0,)
        self.inner_model: Any = None  # what the denoiser calls instead of the U-Net itself
        vars(self).update(options)

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def sample(self, **_kwargs: Any) -> Tensor:
        result = torch.zeros(0)
        for number, (width, height) in enumerate(self.passes):
            self.is_hr_pass = number > 0
            result = self.denoise(width // 8, height // 8)
        return result

    def denoise(self, width: int, height: int) -> Tensor:
        """One pass: per step the callback, then the U-Net on all cond rows and the uncond ones."""
        images, conds = len(self.prompts), sum(map(len, self.prompts))
        x = torch.linspace(-1, 1, 4 * height * width).view(1, 4, height, width).expand(images, -1, -1, -1)
        x = x.clone()
        if self.script is not None:
            self.host.swallowing(self.script.process_before_every_sampling, self, x=x, noise=x)
        batch = [[SimpleNamespace(weight=1.0) for _ in parts] for parts in self.prompts]
        sampler = SimpleNamespace(sampler_extra_args={"cond": SimpleNamespace(batch=batch)})
        for step in range(self.steps):
            self.on_step(step)
            rows = torch.cat([x[:1].expand(conds, -1, -1, -1), x])
            denoiser = SimpleNamespace(step=step, total_steps=self.steps, sampler=sampler, p=self)
            denoiser.inner_model = self.inner_model
            denoiser.combine_denoised, denoiser.cond_scale_miltiplier = None, 1.0
            params = SimpleNamespace(x=rows, denoiser=denoiser, sampling_step=step)
            params.total_sampling_steps = self.steps
            self.host.callbacks.fire("cfg_denoiser", params)
            out = self.call(rows, images)
            x = x - 0.1 * out[-images:] - 0.1 * out[:images]
        return x

    def call(self, rows: Tensor, images: int) -> Tensor:
        unet = self.inner_model or self.host.unet
        parts = rows.split(images) if self.split else [rows]
        return torch.cat([unet(p, torch.zeros(len(p)), torch.zeros(len(p), 3, 8)) for p in parts])


class FakeWebUI:
    """The fake host: what tests set, and what they look at."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.callbacks = Callbacks()
        self.opts = Opts()
        self.opts.data["sd_vae_decode_method"] = "Full"
        self.opts.data["enable_prompt_comments"] = True
        self.flags = SimpleNamespace(
            api=True, nowebui=False, api_auth=None, ctrlgen_models_path=[], ctrlgen_cache_gb=1.0
        )
        self.flags.hide_ui_dir_config = False
        self.model = SimpleNamespace(
            model=SimpleNamespace(diffusion_model=TinyUNet()),
            cond_stage_model=SimpleNamespace(),
            decode_first_stage=lambda latents: latents,
            first_stage_model=FakeVAE(),
            scale_factor=0.5,
            alphas_cumprod=torch.linspace(0.99**0.5, 0.07, 1000) ** 2,
            parameterization="eps",
            sd_checkpoint_info=SimpleNamespace(filename="fake.safetensors"),
        )
        self.model.encode_first_stage = self.model.first_stage_model.draw
        self.state = SimpleNamespace(
            server_start=1.0, interrupted=False, stopping_generation=False, skipped=False, textinfo=None
        )
        self.state.shown = []
        self.state.assign_current_image = self.state.shown.append
        self.state.interrupt = lambda: setattr(self.state, "interrupted", True)
        self.log: list[str] = []
        self.network_pages: list[Any] = []
        self.loaded: dict[str, Any] = {}
        Component.made = []

    @property
    def unet(self) -> Any:
        return self.model.model.diffusion_model

    @unet.setter
    def unet(self, unet: nn.Module) -> None:
        self.model.model.diffusion_model = unet

    def process_images(self, script: Any, p: Processing, *args: Any) -> tuple[Tensor, Any]:
        """One generation as the WebUI runs it: hooks swallow, `p.sample` does not."""
        self.swallowing(script.process, p, *args)
        p.script = script
        self.swallowing(script.before_process_batch, p, *args, batch_number=0, prompts=p.prompts)
        sample = p.sample(conditioning=None) if p.prompts else torch.zeros(0)
        self.finish(sample)
        made = torch.stack(sample) if getattr(sample, "already_decoded", False) else sample
        images = ["picture"] if len(made) else []
        processed = SimpleNamespace(images=images, infotexts=["text"], index_of_first_image=0)
        processed.extra_generation_params = p.extra_generation_params
        self.swallowing(script.postprocess, p, processed, *args)
        return sample, processed

    def finish(self, sample: Tensor) -> None:
        """Where the WebUI decodes and saves the pictures: a place to fail at."""

    def swallowing(self, hook: Callable[..., Any], *args: Any, **given: Any) -> None:
        with suppress(Exception):  # as the WebUI does
            hook(*args, **given)

    def modules(self, folder: Path) -> dict[str, Any]:
        """The modules that stand in for the WebUI's and its libraries', by their name in `sys.modules`."""
        found = {**self.shared_modules(folder), **self.script_modules(), **self.sampling_modules()}
        named = {f"modules.{name}": module(f"modules.{name}", content) for name, content in found.items()}
        children = {name.partition(".")[2]: child for name, child in named.items()}
        self.loaded = {"modules": module("modules", children), **named, **edge_libraries()}
        return self.loaded

    def shared_modules(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Settings, state, paths, devices and the log."""
        cpu = torch.device("cpu")
        return {
            "shared": {
                "opts": self.opts,
                "cmd_opts": self.flags,
                "sd_model": self.model,
                "state": self.state,
                "OptionInfo": OptionInfo,
                "OptionHTML": OptionHTML,
            },
            "call_queue": {"queue_lock": Lock()},
            "errors": {"report": lambda message, **_: self.log.append(message)},
            "devices": {
                "device": cpu,
                "torch_gc": lambda: None,
                "dtype_unet": torch.float32,
                "dtype_vae": torch.float32,
                "cpu": cpu,
                "autocast": nullcontext,
                "without_autocast": nullcontext,
            },
            "paths_internal": {
                "data_path": str(folder),
                "models_path": str(folder / "models"),
                "extensions_dir": str(folder / "extensions"),
                "extensions_builtin_dir": str(folder / "extensions-builtin"),
            },
        }

    def script_modules(self) -> dict[str, dict[str, Any]]:
        """Scripts, their callbacks, the interface's parts and infotexts."""
        ours = SimpleNamespace(title=lambda: "CtrlGen", args_from=5, args_to=15)
        return {
            "script_callbacks": {
                "callback_map": {f"callbacks_{kind}": each for kind, each in self.callbacks.lists.items()},
                "add_callback": add_callback,
                "remove_callbacks_for_function": self.callbacks.remove,
            },
            "scripts": {
                "Script": type("Script", (), {}),
                "AlwaysVisible": object(),
                "scripts_txt2img": SimpleNamespace(alwayson_scripts=[ours, Comments(self.opts)]),
            },
            "infotext_utils": {
                "parse_generation_parameters": parse_generation_parameters,
                "ParamBinding": SimpleNamespace,
                "register_paste_params_button": self.log.append,
            },
            "ui_common": {"create_refresh_button": refresh_button},
            "ui_components": {"FormRow": Component},
            "ui_extra_networks": {"extra_pages": self.network_pages},
        }

    def sampling_modules(self) -> dict[str, dict[str, Any]]:
        """Checkpoints, samplers, conditioning, masks and what decodes latents."""
        return {
            "prompt_parser": {
                "SdConditioning": SdConditioning,
                "reconstruct_cond_batch": reconstruct_cond_batch,
                "reconstruct_multicond_batch": reconstruct_multicond_batch,
            },
            "rng": {"ImageRNG": ImageRNG},
            "processing": {
                "get_fixed_seed": lambda seed: 77 if seed in (-1, None) else seed,
                "decode_latent_batch": decode_latent_batch,
                "create_binary_mask": create_binary_mask,
            },
            "sd_vae": {"loaded_vae_file": None},
            "masking": {"get_crop_region_v2": get_crop_region, "expand_crop_region": expand_crop_region},
            "sd_samplers_common": {"images_tensor_to_samples": None, "approximation_indexes": {}},
            "sd_samplers": {"all_samplers_map": SAMPLERS, "samplers_map": {"euler": "Euler"}},
            "sd_schedulers": {"schedulers_map": SCHEDULERS, "schedulers": list(SCHEDULERS.values())},
            "sd_models": {
                "get_closet_checkpoint_match": CHECKPOINTS.get,
                "checkpoint_aliases": CHECKPOINTS,
                "checkpoints_list": CHECKPOINTS,
                "list_models": lambda: self.log.append("listed"),
                "unload_model_weights": lambda: self.log.append("unloaded"),
                "send_model_to_device": lambda _model: self.log.append("loaded"),
            },
            "sd_hijack": {"model_hijack": SimpleNamespace(extra_generation_params={})},
            "sd_unet": {"current_unet": None},
        }


def parse_generation_parameters(text: str) -> dict[str, str]:
    """The values of an infotext's last line; those in quotes are JSON."""
    found = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', text.splitlines()[-1])
    return {name: json.loads(value) if value[:1] == '"' else value for name, value in found}


@contextmanager
def served(webui: FakeWebUI, folder: Path) -> Iterator[FakeWebUI]:
    """The fake host's modules in `sys.modules`; they and the edge's are gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name, made in webui.modules(folder).items():
            patch.setitem(sys.modules, name, made)
        yield webui
    for name in [name for name in sys.modules if name.startswith("lib_ctrlgen.webui")]:
        del sys.modules[name]


def fresh(name: str) -> Any:
    """Import a module of the edge anew, on top of the fakes."""
    for known in [known for known in sys.modules if known.startswith("lib_ctrlgen.webui")]:
        del sys.modules[known]
    return importlib.import_module(f"lib_ctrlgen.webui.{name}")
