"""A replacement of `p.sample` that lets each part of a request act before the U-Net calls of each step."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

from modules import script_callbacks
from PIL import Image

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.field_errors import mark_of
from lib_ctrlgen.forms.field_places import PanelValues
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.notices import JOINT, KEY, Notices
from lib_ctrlgen.request.spec import ControlRequest
from lib_ctrlgen.webui.callbacks import register_callback
from lib_ctrlgen.webui.page import end_batch, is_plain_page

from .maps import MapOrder
from .method_patch import SamplePatch
from .sheets import sheets

logger = logging.getLogger("ctrlgen")

# A function that is called before each step with the WebUI's CFGDenoiserParams.
StepFunction: TypeAlias = Callable[[Any], None]


class StopSampling(BaseException):
    """Carries an error out of a WebUI callback, which would swallow any `Exception`.

    The WebUI's own `InterruptedException` leaves the sampling loop in the same way.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class StepHandler(Protocol):
    """One part of a request that acts at steps: units, scheduled prompts, guidance or a blend."""

    def batch(self) -> AbstractContextManager[StepFunction]:
        """Act during one batch. The function that it yields is called before each step."""


@runtime_checkable
class HasControlMaps(Protocol):
    """A part that has control maps."""

    def control_maps(self, order: MapOrder) -> list[Image.Image]:
        """Return the control maps of the units that `order` asks for."""


@runtime_checkable
class HasModels(Protocol):
    """A part that has loaded models."""

    def recorded(self, request: ControlRequest) -> ControlRequest:
        """Return the request with the names and hashes of the loaded models."""


@runtime_checkable
class ChangesLatents(Protocol):
    """A part that changes the latents or the noise with which a pass begins."""

    def begin(self, p: Any, x: Any, noise: Any) -> None:
        """Change the latents `x` and the noise of a pass in place, [B, C, h, w] each."""


@runtime_checkable
class RepeatsSampling(Protocol):
    """A part that may require a batch to be sampled again."""

    def sample_again(self, made: Any, run: int) -> bool:
        """Whether to sample again after run number `run`, whose result is `made` [B, ...]."""


@runtime_checkable
class ChangesPictures(Protocol):
    """A part that may change finished pictures."""

    def finished(self, p: Any, made: Any) -> Any:
        """Return a batch's changed latents [B, ...] or decoded pictures. Called inside `batch`."""


@runtime_checkable
class HasNotices(Protocol):
    """A part that may have warnings for the user."""

    notices: Notices


class StepwiseSample(SamplePatch):
    """Replaces `p.sample`, and lets the parts act. A call is one batch, with both passes of hires fix."""

    def __init__(self, p: Any, parts: Sequence[StepHandler], blend: Blend | None = None) -> None:
        super().__init__(p)
        self.parts = tuple(parts)
        self.blend = blend
        self.failure: Exception | None = None

    def begin(self, x: Any, noise: Any) -> None:
        """Prepare a pass. An error is stored until its first step: the WebUI would swallow it here."""
        try:
            for part in self.parts:
                if isinstance(part, ChangesLatents):
                    part.begin(self.p, x, noise)
        except Exception as error:  # noqa: BLE001 - whatever it is, the picture must not be made
            self.failure = error

    def recorded(self, request: ControlRequest) -> ControlRequest:
        """Return the request with the names and hashes of the models that were loaded for it."""
        for part in self.parts:
            request = part.recorded(request) if isinstance(part, HasModels) else request
        return request

    def begun(self, _params: Any) -> None:
        """Before a step, raise the error of `begin`, if there was one."""
        if self.failure is not None:
            raise self.failure

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Sample one batch, or raise the error that makes its control impossible.

        On the page a CtrlGenError ends the batch without pictures instead, see `end_batch`.
        """
        try:
            with self.places.in_errors():
                return self.made(args, kwargs)
        except CtrlGenError as error:
            if not is_plain_page(self.p):
                raise
            return end_batch(self, error)

    def made(self, args: Any, kwargs: Any) -> Any:
        """Return the latents or decoded pictures of one batch, [B, ...]."""
        try:
            with ExitStack() as stack:
                follows = [self.begun, *(stack.enter_context(part.batch()) for part in self.parts)]
                stack.enter_context(each_step(follows))
                made = self.sampled(args, kwargs)
                for part in self.parts:
                    made = part.finished(self.p, made) if isinstance(part, ChangesPictures) else made
            self.warn()
            return made
        except StopSampling as stop:
            failure = stop.error
        raise failure  # outside of `except`, so that the traceback holds it only once

    def warn(self) -> None:
        """Write the parts' warnings into the infotexts, the log, and the comments below the pictures."""
        parts = [part.notices for part in self.parts if isinstance(part, HasNotices)]
        count = len(self.p.all_seeds)
        texts = [JOINT.join(text for found in parts for text in found.of(k)) or None for k in range(count)]
        if any(texts):
            self.p.extra_generation_params[KEY] = texts[0] if len(set(texts)) == 1 else texts
        values = PanelValues.of(self.panel) if self.panel else None
        for notice in dict.fromkeys(replace(notice, picture=None) for found in parts for notice in found):
            logger.warning("%s", notice)
            mark = mark_of(notice.path, notice.message, values, warning=True)
            self.marks += [] if mark in self.marks else [mark]
            self.p.comment(f"CtrlGen: {mark.sentence}")

    def sampled(self, args: Any, kwargs: Any) -> Any:
        """Sample as often as the parts require, each time from the same noise."""
        fresh = fresh_noise(self.p)
        for run in itertools.count(1):
            made = self.original(*args, **kwargs)
            wanted = [
                part.sample_again(made, run) for part in self.parts if isinstance(part, RepeatsSampling)
            ]
            if not any(wanted):
                break
            self.p.rng = fresh()
        return made

    def sheets(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """Return the strips or the map that a blend makes of the finished pictures."""
        return sheets(self.p, self.blend, images)

    def control_maps(self, order: MapOrder) -> list[Image.Image]:
        """Return the control maps of the units that `order` asks for."""
        parts = (part for part in self.parts if isinstance(part, HasControlMaps))
        return [shown for part in parts for shown in part.control_maps(order)]


def fresh_noise(p: Any) -> Callable[[], Any]:
    """Return a function that makes a new random generator like the one of this batch."""
    noise = getattr(p, "rng", None)
    names = ("shape", "seeds", "subseeds", "subseed_strength", "seed_resize_from_h", "seed_resize_from_w")
    given = {name: getattr(noise, name) for name in names if hasattr(noise, name)}
    kind: Any = type(noise)
    return lambda: kind(**given)


def is_hires(denoiser: Any) -> bool:
    """Whether a denoiser samples the second pass of hires fix."""
    return bool(getattr(denoiser.p, "is_hr_pass", False))


@contextmanager
def each_denoiser(name: str, patch: Callable[[Any], None]) -> Iterator[StepFunction]:
    """Yield a function that calls `patch` once for each denoiser, which sets its attribute `name`.

    At the end the attributes are deleted, which restores the methods of the class.
    """
    patched: list[Any] = []

    def follow(params: Any) -> None:
        if params.denoiser not in patched:
            patched.append(params.denoiser)
            patch(params.denoiser)

    try:
        yield follow
    finally:
        for denoiser in patched:
            delattr(denoiser, name)


@contextmanager
def each_step(follows: Sequence[StepFunction]) -> Iterator[None]:
    """Call the functions before the U-Net calls of every step; errors are raised as StopSampling."""

    def step(params: Any) -> None:
        try:
            for follow in follows:
                follow(params)
        except Exception as error:
            raise StopSampling(error) from error

    register_callback("cfg_denoiser", step, __file__)
    try:
        yield
    finally:
        script_callbacks.remove_callbacks_for_function(step)
