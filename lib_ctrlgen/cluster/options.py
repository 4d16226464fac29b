"""The options of `ctrlgen tune` for several machines. It imports nothing heavy, so that help is quick."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

ModelTransfer: TypeAlias = Literal["path", "ship"]

LOCAL = "local"
TITLE = "several machines (needs Ray; without it, the command says how to install it)"
EXAMPLES = """\
examples:
  ctrlgen tune job.yaml --ray local --ray-cores 2       an engine per two cores of this machine
  ctrlgen tune job.yaml --ray 10.0.0.5:6379 --ray-models ship
  ctrlgen tune job.yaml --webui http://127.0.0.1:7860 --webui http://user:password@10.0.0.7:7860

If a worker is lost, other workers make its cells. The files are the same as on one machine.
"""


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """The machines that make cells: the address of a cluster and how it gets models, or addresses of WebUIs.

    With WebUIs, the cluster only runs the processes that talk to them. `encoder` is the name of the CLIP
    vision encoder that measures likeness.
    """

    address: str = LOCAL
    cores: int | None = None
    models: ModelTransfer = "path"
    webuis: tuple[str, ...] = ()
    tokenizer: str | None = None
    encoder: str = ""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser, in a group of their own."""
    group = parser.add_argument_group(TITLE)
    where = "make the cells on a Ray cluster: HOST:PORT, auto (the one that runs on this machine) or local"
    group.add_argument("--ray", metavar="ADDRESS", help=f"{where} (start one here)")
    share = "one engine per N CPU cores (default: one per GPU, without GPUs one per 2 cores)"
    group.add_argument("--ray-cores", type=_count, metavar="N", help=share)
    models = "path: model folders have the same paths on all nodes; ship: files are sent (%(default)s)"
    group.add_argument("--ray-models", choices=get_args(ModelTransfer), default="path", help=models)
    webui = "make the cells in a running WebUI, http://user:password@host:7860 (repeatable)"
    group.add_argument("--webui", action="append", default=[], metavar="URL", help=webui)


def pool_options(options: argparse.Namespace, encoder: str = "") -> PoolOptions:
    """The parsed options, together with the encoder that the job names."""
    return PoolOptions(
        address=options.ray or LOCAL,
        cores=options.ray_cores,
        models=options.ray_models,
        webuis=tuple(options.webui),
        tokenizer=None if options.tokenizer is None else str(options.tokenizer.resolve()),
        encoder=encoder,
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
