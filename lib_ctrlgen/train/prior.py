"""Pictures of a class, made by the base model, which keep the training from forgetting the class.

Ruiz et al. 2023, DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lib_ctrlgen.files import read_picture, save_picture
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.disk_cache import key_of
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.request.schedule import constant
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.request.training import TrainingSpec

FOLDER = "prior"
KEY = 16  # digits of a folder's name
Progress = Callable[[int, int], None]


def needs_pictures(spec: TrainingSpec) -> bool:
    """Whether the base model has to make the prior's pictures."""
    return bool(spec.prior and not spec.prior_pictures and spec.prior_prompt)


def prior_folder(spec: TrainingSpec, checkpoint: Path, folder: Path) -> Path:
    """The folder, in that of a training, for pictures of this prompt, checkpoint, size, seed and sampling."""
    made = (spec.prior_prompt, spec.resolution, spec.seed, spec.preview_steps, spec.preview_cfg)
    return folder / FOLDER / key_of(stamp(checkpoint), *made)[:KEY]


def make_prior(spec: TrainingSpec, engine: Engine, into: Path, progress: Progress | None = None) -> None:
    """Make those of the prior's pictures that are missing in a folder, each from its own seed."""
    for number in range(spec.prior_count):
        path = into / f"{number:04}.png"
        if read_picture(path) is None:
            save_picture(engine.generate(_request(spec, number)).images[0], path)
        if progress is not None:
            progress(number + 1, spec.prior_count)


def _request(spec: TrainingSpec, number: int) -> GenerationRequest:
    return GenerationRequest(
        model=spec.base,
        prompt=spec.prior_prompt,
        width=spec.resolution,
        height=spec.resolution,
        steps=spec.preview_steps,
        cfg_scale=constant(spec.preview_cfg),
        seed=(spec.seed + number) % 2**32,
    )
