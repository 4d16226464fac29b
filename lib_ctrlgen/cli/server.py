"""`--server URL` of `ctrlgen run`, `tune` and `story`: a server for a team makes the job."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import expanded, new_folder

from .common import Parser, bar
from .output import PARTLY_FAILED

if TYPE_CHECKING:
    from lib_ctrlgen.client.server import Server, ServerJob
    from lib_ctrlgen.request.server_answers import WholeJobAnswer

    from .server_folder import SentJob

TOKEN = "CTRLGEN_TOKEN"
OPEN_TO_OTHERS = 0o077
UNITS = {"run": "step", "tune": "cell", "story": "asset"}
NOT_SENT = {
    **dict.fromkeys(("models", "map_cache", "tokenizer", "threads"), "the server has its own"),
    **dict.fromkeys(("ray", "ray_cores", "webui"), "the server says where it works"),
    **dict.fromkeys(("only", "check"), "the server makes the whole story"),
    **dict.fromkeys(("recipes", "no_recipes"), "recipes are saved on the server"),
}
UNENCRYPTED = "the token crosses the network unencrypted: give the server an address with https"


def add_server(parser: Parser) -> None:
    """Add the options."""
    group = parser.add_argument_group("on a server for a team (ctrlgen serve)")
    url = "send the job there, show its progress, and write its files into --out"
    group.add_argument("--server", metavar="URL", help=f"{url}; the token is in {TOKEN}")
    file = f"file with the token, which only you can read, instead of {TOKEN}"
    group.add_argument("--token-file", type=expanded, metavar="FILE", help=file)
    leave = "Ctrl-C leaves the job on the server instead of cancelling it; the same command goes on with it"
    group.add_argument("--detach", action="store_true", help=leave)


def require_server_options(options: argparse.Namespace) -> bool:
    """Whether the job goes to a server. Raises HostError for an option that does not fit."""
    if not options.server:
        if options.token_file or options.detach:
            raise HostError("--token-file and --detach go with --server URL")
        return False
    for name, why in NOT_SENT.items():
        if getattr(options, name, None):
            raise HostError(f"--{name.replace('_', '-')} has no meaning with --server: {why}")
    return True


def token_of(options: argparse.Namespace) -> str:
    """The token in the file of the option, or in the environment. Raises HostError."""
    name, text = TOKEN, os.environ.get(TOKEN, "")
    if options.token_file is not None:
        name, text = str(options.token_file), private_text(options.token_file)
    if not text.strip():
        raise HostError(f"the server needs a token: set {TOKEN}, or name a file with --token-file")
    if not text.isascii() or len(text.split()) != 1:
        raise HostError(f"{name} has one token and nothing else")
    return str(text.strip())


def private_text(path: Path) -> str:
    """The text of a file that only its owner can read. Raises HostError."""
    try:
        mode, text = path.stat().st_mode, path.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise HostError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if os.name == "posix" and mode & OPEN_TO_OTHERS:
        raise HostError(f"{path} is open to other users of this machine: run `chmod 600 {path}`")
    return text


def server_command(options: argparse.Namespace, kind: str, content: Mapping[str, Any], out: Path) -> int:
    """Make a job on a server and write its files into a folder; returns the exit code.

    The same command goes on with a job that was left, or whose files were not fetched. Raises RequestError,
    HostError.
    """
    from lib_ctrlgen.client.server import Server

    from .server_folder import SentJob

    server = Server(options.server, token_of(options))
    if not server.connection.address.loopback and server.url.startswith("http:"):
        print("ctrlgen: warning:", UNENCRYPTED, file=sys.stderr)
    note = SentJob.of(new_folder(out), server.url, kind, content)
    job = posted(server, kind, content, note)
    ended = followed(job, kind, options, note)
    if ended.state != "done":
        note.forget()
        raise problem(ended)
    written = note.placed(job.fetch(note.drafts))
    note.forget()
    return print_job(ended, written)


def posted(server: Server, kind: str, content: Mapping[str, Any], note: SentJob) -> ServerJob:
    """Queue the job, or find it again. The key is kept before anything is sent."""
    if note.is_known:
        print("ctrlgen: this goes on with the job that was sent before", file=sys.stderr)
    note.keep()
    try:
        send = server.story if kind == "story" else server.run
        return send(content, note.key)
    except RequestError:
        note.forget()
        raise
    except KeyboardInterrupt:
        print("ctrlgen: the job may be queued: the same command goes on with it", file=sys.stderr)
        raise


def followed(job: ServerJob, kind: str, options: argparse.Namespace, note: SentJob) -> WholeJobAnswer:
    """The job when it has ended. Ctrl-C cancels it there, or leaves it."""
    file = options.story if kind == "story" else options.job
    waits: list[str] = []
    try:
        with bar(file.stem, UNITS[kind]) as show:

            def report(state: WholeJobAnswer) -> None:
                if state.state == "running" and state.total:
                    show(state.done, state.total)
                elif state.state == "queued" and not waits:
                    waits.append(state.id)
                    print(f"ctrlgen: the job {state.id} waits for its turn", file=sys.stderr)

            return job.follow(report)
    except KeyboardInterrupt:
        if options.detach:
            said = "goes on there; the same command fetches its files"
        else:
            job.cancel()
            note.forget()
            said = "is cancelled"
            with suppress(KeyboardInterrupt):
                job.follow()
        print(f"ctrlgen: the job {job.id} {said}", file=sys.stderr)
        raise


def problem(ended: WholeJobAnswer) -> HostError | RequestError:
    """The error of a job that made nothing."""
    if ended.error is None:
        return HostError(f"the job {ended.id} was {ended.state} on the server")
    if ended.error.path:
        return RequestError(ended.error.path, ended.error.message)
    return HostError(ended.error.message)


def print_job(ended: WholeJobAnswer, written: Mapping[str, Path]) -> int:
    """Print what was written; returns the exit code."""
    for text in ended.warnings:
        print("ctrlgen: warning:", text, file=sys.stderr)
    if ended.recommended:
        print(f"recommended: {ended.recommended}. {ended.reason}")
    shown = [ended.report, *ended.sheets] if ended.report else list(written)
    for name in shown:
        print(written[name])
    return PARTLY_FAILED if ended.failed else 0
