"""Generates and scores cells with a host, in batches as large as its memory allows.

The protocol `Workers` is implemented by one host in this process, and by hosts on other machines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from msgspec.structs import replace
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.files import read_picture, save_picture
from lib_ctrlgen.request.per_picture import for_picture
from lib_ctrlgen.request.spec import to_payload

from .cells import key_of
from .scoring.scores import Scores

MOST = 16  # pictures of one batch
FAILURES = (CtrlGenError, RuntimeError, ValueError, MemoryError)  # exceptions that mark a cell as failed
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True, kw_only=True)
class CellPictures:
    """The pictures of a cell, each with its seed and the metadata of its file.

    `warnings` are the texts of the generation's `lib_ctrlgen.request.notices`.
    """

    images: tuple[Image.Image, ...]
    seeds: tuple[int, ...]
    infos: tuple[PngInfo, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """A cell to be made: its key, and its request, which makes one picture per seed."""

    key: str
    request: Any


@dataclass(frozen=True, kw_only=True)
class ScoredCell:
    """A cell's pictures and the scores of each.

    others   the number of uncontrolled pictures that were generated for the scores
    spreads  the standard deviations if another tuner scored the cell; `scores` then has one item, the means
    encoder  the CLIP vision encoder of the host that scored the cell
    """

    made: CellPictures
    scores: tuple[Scores, ...]
    others: int = 0
    spreads: Mapping[str, float] | None = None
    encoder: str = ""


Outcome: TypeAlias = ScoredCell | Exception
Stack: TypeAlias = Sequence[Task]


class Host(Protocol):
    """Generates and scores the pictures of a tuner: the headless engine, or the WebUI.

    Requests are of the host's own subclass of `ControlRequest`.
    """

    @property
    def recommended(self) -> str:
        """The name of the file for the recommended cell."""

    @property
    def use(self) -> str:
        """How to use a recipe, in a sentence."""

    @property
    def encoder(self) -> str:
        """The CLIP vision encoder that measures likeness, `name [hash]`; empty without one."""

    def batch(self, payload: Mapping[str, Any], seeds: int) -> Any:
        """The request for a cell's pictures, one per seed.

        Raises RequestError, also for models, samplers, preprocessors and parameters that do not exist.
        """

    def recipe(self, request: Any, folder: Path, files: Sequence[str]) -> str:
        """A text that generates a cell again. `files` are its pictures in the tuner's folder.

        Pictures that the text refers to are written into this folder.
        """

    def alike(self, request: Any) -> str:
        """A text that is equal for requests which can be generated in one batch."""

    def generate(self, requests: Sequence[Any]) -> list[CellPictures]:
        """Generate the pictures of requests for which `alike` is equal. KeyboardInterrupt stops the run."""

    def scores(self, picture: Image.Image, free: Image.Image | None, request: Any) -> Scores:
        """Every score of a picture; `free` is the uncontrolled picture of the same seed."""


class Workers(Protocol):
    """Generates and scores stacks of cells, in any order."""

    def each(self, stacks: Sequence[Stack]) -> Iterator[tuple[Task, Outcome]]:
        """Yield every task once, when it is finished, with its result or error.

        KeyboardInterrupt stops all tasks.
        """


@dataclass
class Capacity:
    """Finds the largest batch that fits into memory by trying, in pixels of all its pictures."""

    fits: int = 0
    fails: int | None = None

    def count(self, wanted: int, pixels: int) -> int:
        """How many of `wanted` cells with this number of pixels to try in one batch; at least 1."""
        if self.fails is None or wanted * pixels <= self.fits:
            return wanted
        return max(1, min(wanted, (self.fits + self.fails) // 2 // pixels))

    def fitted(self, pixels: int) -> None:
        """Record that a batch with this number of pixels was generated."""
        self.fits = max(self.fits, pixels)

    def failed(self, pixels: int) -> None:
        """Record that a batch with this number of pixels ran out of memory."""
        self.fails = pixels if self.fails is None else min(self.fails, pixels)
        self.fits = min(self.fits, self.fails - 1)


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that the memory of a GPU or of the machine ran out."""
    known = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    return known or any(words in str(error).lower() for words in OUT_OF_MEMORY)


@dataclass
class Worker:
    """Generates and scores cells with one host; uncontrolled pictures are stored in `folder`."""

    host: Host
    folder: Path
    capacity: Capacity = field(default_factory=Capacity)

    def each(self, stacks: Sequence[Stack]) -> Iterator[tuple[Task, Outcome]]:
        """Yield every task with its result or error, stack after stack."""
        for stack in stacks:
            yield from self.stack(stack)

    def stack(self, tasks: Stack) -> Iterator[tuple[Task, Outcome]]:
        """Generate the tasks of one stack.

        If a batch fails, its cells are tried in smaller batches, then alone.
        """
        waiting, most = deque(tasks), MOST
        while waiting:
            count = self.count(waiting[0].request, min(len(waiting), most))
            batch = [waiting.popleft() for _ in range(count)]
            try:
                yield from self.batch(batch)
            except FAILURES as error:
                if out_of_memory(error):
                    self.capacity.failed(sum(map(pixels, batch)))
                    release_memory()
                if count == 1:
                    yield batch[0], error
                    continue
                waiting.extendleft(reversed(batch))
                most = most if out_of_memory(error) else 1

    def count(self, request: Any, cells: int) -> int:
        """How many of `cells` cells the next batch has."""
        many = int(request.batch_size)
        pictures = self.capacity.count(min(MOST, cells * many), request.width * request.height)
        return max(1, min(cells, pictures // many))

    def batch(self, tasks: Stack) -> list[tuple[Task, Outcome]]:
        """Generate several cells as one batch and score each."""
        made = self.host.generate([task.request for task in tasks])
        self.capacity.fitted(sum(map(pixels, tasks)))
        return [(task, self.scored(task, each)) for task, each in zip(tasks, made, strict=True)]

    def scored(self, task: Task, made: CellPictures) -> ScoredCell:
        """Score the pictures of a cell."""
        free, others = self.uncontrolled(task.request, len(made.images))
        scores = tuple(
            self.host.scores(picture, free[number] if free else None, for_picture(task.request, number))
            for number, picture in enumerate(made.images)
        )
        return ScoredCell(made=made, scores=scores, others=others, encoder=self.host.encoder)

    def uncontrolled(self, request: Any, count: int) -> tuple[list[Image.Image] | None, int]:
        """The pictures of the same seeds without units (None if the request has none).

        Also returns how many of them were generated now.
        """
        if not request.enabled_units:
            return None, 0
        plain = replace(request, units=())
        key = key_of(to_payload(plain, whole=True))
        paths = [self.folder / f"{key}-{number:02}.png" for number in range(count)]
        known = [picture.convert("RGB") for path in paths if (picture := read_picture(path)) is not None]
        if len(known) == count:
            return known, 0
        (made,) = self.host.generate([plain])
        for path, image, info in zip(paths, made.images, made.infos, strict=True):
            save_picture(image, path, info)
        return [image.convert("RGB") for image in made.images], len(made.images)


def pixels(task: Task) -> int:
    """The number of pixels of a task's pictures."""
    return int(task.request.batch_size * task.request.width * task.request.height)


def release_memory() -> None:
    """Free the GPU memory that a failed batch left in torch's cache."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
