"""What a LoRA and an embedding learn on the bundled tiny model.

The style of the LoRA is a mounted print: a white frame around the picture, which no picture that the tiny
model was trained on has. It learns from 40 pictures with ordinary captions that do not name it. Measured, on
prompts of scenes that neither the model nor the LoRA has seen: how much of the frame there is, as a share of
the style, and whether the pictures inside it show the colours, shapes and background of their prompts.

An embedding learns one word for a subject, a kind of shape in one colour, from 12 pictures of it on other
backgrounds. Measured: whether pictures of that word show the subject, and the backgrounds of their prompts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from _harness import Limit, Result, at_least, effort, finish, parser
from PIL import Image

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.images.metrics import find_scene, prompt_accuracy
from lib_ctrlgen.models.bundled import NAME, bundled_folders, bundled_tokenizer
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.request.training import training_spec
from lib_ctrlgen.train.run import train
from lib_ctrlgen.train.tiny.data import held_out_scene
from lib_ctrlgen.train.tiny.scenes import COLOURS, Scene, draw
from lib_ctrlgen.train.tiny.words import full_caption

SIZE, GUIDANCE = 128, 4.0
FRAME, INSIDE = 8, 12  # pixels: how wide the frame is, and where the picture inside it is measured
FIRST = 3000  # held-out scenes from here on


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How many seeds; of each the pictures to learn from, held out and measured, and the sampler's steps.

    styled and trained are the pictures to learn a style from, and a word.
    """

    seeds: int
    styled: int = 40
    trained: int = 12
    held_out: int = 4
    measured: int = 16
    sampler: int = 12


STYLE: dict[str, Any] = {
    "kind": "lora",
    "lr": 1e-3,
    "rank": 8,
    "convolutions": True,
    "min_snr": 0.0,
    "ema": 0.99,
    "warmup": 10,
}
TOKEN: dict[str, Any] = {"kind": "textual-inversion", "lr": 1e-2, "vectors": 2, "initial": "a shape"}


def framed(picture: np.ndarray) -> np.ndarray:
    """The picture uint8 [H, W, 3] in the style."""
    found = np.empty_like(picture)
    found[:] = COLOURS["white"]
    found[FRAME:-FRAME, FRAME:-FRAME] = picture[FRAME:-FRAME, FRAME:-FRAME]
    return found


def inside(picture: np.ndarray) -> np.ndarray:
    """The picture inside of the frame, without the frame's soft edge."""
    return np.ascontiguousarray(picture[INSIDE:-INSIDE, INSIDE:-INSIDE])


def style_share(pictures: Sequence[np.ndarray], scenes: Sequence[Scene]) -> float:
    """How much of the frame pictures of scenes have: 0 as the scenes are drawn, 1 in the style."""
    drawn = mean(distance(draw(scene, SIZE)[0]) for scene in scenes)
    return 1 - mean(map(distance, pictures)) / drawn


def distance(picture: np.ndarray) -> float:
    """The mean difference from white where the frame is, without its edge's last two pixels."""
    wide = FRAME - 2
    off = np.abs(picture.astype(np.float32) - np.array(COLOURS["white"], np.float32)).mean(-1)
    return float(np.concatenate([off[:wide], off[-wide:], off[:, :wide].T, off[:, -wide:].T]).mean())


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes pictures with the bundled model, and with what was trained, by its exported file."""

    engine: Engine
    steps: int

    def picture(self, prompt: str, seed: int) -> np.ndarray:
        """A picture uint8 [128, 128, 3]."""
        payload = {"model": NAME, "prompt": prompt, "width": SIZE, "height": SIZE, "steps": self.steps}
        payload |= {"cfg_scale": GUIDANCE, "seed": seed}
        made = self.engine.generate(parse_request(payload, GenerationRequest))
        return np.asarray(made.images[0].convert("RGB"))


def engine(folder: Path) -> Engine:
    """An engine that finds the bundled model, and trained files below a folder."""
    place = Place.best(bundled_tokenizer())
    return Engine([*bundled_folders(), folder], place=place, threads=torch.get_num_threads())


def write(folder: Path, name: str, picture: np.ndarray, caption: str) -> None:
    """Write a picture of the training with its caption."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(caption)


def trained(folder: Path, seed: int, out: Path, size: Effort, **options: Any) -> None:
    """Train on the pictures in `folder`."""
    common = {
        "base": NAME,
        "pictures": str(folder),
        "out": str(out),
        "resolution": SIZE,
        "batch": 4,
        "seed": seed,
        "hold_out": size.held_out,
        "preview_steps": size.sampler,
        "preview_cfg": GUIDANCE,
        "patience": 0,
    }
    train(training_spec({**common, **options}), engine(folder))


def style_run(root: Path, seed: int, steps: int, size: Effort) -> dict[str, float]:
    """Train the style with a seed, and measure pictures before and after."""
    pictures, out = root / f"style-{seed}", root / "out" / f"framed{seed}.safetensors"
    for index in range(size.styled + size.held_out):
        scene = held_out_scene(FIRST + 100 * seed + index)
        write(pictures, f"{index:02}", framed(draw(scene, SIZE)[0]), full_caption(scene))
    trained(pictures, seed, out, size, **{**STYLE, "steps": steps, "validate_every": steps})
    maker = Maker(engine=engine(root / "out"), steps=size.sampler)
    scenes = [held_out_scene(FIRST + 5000 + 100 * seed + index) for index in range(size.measured)]
    before = [maker.picture(full_caption(scene), index) for index, scene in enumerate(scenes)]
    tag = f"<lora:{out.stem}:1>"
    after = [maker.picture(full_caption(scene) + tag, index) for index, scene in enumerate(scenes)]
    return {
        "style_before": style_share(before, scenes),
        "style_after": style_share(after, scenes),
        "prompt_before": mean(map(accuracy, map(inside, before), scenes)),
        "prompt_after": mean(map(accuracy, map(inside, after), scenes)),
    }


def accuracy(picture: np.ndarray, scene: Scene) -> float:
    """The share of a scene's colours, shapes and background that a picture shows."""
    return prompt_accuracy(picture, [(s.colour, s.kind) for s in scene.shapes], scene.background.colour)


SUBJECTS = (
    ("purple", "ring"),
    ("green", "star"),
    ("red", "cross"),
    ("blue", "triangle"),
    ("orange", "square"),
)


def subject_scene(index: int, colour: str, kind: str) -> Scene:
    """A held-out scene whose one shape is of this kind and colour, on a background of another colour."""
    scenes = (held_out_scene(FIRST + 10_000 + 40 * index + number) for number in range(40))
    found = next(each for each in scenes if len(each.shapes) == 1 and each.background.colour != colour)
    shape = replace(found.shapes[0], kind=kind, colour=colour, rgb=COLOURS[colour])
    return replace(found, shapes=(shape,))


def token_run(root: Path, seed: int, steps: int, size: Effort) -> dict[str, float]:
    """Train a word for a subject with a seed, and measure pictures before and after."""
    colour, kind = SUBJECTS[seed % len(SUBJECTS)]
    pictures, out = root / f"token-{seed}", root / "out" / "embeddings" / f"zubject{seed}.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    for index in range(size.trained + size.held_out):
        scene = subject_scene(100 * seed + index, colour, kind)
        write(pictures, f"{index:02}", draw(scene, SIZE)[0], told(scene, out.stem))
    trained(pictures, seed, out, size, **{**TOKEN, "steps": steps, "validate_every": steps})
    maker = Maker(engine=engine(root / "out"), steps=size.sampler)
    scenes = [subject_scene(100 * seed + 50 + index, colour, kind) for index in range(size.measured)]
    before = [maker.picture(told(scene, "a shape"), index) for index, scene in enumerate(scenes)]
    after = [maker.picture(told(scene, out.stem), index) for index, scene in enumerate(scenes)]
    named = [maker.picture(full_caption(scene), index) for index, scene in enumerate(scenes)]
    return {
        "subject_before": mean(shows(each, colour, kind) for each in before),
        "subject_after": mean(shows(each, colour, kind) for each in after),
        "subject_named": mean(shows(each, colour, kind) for each in named),
        "background_before": mean(map(has_background, before, scenes)),
        "background_after": mean(map(has_background, after, scenes)),
    }


def told(scene: Scene, word: str) -> str:
    """The caption of a scene with a word in the place of its shape."""
    return f"{word} on {full_caption(scene).partition(' on ')[2]}"


def shows(picture: np.ndarray, colour: str, kind: str) -> float:
    """Half for the colour and half for the kind of the largest shape."""
    shapes = find_scene(picture).shapes
    return 0.0 if not shapes else ((shapes[0].colour == colour) + (shapes[0].kind == kind)) / 2


def has_background(picture: np.ndarray, scene: Scene) -> float:
    """1 if the background has the colour that the prompt says."""
    return float(find_scene(picture).background == scene.background.colour)


def summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean over the seeds, and where there are several the standard deviation as NAME_sd."""
    found = {name: mean(row[name] for row in rows) for name in rows[0]}
    spread = {f"{n}_sd": stdev(row[n] for row in rows) for n in rows[0]} if len(rows) > 1 else {}
    return found | spread


LIMITS: dict[str, Limit] = {
    "style_after": at_least(0.5),
    "prompt_change": at_least(-0.05),
    "subject_after": at_least(0.6),
    "background_change": at_least(-0.05),
}
MEASURED = {
    "style": (style_run, ("prompt_before", "prompt_after", "prompt_change"), 400),
    "token": (token_run, ("background_before", "background_after", "background_change"), 60),
}


def main() -> int:
    """Train with some seeds, and print the figures."""
    options = arguments().parse_args()
    smoke = Effort(seeds=1, styled=2, trained=2, held_out=1, measured=1, sampler=1)
    size = effort(options, smoke=smoke, quick=Effort(seeds=2), full=Effort(seeds=5))
    figures: dict[str, float] = {}
    for name in options.only:
        run, (before, after, change), steps = MEASURED[name]
        steps = effort(options, smoke=2, quick=steps, full=steps)
        with tempfile.TemporaryDirectory() as folder:
            rows = [run(Path(folder), seed, steps, size) for seed in range(size.seeds)]
        figures |= summary([{**row, change: row[after] - row[before]} for row in rows])
    limits = {name: limit for name, limit in LIMITS.items() if name in figures and not options.smoke}
    return finish(Result("train_style", figures, limits), options)


def arguments() -> argparse.ArgumentParser:
    """The flags of every benchmark."""
    flags = parser(__doc__.splitlines()[0] if __doc__ else "")
    flags.add_argument("--only", nargs="+", choices=MEASURED, default=[*MEASURED], help="what is trained")
    return flags


if __name__ == "__main__":
    sys.exit(main())
