"""A sampling whose steps are followed: before the U-Net calls of each step, every part of a request acts."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol, TypeAlias, runtime_checkable

from modules import script_callbacks
from PIL import Image

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.notices import JOINT, KEY, Notices
from lib_ctrlgen.request.spec import ControlRequest
from lib_ctrlgen.webui.page import end_batch, is_plain_page

from .method_patch import SamplePatch
from .sheets import sheets

logger = logging.getLogger("ctrlgen")

# Called with the WebUI's CFGDenoiserParams.
Follow: TypeAlias = Callable[[Any], None]


class Stop(BaseException):
    """Carries a failure out of a callback: the WebUI swallows every `Exception` raised there.

    Its own `InterruptedException` leaves the sampling loop the same way.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class StepHandler(Protocol):
    """One part of a request: the units, the prompts' schedules, the guidance, the blend."""

    def batch(self) -> AbstractContextManager[Follow]:
        """Act on one batch; what it gives is called before each step. Leaves nothing behind."""


@runtime_checkable
class Showing(Protocol):
    """A part with control networks."""

    def control_maps(self) -> list[Image.Image]:
        """What they saw."""


@runtime_checkable
class Recording(Protocol):
    """A part that loaded models."""

    def recorded(self, request: ControlRequest) -> ControlRequest:
        """A request with their names and hashes."""


@runtime_checkable
class Beginning(Protocol):
    """A part that changes what a pass begins with."""

    def begin(self, p: Any, x: Any, noise: Any) -> None:
        """Change, in place, the latents [B, C, h, w] and the noise of a pass that is about to begin."""


@runtime_checkable
class Repeating(Protocol):
    """A part that may want a batch to be sampled again."""

    def again(self, made: Any, run: int) -> bool:
        """Whether, after run number `run` that made these latents or pictures [B, ...]."""


@runtime_checkable
class Finishing(Protocol):
    """A part that may change finished pictures."""

    def finished(self, p: Any, made: Any) -> Any:
        """What a batch made, latents [B, ...] or decoded pictures, after that; called within `batch`."""


@runtime_checkable
class Noticing(Protocol):
    """A part that may have warnings."""

    notices: Notices


class FollowedSample(SamplePatch):
    """`p.sample` with parts that act. Called once per batch; spans both passes of hires-fix."""

    def __init__(self, p: Any, parts: Sequence[StepHandler], blend: Blend | None = None) -> None:
        super().__init__(p)
        self.parts = tuple(parts)
        self.blend = blend
        self.failure: Exception | None = None

    def begin(self, x: Any, noise: Any) -> None:
        """A pass is about to begin. A failure is kept for its first step: the WebUI would swallow it."""
        try:
            for part in self.parts:
                if isinstance(part, Beginning):
                    part.begin(self.p, x, noise)
        except Exception as error:  # noqa: BLE001 - whatever it is, the picture must not be made
            self.failure = error

    def recorded(self, request: ControlRequest) -> ControlRequest:
        """A request with the names and hashes of the models that were loaded for it."""
        for part in self.parts:
            request = part.recorded(request) if isinstance(part, Recording) else request
        return request

    def begun(self, _params: Any) -> None:
        """Before a step: raise what made the beginning fail."""
        if self.failure is not None:
            raise self.failure

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Sample one batch. Raises instead of sampling without control.

        On the page an error of ours ends the batch without pictures instead, see `end_batch`.
        """
        try:
            return self.made(args, kwargs)
        except CtrlGenError as error:
            if not is_plain_page(self.p):
                raise
            return end_batch(self, error)

    def made(self, args: Any, kwargs: Any) -> Any:
        """The latents or pictures of one batch, [B, ...]."""
        try:
            with ExitStack() as stack:
                follows = [self.begun, *(stack.enter_context(part.batch()) for part in self.parts)]
                stack.enter_context(each_step(follows))
                made = self.sampled(args, kwargs)
                for part in self.parts:
                    made = part.finished(self.p, made) if isinstance(part, Finishing) else made
            self.warn()
            return made
        except Stop as stop:
            failure = stop.error
        raise failure  # out here, so that a traceback does not tell it twice

    def warn(self) -> None:
        """Put the parts' warnings into the infotexts and, as comments, below the pictures of the page."""
        parts = [part.notices for part in self.parts if isinstance(part, Noticing)]
        count = len(self.p.all_seeds)
        texts = [JOINT.join(text for found in parts for text in found.of(k)) or None for k in range(count)]
        if any(texts):
            self.p.extra_generation_params[KEY] = texts[0] if len(set(texts)) == 1 else texts
        for text in dict.fromkeys(text for found in parts for text in found.of()):
            logger.warning("%s", text)
            self.p.comment(f"CtrlGen: {text}")

    def sampled(self, args: Any, kwargs: Any) -> Any:
        """Sample as often as the parts want it, each time from the same noise."""
        fresh = fresh_noise(self.p)
        for run in itertools.count(1):
            made = self.original(*args, **kwargs)
            wanted = [part.again(made, run) for part in self.parts if isinstance(part, Repeating)]
            if not any(wanted):
                break
            self.p.rng = fresh()
        return made

    def sheets(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """What a blend makes of the finished pictures: strips, a map."""
        return sheets(self.p, self.blend, images)

    def control_maps(self) -> list[Image.Image]:
        """What the control networks saw at the last size, unit by unit."""
        parts = (part for part in self.parts if isinstance(part, Showing))
        return [shown for part in parts for shown in part.control_maps()]


def fresh_noise(p: Any) -> Callable[[], Any]:
    """Makes the noise of `p` anew, as the WebUI made it for this batch."""
    noise = getattr(p, "rng", None)
    names = ("shape", "seeds", "subseeds", "subseed_strength", "seed_resize_from_h", "seed_resize_from_w")
    given = {name: getattr(noise, name) for name in names if hasattr(noise, name)}
    kind: Any = type(noise)
    return lambda: kind(**given)


def is_hires(denoiser: Any) -> bool:
    """Whether a denoiser works in the second pass of hires-fix."""
    return bool(getattr(denoiser.p, "is_hr_pass", False))


@contextmanager
def each_denoiser(name: str, take: Callable[[Any], None]) -> Iterator[Follow]:
    """What it gives lets `take` put something of ours in the attribute `name` of each denoiser, once.

    On the instance, so that deleting it leaves the denoiser as it was.
    """
    taken: list[Any] = []

    def follow(params: Any) -> None:
        if params.denoiser not in taken:
            taken.append(params.denoiser)
            take(params.denoiser)

    try:
        yield follow
    finally:
        for denoiser in taken:
            delattr(denoiser, name)


@contextmanager
def each_step(follows: Sequence[Follow]) -> Iterator[None]:
    """Call them before the U-Net calls of every sampling step; failures come out as Stop."""

    def step(params: Any) -> None:
        try:
            for follow in follows:
                follow(params)
        except Exception as error:
            raise Stop(error) from error

    script_callbacks.on_cfg_denoiser(step, name="ctrlgen")
    try:
        yield
    finally:
        script_callbacks.remove_callbacks_for_function(step)
