"""How well an IP-Adapter shows a ball that the tiny model never saw, and what else it still can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.images.correlogram import pattern_likeness
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.metrics import colour_likeness, prompt_accuracy
from lib_ctrlgen.models.bundled import NAME
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.request.training import TrainingSpec, training_spec
from lib_ctrlgen.train.tiny.data import held_out_scene
from lib_ctrlgen.train.tiny.scenes import draw
from lib_ctrlgen.train.tiny.subject import (
    SIZE,
    SubjectView,
    backgrounds_for,
    colours_of,
    subject_prompt,
    subject_views,
    write_others,
    write_views,
)
from lib_ctrlgen.tuner.scoring.clip_likeness import Likeness, embedding
from lib_ctrlgen.tuner.scoring.scores import cosine

VIEWS, HELD_OUT, OTHERS = 12, 2, 100  # OTHERS: pictures of other things that a training also sees
FIRST, LOOK_OFFSET = 1000, 500  # held-out scenes, as in benchmarks/tiny_model.py
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Ball:
    """The ball of a seed: ten views to learn from, and two that the training does not see."""

    seed: int
    others: int = OTHERS

    @property
    def views(self) -> tuple[SubjectView, ...]:
        """The views to learn from."""
        return subject_views(self.seed, VIEWS)[:-HELD_OUT]

    @property
    def held_out(self) -> tuple[SubjectView, ...]:
        """The views that no training sees."""
        return subject_views(self.seed, VIEWS)[-HELD_OUT:]

    @property
    def backgrounds(self) -> tuple[str, ...]:
        """The colours that prompts ask for."""
        return backgrounds_for(colours_of(self.seed))

    def training(self, folder: Path, **options: Any) -> TrainingSpec:
        """A training on the views, which are written into `folder`."""
        write_views(self.views, folder)
        write_others(folder / "others", self.others)
        return training_spec(
            {
                "kind": "ip-adapter",
                "base": NAME,
                "adapter": f"{NAME}-ip",
                "pictures": str(folder / "pictures"),
                "masks": str(folder / "masks"),
                "prior_pictures": str(folder / "others"),
                "out": str(folder / "ball.safetensors"),
                "resolution": SIZE,
                "hold_out": 0,
                "validate_every": 0,
                "seed": self.seed,
                **options,
            }
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Measures adapters by pictures of the headless engine, at weight 1, with the same seeds for each."""

    engine: Engine
    steps: int = 20
    repeats: int = 1
    scenes: int = 6

    def scores(self, ball: Ball, adapter: str) -> dict[str, float]:
        """What an adapter shows, each 0..1, but likeness -1..1.

        likeness     cosine of the CLIP embeddings of the pictures and the held-out views
        pattern      likeness of colours and their arrangement, `images.correlogram`
        backgrounds  share of pictures whose background has the prompt's colour
        others       colours of references that are not the ball, as in benchmarks/tiny_model.py
        """
        shown = list(self._balls(ball, adapter))
        held = [view.picture for view in ball.held_out]
        return {
            "likeness": self._clip([picture for picture, _ in shown], held),
            "pattern": mean(pattern_likeness(one, other) for one, _ in shown for other in held),
            "backgrounds": mean(prompt_accuracy(picture, [], colour) for picture, colour in shown),
            "others": mean(self._others(adapter)),
        }

    def ceiling(self, ball: Ball) -> dict[str, float]:
        """The same of the views that the training sees: as like as pictures of the ball are to each other."""
        seen, held = ([view.picture for view in part] for part in (ball.views, ball.held_out))
        pairs = [(one, other) for one in seen for other in held]
        return {
            "likeness": self._clip(seen, held),
            "pattern": mean(pattern_likeness(one, other) for one, other in pairs),
        }

    def _balls(self, ball: Ball, adapter: str) -> Iterator[tuple[Pixels, str]]:
        """Pictures of the ball, and the background that each prompt asks for."""
        for seed in range(self.repeats * len(ball.backgrounds)):
            colour = ball.backgrounds[seed % len(ball.backgrounds)]
            reference = ball.views[seed % len(ball.views)].cut_out
            yield self._picture(subject_prompt(colour), seed, adapter, reference), colour

    def _others(self, adapter: str) -> Iterator[float]:
        for index in range(self.scenes):
            scene, (look, _) = (
                held_out_scene(FIRST + index),
                draw(held_out_scene(FIRST + LOOK_OFFSET + index), SIZE),
            )
            prompt = " and ".join(f"a {shape.kind}" for shape in scene.shapes) + " on a background"
            yield colour_likeness(self._picture(prompt, index, adapter, look), look)

    def _picture(self, prompt: str, seed: int, adapter: str, reference: Pixels) -> Pixels:
        unit = {"model": adapter, "image": encode_image(Image.fromarray(reference))}
        payload = {
            "model": NAME,
            "prompt": prompt,
            "width": SIZE,
            "height": SIZE,
            "steps": self.steps,
            "cfg_scale": 4.0,
            "seed": seed,
            "units": [unit],
        }
        made = self.engine.generate(parse_request(payload, GenerationRequest))
        return np.asarray(made.images[0].convert("RGB"))

    def _clip(self, ours: Sequence[Pixels], theirs: Sequence[Pixels]) -> float:
        encoder, store = Likeness.of(self.engine.store).encoder, self.engine.store
        if encoder is None:
            raise LookupError("the bundled model has lost its vision encoder")
        one, other = (
            [embedding(Image.fromarray(each), encoder, store) for each in part] for part in (ours, theirs)
        )
        return mean(cosine(a, b) for a in one for b in other)


def mean(values: Iterator[float]) -> float:
    """The mean of some numbers."""
    return float(np.mean(list(values)))
