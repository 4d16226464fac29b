"""What `ctrlgen tune` asks for beyond one machine, opened and closed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lib_ctrlgen.errors import HostError, install_command
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.tuner.check import Checker

from .connect import connected, room
from .options import Spread

if TYPE_CHECKING:
    from .workers import RayWorkers

MISSING = "the package {name} is missing; install it with: {command}"


class SpreadHost(EngineHost):
    """Stacks cells for WebUIs: those of one checkpoint, so that it is loaded seldom.

    Models, samplers and prompts are the WebUIs' own, which check them when they are asked.
    """

    @cached_property
    def checker(self) -> Checker:
        """Checks controls without their models."""
        return Checker(None)

    @property
    def encoder(self) -> str:
        """The WebUIs' own, which they name."""
        return ""

    def check(self, request: GenerationRequest) -> None:
        """Raise RequestError for preprocessors and parameters that do not exist."""
        self.checker.check(request)

    def alike(self, request: GenerationRequest) -> str:
        """The checkpoint."""
        return request.model


@contextmanager
def workers_of(
    spread: Spread, folders: Sequence[Path], requests: Sequence[GenerationRequest]
) -> Iterator[RayWorkers]:
    """Workers for these requests, as long as the block lasts. Raises HostError."""
    require_packages()
    with connected(spread.address):
        workers = webui_workers(spread) if spread.webuis else engine_workers(spread, folders, requests)
        with workers:
            yield workers


def require_packages() -> None:
    """Raise HostError where the extra is not installed. Imports nothing."""
    missing = next((name for name in ("ray", "requests") if find_spec(name) is None), None)
    if missing is not None:
        raise HostError(MISSING.format(name=missing, command=install_command("cluster")))


def engine_workers(
    spread: Spread, folders: Sequence[Path], requests: Sequence[GenerationRequest]
) -> RayWorkers:
    """A headless engine for each share of the cluster, and never more than there are cells."""
    from .engines import EngineRecipe
    from .models import models_for
    from .workers import RayWorkers

    shares = room(spread.cores)
    models = models_for(spread.models, folders, requests)
    recipe = EngineRecipe(
        models=models,
        tokenizer=spread.tokenizer,
        encoder=spread.encoder,
        cores=shares.cores,
        gpus=shares.gpus,
    )
    return RayWorkers([recipe] * min(shares.engines, max(1, len(requests))))


def webui_workers(spread: Spread) -> RayWorkers:
    """One for each WebUI; all of them must answer."""
    from .webuis import WebUIRecipe
    from .workers import RayWorkers

    return RayWorkers([WebUIRecipe(url=url, encoder=spread.encoder) for url in spread.webuis], all_ready=True)
