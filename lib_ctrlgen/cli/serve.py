"""`ctrlgen serve`: a server for a team, and its users."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import expanded

from .common import (
    Parser,
    add_map_cache,
    add_model_folders,
    add_threads,
    add_tokenizer,
    folders_of,
    gigabytes_of,
    model_roots,
    require_folder,
    weight_roots,
)

if TYPE_CHECKING:
    from lib_ctrlgen.cluster.job_runs import JobWorker

FOLDER = Path("ctrlgen-server")
EPILOG = """\
examples:
  ctrlgen serve --add-user anna                prints the token of a new user, once
  ctrlgen serve --models /data/models          on this machine: http://127.0.0.1:7870
  ctrlgen serve --models /data/models --ray 10.0.0.5:6379

Put a proxy with TLS in front of it before others than this machine use it. See docs/server.md.
"""


def add_serve(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the parser."""
    serve = commands.add_parser(
        "serve",
        help="serve jobs of a team: REST and a page, tokens, a fair queue",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument(
        "--folder", type=expanded, default=FOLDER, help="folder for jobs, results and users (%(default)s)"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    serve.add_argument("--port", type=_count, default=7870, help="port to listen on (%(default)s)")
    serve.add_argument("--no-page", action="store_true", help="REST alone, without the page in a browser")
    grace = "seconds in which running jobs may end when the server stops (%(default)s)"
    serve.add_argument("--grace", type=_count, default=30, metavar="SECONDS", help=grace)
    _add_users(serve)
    _add_limits(serve)
    _add_workers(serve)
    add_model_folders(serve)
    add_map_cache(serve)
    add_tokenizer(serve)
    add_threads(serve)
    serve.set_defaults(command=serve_command)


def _add_users(serve: Parser) -> None:
    group = serve.add_argument_group("users")
    group.add_argument(
        "--users", type=expanded, metavar="FILE", help="file with the users (FOLDER/users.yaml)"
    )
    group.add_argument("--add-user", metavar="NAME", help="add a user, print the token, and end")
    group.add_argument(
        "--admin", action="store_true", help="the new user sees and cancels the jobs of all users"
    )
    group.add_argument("--new-token", action="store_true", help="the user exists and gets a new token")
    group.add_argument("--remove-user", metavar="NAME", help="remove a user, whose token ends, and end")


def _add_limits(serve: Parser) -> None:
    group = serve.add_argument_group("limits of one user")
    side = "the most pixels of a picture's width and height (%(default)s)"
    group.add_argument("--max-side", type=_count, default=2048, metavar="N", help=side)
    pictures = "the most pictures of a job (%(default)s)"
    group.add_argument("--max-pictures", type=_count, default=400, metavar="N", help=pictures)
    jobs = "the most jobs that wait or run (%(default)s)"
    group.add_argument("--max-jobs", type=_count, default=50, metavar="N", help=jobs)
    upload = "the most MiB of one request, with its pictures (%(default)s)"
    group.add_argument("--max-upload", type=_count, default=32, metavar="MIB", help=upload)
    stored = "the most GiB that are kept: jobs with their files, and versions of recipes (%(default)s)"
    group.add_argument("--max-stored", type=_count, default=20, metavar="GIB", help=stored)
    disk = serve.add_argument_group("the disk of the server")
    free = "GiB that stay free: below that no job is accepted or started (%(default)s)"
    disk.add_argument("--keep-free", type=_count, default=2, metavar="GIB", help=free)
    days = "remove jobs that ended more than N days ago (default: they stay until a user removes them)"
    disk.add_argument("--keep-days", type=_count, default=0, metavar="N", help=days)


def _add_workers(serve: Parser) -> None:
    group = serve.add_argument_group("workers")
    workers = "worker processes on this machine, each with its own models in memory (%(default)s)"
    group.add_argument("--workers", type=_count, default=1, metavar="N", help=workers)
    ray = "work on a Ray cluster instead: HOST:PORT, auto (the one that runs on this machine) or local"
    group.add_argument(
        "--ray", metavar="ADDRESS", help=f"{ray}; model and weight folders have the same paths on all nodes"
    )
    cores = "with --ray, one engine per N CPU cores (default: one per GPU, without GPUs one per 2 cores)"
    group.add_argument("--ray-cores", type=_count, metavar="N", help=cores)


def serve_command(options: argparse.Namespace) -> None:
    """`ctrlgen serve`: adds or removes a user, or serves until it is told to stop."""
    from lib_ctrlgen.serve.users import UsersFile

    users = UsersFile(options.users or options.folder / "users.yaml")
    if options.add_user is not None:
        token = users.add(options.add_user, "admin" if options.admin else "user", replace=options.new_token)
        print(f"the token of {options.add_user}, which is shown only now:", file=sys.stderr)
        print(token)
    elif options.remove_user is not None:
        users.remove(options.remove_user)
    elif options.admin or options.new_token:
        raise HostError("--admin and --new-token go with --add-user NAME")
    else:
        _serve(options, users.path)


def _serve(options: argparse.Namespace, users: Path) -> None:
    from lib_ctrlgen.serve.checks import EngineChecks
    from lib_ctrlgen.serve.limits import GIBIBYTE, MEBIBYTE, Limits
    from lib_ctrlgen.serve.models import EngineModels
    from lib_ctrlgen.serve.program import ServerOptions, serve

    limits = Limits(
        side=options.max_side,
        pictures=options.max_pictures,
        queue=options.max_jobs,
        upload=options.max_upload * MEBIBYTE,
        stored=options.max_stored * GIBIBYTE,
        floor=options.keep_free * GIBIBYTE,
        days=options.keep_days,
    )
    server = ServerOptions(
        folder=options.folder.resolve(),
        users=users,
        host=options.host,
        port=options.port,
        patience=options.grace,
        page=not options.no_page,
        limits=limits,
    )
    folders = tuple(path.resolve() for path in folders_of(options))
    models = EngineModels(EngineChecks(folders, weight_roots(options.models)))
    with _workers(options, folders) as workers:
        serve(server, workers, models)


def _workers(
    options: argparse.Namespace, folders: tuple[Path, ...]
) -> AbstractContextManager[list[JobWorker]]:
    """The workers that the options ask for. Raises HostError."""
    values: dict[str, Any] = {
        "map_cache": _map_cache(options),
        "weights": [str(path.resolve()) for path in weight_roots(options.models)],
    }
    if options.tokenizer is not None:
        require_folder(options.tokenizer, "the tokenizer folder")
        values["tokenizer"] = str(options.tokenizer.resolve())
    if options.ray:
        from lib_ctrlgen.serve.ray_workers import ray_workers

        return ray_workers(options.ray, options.ray_cores, model_roots(options.models), values)
    from lib_ctrlgen.serve.program import local_workers

    values |= {"folders": list(map(str, folders)), "threads": options.threads}
    return local_workers(options.workers, values)


def _map_cache(options: argparse.Namespace) -> float:
    """GB of control maps on disk, by the option or else CTRLGEN_MAP_CACHE. Raises HostError."""
    from .common import map_cache_of

    map_cache_of(options)  # raises for a wrong variable
    given = options.map_cache
    return float(given if given is not None else gigabytes_of(os.environ.get("CTRLGEN_MAP_CACHE") or "0"))


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
