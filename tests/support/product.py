"""Quick runs of `ctrlgen product`: nothing is trained, and pictures are drawn."""

import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import torch
from PIL import Image

from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.projects.product.environments import Environment, named
from lib_ctrlgen.projects.product.run import ProductRun
from lib_ctrlgen.projects.product.settings import ProductSettings
from lib_ctrlgen.projects.product.setup import read_setup
from lib_ctrlgen.projects.product.views import ProductFolders
from lib_ctrlgen.request.plan import compile_plan
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.tiny.subject import subject_views, write_views

PLACES = named(
    [Environment(prompt="on a red background"), Environment(prompt="on a green background", x=0.4)]
)
QUICK = {"steps": 2, "size": 64}
SHOTS = 2 * len(PLACES)  # pictures of a run: each place without the adapter and with it


class WatchedEngine(Engine):
    """Draws instead of sampling: the reference of the adapter, or nothing but red where it does not act.

    It counts the pictures. Each of them sets `begun`, and waits for `going`.
    """

    def __init__(self) -> None:
        folder = tiny_folder()
        place = Place(device=torch.device("cpu"), dtype=torch.float32, tokenizer=folder / "text")
        super().__init__([folder], threads=1, place=place)
        self.made, self.begun, self.going = 0, Event(), Event()
        self.going.set()

    def generate(self, request: Any, progress: Any = None) -> Generation:
        tell = progress or (lambda _done, _total: None)
        self.begun.set()
        while not self.going.wait(0.02):
            tell(0, request.steps)  # raises when the task was cancelled
        for step in range(request.steps):
            tell(step + 1, request.steps)
        size = request.width, request.height
        picture = Image.new("RGB", size, "red")
        for unit in request.units:
            if unit.model.endswith("-ip.safetensors"):
                picture = to_rgb(decode_image(unit.image, "")).resize(size)
        self.made += 1
        plan = compile_plan(request.enabled_units, request.steps)
        seeds = (request.seed,)
        return Generation(
            request=request, images=(picture,), seeds=seeds, control_maps=(), plan=plan, seconds=0.1
        )


def adapter() -> Path:
    return next(tiny_folder().rglob("ctrlgen-tiny-ip.safetensors"))


def write_ball(folder: Path, count: int = 4) -> Path:
    write_views(subject_views(0, count), folder)
    return folder


def no_training(_spec: TrainingSpec) -> Engine:
    raise AssertionError("nothing is to be trained")


def run_of(ball: Path, out: Path, engine: Engine, **changed: Any) -> ProductRun:
    """A run with the settings of the folder's last one, as `ctrlgen product --app` opens it."""
    setup = read_setup(out)
    fields = {
        "folders": ProductFolders.of(ball),
        "out": out,
        "settings": setup.settings if setup else ProductSettings(**QUICK),
        "environments": setup.environments if setup else PLACES,
        "engine": engine,
        "engine_for": no_training,
        "adapter": adapter(),
    }
    return ProductRun(**{**fields, **changed})


def main(ball: Path, out: Path, last: int) -> None:
    """A run that says so on stdout in the middle of the picture `last`, counted from 0, and then waits."""
    engine = WatchedEngine()

    def step(done: int, _total: int) -> None:
        if (engine.made, done) == (last, 1):
            sys.stdout.write("here\n")
            sys.stdout.flush()
            sys.stdin.readline()

    run_of(ball, out, engine, step=step)()


def arguments(values: Sequence[str]) -> tuple[Path, Path, int]:
    ball, out, last = values
    return Path(ball), Path(out), int(last)


if __name__ == "__main__":
    main(*arguments(sys.argv[1:]))
