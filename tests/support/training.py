"""Small trainings: a folder with pictures, a random tiny model, and the spec between them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.training import OWN_FIELDS, TrainingSpec, training_spec
from lib_ctrlgen.train import prepare
from lib_ctrlgen.train.batch import Batch
from lib_ctrlgen.train.cost import Cost
from lib_ctrlgen.train.methods.base import Base
from lib_ctrlgen.train.prepare import load_base
from tests.support import headless_models as models

SIDE = 64
CPU = Place(device=torch.device("cpu"), dtype=torch.float32)


def picture(seed: int, width: int = SIDE, height: int = SIDE) -> Image.Image:
    """A random picture of large areas."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)


def write_pictures(folder: Path, count: int = 4, caption: str = "a shape {number}") -> Path:
    """`count` pictures with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(number).save(folder / f"view{number}.png")
        if caption:
            (folder / f"view{number}.txt").write_text(caption.format(number=number))
    return folder


def spec(root: Path, **fields: Any) -> TrainingSpec:
    """A training of few steps on the pictures and the model below `root`."""
    payload = {
        "kind": "lora",
        "base": "ctrlgen-tiny",
        "pictures": str(root / "pictures"),
        "out": str(root / "out" / "trained.safetensors"),
        "resolution": SIDE,
        "steps": 4,
        "lr": 1e-2,
        "save_every": 2,
        "validate_every": 2,
        "preview_steps": 2,
        "prompts": ["a shape"],
    }
    kind = str(fields.get("kind", payload["kind"]))
    rank = {"rank": 2} if kind in OWN_FIELDS["rank"] else {}
    return training_spec({**payload, **rank, **fields})


def engine(root: Path) -> Engine:
    """An engine on the model below `root`, with one thread."""
    return Engine([root / "model"], place=CPU, threads=1)


def new_root(root: Path, count: int = 4) -> Path:
    """A folder with the random model and pictures."""
    models.write_small_model(root / "model")
    write_pictures(root / "pictures", count)
    return root


def base(root: Path, **fields: Any) -> Base:
    """The base of a training on the model below `root`."""
    return load_base(spec(root, **fields), engine(root))


def batch(captions: tuple[str, ...] = ("a shape",), seed: int = 0, **fields: Any) -> Batch:
    """Random latents with captions."""
    latents = torch.randn(len(captions), 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    return Batch(latents=latents, captions=captions, **fields)


def randomised(module: torch.nn.Module, scale: float = 0.3) -> None:
    """Give a trained part random weights: a LoRA's second matrices are zero, and do nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def leave_out_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimate no cost from now on, which takes longer than the few steps of a test."""
    cost = Cost(weights=0, activations=0, free=None, parameters=0, memory="")
    monkeypatch.setattr(prepare, "_cost", lambda *_: cost)
