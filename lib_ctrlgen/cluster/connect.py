"""To a Ray cluster: one that runs, or one of this machine alone that ends with the command."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lib_ctrlgen.errors import HostError

from .options import LOCAL

LOOPBACK = "127.0.0.1"
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
REACH = 10.0  # seconds for a cluster to answer
CORES = 2  # of an engine without a GPU: more gain little and cost pictures per core
NO_CLUSTER = "no Ray cluster at {address} ({error}): `--ray local` starts one on this machine"


@dataclass(frozen=True, kw_only=True)
class Room:
    """How many engines a cluster has room for, and the cores and GPUs of each."""

    engines: int
    cores: int
    gpus: int


@contextmanager
def connected(address: str, cores: int | None = None) -> Iterator[None]:
    """A connection to a cluster: `local` starts one of this machine (of so many cores).

    A cluster that ran before, `auto` for the one of this machine, goes on running. Raises HostError.
    """
    if address == LOCAL:
        stay_on_loopback()
    require_answer(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address == LOCAL:
            start = {"include_dashboard": False, "_node_ip_address": LOOPBACK, "num_cpus": cores}
            ray.init(address=LOCAL, **start, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise HostError(NO_CLUSTER.format(address=address, error=reason)) from error
    try:
        yield
    finally:
        ray.shutdown()


def require_answer(address: str) -> None:
    """Raise HostError where nothing listens at `HOST:PORT`, `ray://` or not: Ray itself asks for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH).close()
    except (OSError, OverflowError) as error:
        raise HostError(NO_CLUSTER.format(address=address, error=error)) from error


def stay_on_loopback() -> None:
    """Let a cluster that is started now listen on 127.0.0.1 only, behind a token of its own.

    Ray takes its node's public address unless it believes that clusters are not supported here, which it
    reads when it is first imported. Raises HostError where that is too late.
    """
    if "ray" in sys.modules and LOOPBACK_ONLY not in os.environ:
        raise HostError("ray is imported already: a cluster started now would listen on every address")
    os.environ.setdefault(LOOPBACK_ONLY, "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def room(cores: int | None = None) -> Room:
    """How the connected cluster is shared out: an engine per GPU, or else per so many cores.

    Raises HostError where there is room for none.
    """
    import ray

    return shared_out([node["Resources"] for node in ray.nodes() if node["Alive"]], cores)


def shared_out(nodes: list[Mapping[str, Any]], cores: int | None) -> Room:
    """The same for nodes with these resources.

    >>> shared_out([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0}], None)
    Room(engines=4, cores=1, gpus=1)
    >>> shared_out([{"CPU": 5.0}, {"CPU": 2.0}], None)
    Room(engines=3, cores=2, gpus=0)
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus and cores is None:
        return Room(engines=gpus, cores=1, gpus=1)
    most = max((int(node.get("CPU", 0)) for node in nodes), default=0)
    wanted = min(cores or CORES, most)
    if not wanted:
        raise HostError("the cluster has no cores to run an engine on")
    return Room(engines=sum(int(node.get("CPU", 0)) // wanted for node in nodes), cores=wanted, gpus=0)
