"""The WebUI's prompt parsing and denoiser with text features that tell which prompt they are of."""

import re
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib_ctrlgen.prompts.emphasis import parse_emphasis
from tests.support.fake_shared import SdConditioning
from tests.support.fake_webui import FakeWebUI


class TextEncoder(nn.Module):
    """Letters to numbers, times their weights, with the host's two methods."""

    def __init__(self) -> None:
        super().__init__()
        self.hijack = SimpleNamespace(fixes=None)
        self.runs: list[Any] = []

    def encode_with_transformers(self, tokens: Tensor) -> Tensor:
        self.runs.append(tokens.tolist())
        self.hijack.fixes = None
        return tokens[..., None].float().sin().expand(*tokens.shape, 3)

    def forward(self, texts: list[str]) -> Tensor:
        return torch.cat([self.encode(text) for text in texts])

    def encode(self, text: str) -> Tensor:
        pieces = parse_emphasis(text)
        letters = "".join(piece.text or "" for piece in pieces)[:16].ljust(16)
        weights = [piece.weight for piece in pieces for _ in piece.text or ""][:16]
        self.hijack.fixes = [[]]
        z = self.encode_with_transformers(torch.tensor([[ord(letter) for letter in letters]]))
        return z * torch.tensor([*weights, *[1.0] * (16 - len(weights))])[None, :, None]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cond_stage_model = TextEncoder()
        self.model = SimpleNamespace(diffusion_model=None)


def negatives(model: Model, prompts: Any, *_: Any) -> list[Tensor]:
    return [model.cond_stage_model.encode(text)[0] for text in prompts]


def positives(model: Model, prompts: Any, *_: Any) -> Any:
    batch = []
    for prompt in prompts:
        parts = [re.fullmatch(r"(.*?)(?:\s*:\s*([-+.\d]+))?\s*", part) for part in prompt.split("AND")]
        batch.append([(model.cond_stage_model.encode(m[1])[0], float(m[2] or 1)) for m in parts if m])
    return SimpleNamespace(batch=batch)


class Denoiser(nn.Module):
    def __init__(self, p: Any, extra: dict[str, Any]) -> None:
        super().__init__()
        self.p = p
        self.step = 0
        self.total_steps = p.steps
        self.cond_scale_miltiplier = 1.0
        self.sampler = SimpleNamespace(sampler_extra_args=extra)

    def combine_denoised(self, _x: Any, conds_list: Any, _uncond: Any, scale: float) -> Any:
        return conds_list, scale


class Processing:
    """A generation with a cache of conditionings, as the WebUI keeps one on the class."""

    cached_c: ClassVar[list[Any]] = [None, None]
    cached_uc: ClassVar[list[Any]] = [None, None]

    def __init__(self, host: FakeWebUI, prompt: str, negative: str = "", **options: Any) -> None:
        self.host = host
        self.width = self.height = 64
        self.steps = 4
        self.batch_size, self.n_iter, self.iteration = 1, 1, 0
        self.all_seeds = [1]
        self.cfg_scale = 7.0
        self.is_api = True
        self.skip: tuple[int, ...] = ()
        self.all_prompts, self.all_negative_prompts = [prompt], [negative]
        self.extra_generation_params: dict[str, Any] = {}
        self.seen: list[tuple[Tensor, Tensor, Any, float]] = []
        vars(self).update(options)

    def get_conds_with_caching(self, function: Any, prompts: Any, steps: int, caches: Any, extra: Any) -> Any:
        [cache] = caches
        if cache[0] != (list(prompts), steps):
            cache[0], cache[1] = (list(prompts), steps), function(self.host.model, prompts, steps)
        return cache[1]

    def setup_conds(self) -> None:
        uc = SdConditioning(self.negative_prompts, is_negative_prompt=True)
        self.uc = self.get_conds_with_caching(negatives, uc, self.steps, [type(self).cached_uc], None)
        c = SdConditioning(self.prompts)
        self.c = self.get_conds_with_caching(positives, c, self.steps, [type(self).cached_c], None)

    def sample(self, **_: Any) -> Tensor:
        extra = {"cond": self.c, "uncond": self.uc, "cond_scale": self.cfg_scale}
        denoiser = Denoiser(self, extra)
        parser = sys.modules["modules.prompt_parser"]
        for step in range(self.steps):
            denoiser.step = step
            conds_list, text = parser.reconstruct_multicond_batch(self.c, step)
            params = SimpleNamespace(
                x=torch.zeros(2, 4, 8, 8),
                denoiser=denoiser,
                text_cond=text,
                text_uncond=parser.reconstruct_cond_batch(self.uc, step),
            )
            self.host.callbacks.fire("cfg_denoiser", params)
            scale = 1.0 if step in self.skip else self.cfg_scale
            weights, used = denoiser.combine_denoised(None, conds_list, None, scale)
            self.seen.append((params.text_cond, params.text_uncond, weights, used))
        assert "combine_denoised" in vars(denoiser) or not self.host.callbacks.count
        self.denoiser = denoiser
        return torch.zeros(0)
