"""Runs a server until it is told to stop: the workers, the application and its HTTP server."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_ctrlgen.cluster.job_runs import JobWorker
from lib_ctrlgen.errors import HostError, install_command

from .limits import Limits
from .local_worker import LocalWorker
from .models import Models
from .service import Service
from .users import UsersFile

USERS = "users.yaml"
MISSING = "the package {name} is missing; install it with: {command}"
CONNECTION_SECONDS = 3  # for open connections, when the server stops
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Where and how a server runs.

    folder    for jobs, results and users
    users     the file with the users
    patience  seconds in which running jobs may end after the server was told to stop
    page      whether the page is served beside the REST routes
    """

    folder: Path
    users: Path
    host: str = "127.0.0.1"
    port: int = 7870
    patience: float = 30.0
    page: bool = True
    limits: Limits = field(default_factory=Limits)


def serve(options: ServerOptions, workers: Sequence[JobWorker], models: Models) -> None:
    """Run a server until SIGTERM or Ctrl-C. Raises HostError for what keeps it from starting."""
    uvicorn = package("uvicorn")
    package("fastapi")
    users = UsersFile(options.users)
    users.entries()
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    service = Service(options.folder, workers, options.limits)
    app = application(service, users, models, options)
    models.checker()  # imports what the first job would wait for
    service.start()
    config = uvicorn.Config(
        app, host=options.host, port=options.port, timeout_graceful_shutdown=CONNECTION_SECONDS,
        access_log=False, server_header=False, log_config=None,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        raise HostError(f"cannot listen on {options.host}:{options.port}: see the error above")


def application(service: Service, users: UsersFile, models: Models, options: ServerOptions) -> Any:
    """The application, which stops the service when it ends."""
    from .access import Access
    from .app import create_app

    access = Access(users)
    app = create_app(service, access, models, lambda: service.stop(options.patience))
    if options.page:
        package("gradio")
        from .dials.routes import add_dials
        from .page.mount import mount_page

        add_dials(app, service, access, models)
        return mount_page(app, service, access, models)
    return app


def package(name: str) -> Any:
    """A package of the extra `serve`. Raises HostError where it is not installed."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise HostError(MISSING.format(name=name, command=install_command("serve"))) from error


@contextmanager
def local_workers(count: int, options: dict[str, Any]) -> Iterator[list[JobWorker]]:
    """Worker processes on this machine, each with an engine of its own."""
    yield [LocalWorker(f"worker {number}", options) for number in range(count)]
