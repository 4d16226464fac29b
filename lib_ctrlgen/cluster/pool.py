"""Opens and closes the workers of `ctrlgen tune` on other machines."""

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

from .connect import connected, engine_slots
from .options import PoolOptions

if TYPE_CHECKING:
    from .workers import RayWorkers

MISSING = "the package {name} is missing; install it with: {command}"


class WebUIPoolHost(EngineHost):
    """The host for cells that WebUIs make. It groups cells by checkpoint, so that few are loaded.

    The WebUIs have their own models and samplers, and check names and prompts themselves.
    """

    @cached_property
    def checker(self) -> Checker:
        """Checks units without reading their models."""
        return Checker(None)

    @property
    def encoder(self) -> str:
        """Empty: each WebUI reports the encoder that it used."""
        return ""

    def check(self, request: GenerationRequest) -> None:
        """Raise RequestError for unknown preprocessors and for wrong parameters."""
        self.checker.check(request)

    def alike(self, request: GenerationRequest) -> str:
        """The name of the checkpoint."""
        return request.model


@contextmanager
def workers_of(
    options: PoolOptions, folders: Sequence[Path], requests: Sequence[GenerationRequest]
) -> Iterator[RayWorkers]:
    """Workers for these requests within the block. Raises HostError."""
    require_packages()
    with connected(options.address):
        workers = webui_workers(options) if options.webuis else engine_workers(options, folders, requests)
        with workers:
            yield workers


def require_packages() -> None:
    """Raise HostError where Ray or requests is not installed. Imports neither."""
    missing = next((name for name in ("ray", "requests") if find_spec(name) is None), None)
    if missing is not None:
        raise HostError(MISSING.format(name=missing, command=install_command("cluster")))


def engine_workers(
    options: PoolOptions, folders: Sequence[Path], requests: Sequence[GenerationRequest]
) -> RayWorkers:
    """Workers with a headless engine each, as many as fit on the cluster, at most one per cell."""
    from .engines import EngineRecipe
    from .models import models_for
    from .workers import RayWorkers

    slots = engine_slots(options.cores)
    models = models_for(options.models, folders, requests)
    recipe = EngineRecipe(
        models=models,
        tokenizer=options.tokenizer,
        encoder=options.encoder,
        cores=slots.cores,
        gpus=slots.gpus,
    )
    return RayWorkers([recipe] * min(slots.engines, max(1, len(requests))))


def webui_workers(options: PoolOptions) -> RayWorkers:
    """One worker for each WebUI; all of them must answer."""
    from .webuis import WebUIRecipe
    from .workers import RayWorkers

    return RayWorkers(
        [WebUIRecipe(url=url, encoder=options.encoder) for url in options.webuis], all_ready=True
    )
