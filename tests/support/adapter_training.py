"""IP-Adapter trainings on the random tiny model, a batch at a time."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.training import TrainingSpec, training_spec
from lib_ctrlgen.train.batch import Batch
from lib_ctrlgen.train.dataset.batches import Batches
from lib_ctrlgen.train.dataset.cache import TensorCache
from lib_ctrlgen.train.dataset.captions import caption_features
from lib_ctrlgen.train.dataset.encoded import ViewEncoder
from lib_ctrlgen.train.dataset.problems import Problems
from lib_ctrlgen.train.dataset.scan import scan
from lib_ctrlgen.train.forward import encode_captions
from lib_ctrlgen.train.methods.base import Base
from lib_ctrlgen.train.methods.ip_adapter import IPAdapterMethod
from lib_ctrlgen.train.objective import Noised, Objective
from tests.support import control_files as files
from tests.support.headless_models import SMALL, write_small_model

CPU = torch.device("cpu")


def base_in(folder: Path) -> Base:
    """The random tiny model with adapters `plain`, `plus` and `full` beside it."""
    write_small_model(folder)
    widths = files.shape(**SMALL).attention_hidden
    files.save_adapter(folder / "plain.safetensors", files.plain_projection()[1], widths)
    files.save_adapter(folder / "plus.safetensors", files.plus_projection()[1], widths)
    return base_of(Engine([folder], 1 << 30, Place(device=CPU, dtype=torch.float32)), "ctrlgen-tiny")


def base_of(engine: Engine, model: str) -> Base:
    return Base(networks=engine.load(model), store=engine.store, device=CPU, dtype=torch.float32)


def spec(adapter: str = "plain", part: str = "low-rank", **fields: Any) -> TrainingSpec:
    given = {"base": "ctrlgen-tiny", "pictures": "pictures", "out": "out.safetensors", "rank": 4, **fields}
    return training_spec({"kind": "ip-adapter", "adapter": adapter, "part": part, **given})


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    return [files.picture(32, 32, seed + number) for number in range(count)]


def batch(base: Base, method: IPAdapterMethod, *, rows: int = 2, seed: int = 0, prior: bool = False) -> Batch:
    """Rows of random latents of 64 pixels, the last of them without a reference."""
    generator = torch.Generator().manual_seed(seed)
    captions = ("a red star", "a dog", "", "a cat")[:rows]
    with torch.no_grad():
        text = encode_captions(base.networks, captions)
    return Batch(
        latents=torch.randn(rows, 4, 8, 8, generator=generator),
        captions=captions,
        text=text,
        references=method.references(pictures(rows, seed)),
        unreferenced=torch.arange(rows) == rows - 1,
        prior=prior,
    )


def objective(base: Base) -> Objective:
    return Objective.of(base.networks.noise, 5.0, CPU)


def drawn(base: Base, shown: Batch, seed: int = 0) -> Noised:
    return objective(base).noised(shown.latents, torch.Generator().manual_seed(seed))


def predicted(base: Base, method: IPAdapterMethod, shown: Batch) -> Tensor:
    """What the method predicts for a batch with fixed noise."""
    noised = drawn(base, shown)
    with method.engaged(), torch.no_grad():
        return method.predict(shown, noised.noisy, noised.timesteps)


def batches(base: Base, method: IPAdapterMethod, folder: Path, *, prior: bool = False) -> Batches:
    """The batches of a folder's pictures, as a training draws them."""
    spec, cached = method.spec, TensorCache.at(folder / "cache", base="")
    views = scan(str(folder), "", spec.resolution, spec.caption, Problems())
    text = caption_features(base.networks, [view.caption for view in views], cached)
    encoded = ViewEncoder(spec=spec, base=base, method=method, cached=cached).encode(views)
    return Batches(spec=spec, views=encoded, text=text, sized=False, prior=prior)


@torch.no_grad()
def loss_of(base: Base, method: IPAdapterMethod, shown: Batch, seed: int) -> float:
    """The loss of a batch with fixed noise."""
    with method.engaged():
        return float(objective(base).loss(method, shown, drawn(base, shown, seed)))


def trained(base: Base, method: IPAdapterMethod, steps: list[list[Batch]]) -> list[float]:
    """Plain optimiser steps, each on the sum of the losses of its batches; the loss of each first batch."""
    losses, optimiser = [], torch.optim.AdamW(method.groups(), weight_decay=0.0)
    with method.engaged():
        for number, shown in enumerate(steps):
            parts = [objective(base).loss(method, each, drawn(base, each, number)) for each in shown]
            optimiser.zero_grad()
            sum(parts, torch.zeros(())).backward()
            optimiser.step()
            losses.append(parts[0].item())
    return losses
