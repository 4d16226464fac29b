"""Pictures of a training's prompts, made by the headless engine while the trained part is in the networks."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path

from PIL import Image

from lib_ctrlgen.files import save_picture
from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.prompt_encoder import PromptEncoder
from lib_ctrlgen.models.model_files import ModelFiles
from lib_ctrlgen.request.schedule import constant
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.request.training import TrainingSpec

from .dataset.views import View

FOLDER = "previews"
MOST = 4  # captions that are shown where the spec names no prompts


class PreviewEngine(Engine):
    """An engine that samples with given networks, and encodes every prompt anew.

    It finds the models in `folder`, too, where a training exports what it has so far.
    """

    def __init__(self, engine: Engine, networks: Networks, folder: Path | None = None) -> None:
        self.__dict__.update(vars(engine))
        self.store = copy(engine.store)
        if folder is not None:
            self.store.files = ModelFiles([*engine.store.roots, folder], engine.store.files.index)
        self._networks = networks

    def load(self, _model: str) -> Networks:
        """The given networks."""
        return self._networks

    def encoder(self, networks: Networks) -> PromptEncoder:
        """A new prompt encoder: the text encoders may have changed."""
        return PromptEncoder(text_encoders=networks.text_encoders)


def preview_requests(spec: TrainingSpec, views: Sequence[View]) -> list[GenerationRequest]:
    """The requests of a training's previews: its prompts, else the captions of some views."""
    prompts = spec.preview_prompts() or tuple(dict.fromkeys(view.caption for view in views))[:MOST]
    return [
        GenerationRequest(
            model=spec.base,
            prompt=prompt,
            width=spec.resolution,
            height=spec.resolution,
            steps=spec.preview_steps,
            cfg_scale=constant(spec.preview_cfg),
            seed=spec.seed,
        )
        for prompt in prompts
    ]


def make_previews(
    engine: Engine,
    networks: Networks,
    requests: Sequence[GenerationRequest],
    folder: Path | None = None,
) -> list[Image.Image]:
    """One picture for each request, which may name models in `folder`, too."""
    shown = PreviewEngine(engine, networks, folder)
    return [shown.generate(request).images[0] for request in requests]


def save_previews(pictures: Sequence[Image.Image], folder: Path, step: int) -> tuple[str, ...]:
    """Write the pictures of a step; returns their paths relative to `folder`."""
    names = [f"{FOLDER}/{step:06}-{number}.png" for number in range(len(pictures))]
    for name, picture in zip(names, pictures, strict=True):
        save_picture(picture, folder / name)
    return tuple(names)
