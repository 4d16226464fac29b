"""The workers of environments: installed if the user allowed it, and cached in the model store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .environment import Environment, python_in, variables
from .terms import terms_here
from .worker import Limits, Program, Worker

if TYPE_CHECKING:
    from lib_ctrlgen.models.store import ModelStore

logger = logging.getLogger("ctrlgen")


def worker_of(environment: Environment, store: ModelStore | None) -> Worker:
    """The worker of an environment, the same one for every use of a store.

    Raises ModelError if the environment is missing and the host's terms do not allow its installation,
    HostError if its installation fails.
    """
    terms = terms_here()
    if not environment.is_installed and terms.installs:
        _install(environment)
    environment.require_installed(terms.advice)
    if store is None:
        return _worker(environment)
    worker: Worker = store.cached(("worker", str(environment.folder)), lambda: _worker(environment))
    return worker


def _worker(environment: Environment) -> Worker:
    folder = environment.folder
    program = Program(
        python=python_in(folder),
        file=environment.program,
        variables=variables(),
        advice=f"; if it does not start again, remove {folder} and run {environment.command}",
    )
    return Worker(environment.name, program, Limits())


def _install(environment: Environment) -> None:
    from .installation import installed

    logger.warning("installing %s: it takes %s", environment.name, environment.costs)
    installed(environment, lambda line: logger.info("%s", line))
