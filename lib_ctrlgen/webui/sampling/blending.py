"""Blends in the WebUI: their prompts, how their predictions are combined, and their noise and latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from modules import rng, sd_samplers_common, shared
from torch import Tensor

from lib_ctrlgen.blending.formulas import Combination, blended_delta, mixed_features
from lib_ctrlgen.blending.masks import blended_latents, blended_noise, check_pictures, combination_of
from lib_ctrlgen.blending.trajectory import Trajectory
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.images.resize import fit
from lib_ctrlgen.prompts.blended import BlendedPrompt, MixedPrompt, PromptSource, blended_prompt, placed
from lib_ctrlgen.prompts.scheduled import Named, parse_prompt
from lib_ctrlgen.request.blend import ROW_MODES, Blend
from lib_ctrlgen.request.blend_map import map_cells
from lib_ctrlgen.unet.call import LATENT_FACTOR

from .cell_batch import own
from .step_callbacks import StepFunction, StepHandler, each_denoiser, is_hires


def read_prompts(
    blends: Sequence[Blend | None], texts: Sequence[str], *, hires: bool = False
) -> tuple[PromptSource, ...]:
    """Parse a batch's positive prompts, with one blend for all or one per picture. Raises RequestError."""
    trajectory = Trajectory.of(blends[0], len(texts))
    places = trajectory.places if trajectory else (0.0,) * len(texts)

    def read(picture: int, text: str) -> PromptSource:
        blend = own(blends, picture)
        if blend is None:
            return parse_prompt(text)
        return blended_prompt(blend, text, hires=hires, place=places[picture])

    return tuple(read(picture, text) for picture, text in enumerate(texts))


def blended_seeds(blend: Blend | None, seeds: Sequence[int], batch: int) -> list[int]:
    """The seeds of all pictures. On a trajectory each batch has those of `Trajectory.seeds`."""
    trajectory = Trajectory.of(blend, batch)
    if blend is None or trajectory is None:
        return list(seeds)
    firsts = seeds[::batch]
    return [seed for first in firsts for seed in trajectory.seeds(blend, first)]


class ConceptCombiner:
    """Combines the predictions of concepts by the blend's formula instead of the WebUI's weighted sum."""

    def __init__(
        self, blend: Blend, sources: Sequence[BlendedPrompt], named: Sequence[Named], progress: float
    ) -> None:
        self.blend = blend
        self.shares = [
            source.shares_at(progress, own(named, picture)) for picture, source in enumerate(sources)
        ]

    def __call__(self, x_out: Tensor, conds_list: Any, unconds: int, scale: float) -> Tensor:
        """Return uncond + scale * blended delta, [B, C, h, w]."""
        uncond = x_out[-unconds:]
        height, width = x_out.shape[-2:]
        combination = _combination(self.blend, width * LATENT_FACTOR, height * LATENT_FACTOR)
        deltas = [
            blended_delta(x_out[[row for row, _ in conds]], plain, shares, combination)
            for conds, plain, shares in zip(conds_list, uncond, self.shares, strict=True)
        ]
        return uncond + scale * torch.stack(deltas)


@lru_cache(maxsize=4)
def _combination(blend: Blend, width: int, height: int) -> Combination:
    return combination_of(blend, width, height)


def combines_by_itself(blend: Blend) -> bool:
    """Whether the blend needs its own formula because the WebUI's `AND` cannot express it."""
    return blend.mode in ROW_MODES and (blend.mode != "prediction" or blend.has_masks)


def mixed_conditioning(
    sources: Sequence[MixedPrompt], features: Sequence[Any], empty: Any, progress: float, *, spherical: bool
) -> Any:
    """Mix the features of the concepts, each for all pictures of a batch, to one conditioning.

    Features are tensors [B, T, X], or dicts of them (SDXL's `crossattn` and `vector`). Shorter ones are
    padded with the features of the empty prompt, as the WebUI does it.
    """
    weights = torch.tensor([source.weights_at(progress) for source in sources])
    if isinstance(empty, dict):
        return type(empty)(
            {
                key: mixed_conditioning(
                    sources, [f[key] for f in features], empty[key], progress, spherical=spherical
                )
                for key in empty
            }
        )
    if empty.ndim == 2:
        return mixed_features(features, empty, weights.to(empty), spherical=False)
    longest = max(each.shape[1] for each in (*features, empty))
    return mixed_features(
        [_filled(each, empty, longest) for each in features],
        _filled(empty, empty, longest),
        weights.to(empty),
        spherical=spherical,
    )


def _filled(features: Tensor, empty: Tensor, length: int) -> Tensor:
    missing = (length - features.shape[1]) // empty.shape[1]
    return torch.cat([features, *[empty] * missing], 1) if missing else features


class Crossfeed:
    """Mixes a trajectory's pictures with those of its concepts before each step of the first pass."""

    def __init__(self, blend: Blend, pictures: int) -> None:
        trajectory = Trajectory.of(blend, pictures)
        if trajectory is None:
            raise ValueError("not a trajectory")
        self.trajectory = trajectory
        self.blend = blend

    @contextmanager
    def batch(self) -> Iterator[StepFunction]:
        """Change the latents of one batch at its steps. Every denoiser is restored at the end."""
        self.trajectory = replace(self.trajectory, moved=())
        with each_denoiser("forward", self.patch) as follow:
            yield lambda params: None if is_hires(params.denoiser) else follow(params)

    def patch(self, denoiser: Any) -> None:
        """Change the sampler's latents in place before each call of this denoiser."""
        original = denoiser.forward

        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            power = self.blend.crossfeed(denoiser.step / denoiser.total_steps)
            x.copy_(self.trajectory.crossfed(x, power))
            return original(x, *args, **kwargs)

        denoiser.forward = forward

    def sample_again(self, made: Any, run: int) -> bool:
        """Move the pictures along the trajectory, and return whether the batch must be sampled again.

        `made` is the latents as a tensor, or decoded pictures as a list.
        """
        if run > self.blend.rounds or shared.state.interrupted or shared.state.skipped:
            return False
        self.trajectory = self.trajectory.respaced(
            made if isinstance(made, Tensor) else torch.stack(list(made))
        )
        return True

    def mixes(self, sources: Sequence[MixedPrompt]) -> list[MixedPrompt]:
        """The prompts of the pictures at their present places on the trajectory."""
        return [placed(*pair) for pair in zip(sources, self.trajectory.places, strict=True)]

    def begin(self, _p: Any, _x: Tensor, noise: Tensor) -> None:
        """Mix the noise of the pictures between two ends from the noise of the ends."""
        noise.copy_(self.trajectory.crossfed(noise, 1.0))


class MixedLatents:
    """Lets a batch start from mixed noise, or from mixed img2img pictures."""

    def __init__(self, blend: Blend) -> None:
        self.cells = map_cells(blend)

    @contextmanager
    def batch(self) -> Iterator[StepFunction]:
        """Do nothing at the steps of a batch."""
        yield lambda _params: None

    def begin(self, p: Any, x: Tensor, noise: Tensor) -> None:
        """Replace the WebUI's noise or latents by the mix, in place."""
        blend = self.cells[p.iteration % len(self.cells)]
        if blend.concepts[0].image:
            pictures = [concept.image for concept in blend.concepts]
            x.copy_(blended_latents(blend, [self.latents(p, x, k, text) for k, text in enumerate(pictures)]))
        else:
            seeds = [concept.seed for concept in blend.concepts]
            noises = [noise if seed is None else _noise_of(seed, noise) for seed in seeds]
            noise.copy_(blended_noise(blend, noises))

    def latents(self, p: Any, x: Tensor, index: int, text: str) -> Tensor:
        """Encode a concept's picture like an img2img picture, repeated for the batch: [B, C, h, w]."""
        picture = decode_image(text, f"$.blend.concepts[{index}].image")
        height, width = x.shape[-2:]
        size = width * LATENT_FACTOR, height * LATENT_FACTOR
        pixels = np.asarray(fit(picture, *size, "crop_and_resize"), np.float32) / 255
        batch = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())
        encode = sd_samplers_common.images_tensor_to_samples
        methods = sd_samplers_common.approximation_indexes
        found: Tensor = encode(batch, methods.get(shared.opts.sd_vae_encode_method), p.sd_model)
        return found.to(x).expand_as(x)


def _noise_of(seed: int, like: Tensor) -> Tensor:
    noise: Tensor = rng.ImageRNG(tuple(like.shape[1:]), [seed] * len(like)).next()
    return noise.to(like)


def blend_parts(blend: Blend | None, batch: int, *, img2img: bool) -> list[StepHandler]:
    """Return the parts of a blend that act on noise or latents at the steps. Raises RequestError."""
    if blend is None:
        return []
    check_pictures(blend)
    if blend.mode not in {"trajectory", "seeds"}:
        return []
    if blend.mode == "seeds" and blend.concepts[0].image and not img2img:
        raise RequestError("$.blend.concepts[0].image", "pictures' latents are mixed in img2img only")
    return [Crossfeed(blend, batch) if blend.mode == "trajectory" else MixedLatents(blend)]
