"""Connects to a Ray cluster, or starts one on this machine for the duration of the command."""

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
CONNECT_SECONDS = 10.0  # seconds until a cluster must answer
CORES = 2  # CPU cores per engine: with more cores an engine is hardly faster, and fewer engines fit
NO_CLUSTER = "no Ray cluster at {address} ({error}): `--ray local` starts one on this machine"


@dataclass(frozen=True, kw_only=True)
class EngineSlots:
    """The number of engines that fit on a cluster, and the CPU cores and GPUs of each."""

    engines: int
    cores: int
    gpus: int


@contextmanager
def connected(address: str, cores: int | None = None) -> Iterator[None]:
    """Connect to a cluster within the block; `local` starts one on this machine with `cores` cores.

    `auto` is the cluster that already runs on this machine. Only a cluster that was started here is stopped.
    Raises HostError.
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
    """Raise HostError if nothing listens at `HOST:PORT` or `ray://HOST:PORT`. Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise HostError(NO_CLUSTER.format(address=address, error=error)) from error


def stay_on_loopback() -> None:
    """Make a cluster that is started now listen on 127.0.0.1 only, and require a new token.

    Ray listens on the machine's public address unless it believes that clusters are not supported on this
    system. It reads the variable for that when it is first imported. Raises HostError if that has happened.
    """
    if "ray" in sys.modules and LOOPBACK_ONLY not in os.environ:
        raise HostError("ray is imported already: a cluster started now would listen on every address")
    os.environ.setdefault(LOOPBACK_ONLY, "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def engine_slots(cores: int | None = None) -> EngineSlots:
    """The engines that fit on the connected cluster: one for each GPU, or one for every `cores` CPU cores.

    Raises HostError where none fits.
    """
    import ray

    return fitting_engines([node["Resources"] for node in ray.nodes() if node["Alive"]], cores)


def fitting_engines(nodes: list[Mapping[str, Any]], cores: int | None) -> EngineSlots:
    """The engines that fit on nodes with these resources; see `engine_slots`.

    >>> fitting_engines([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0}], None)
    EngineSlots(engines=4, cores=1, gpus=1)
    >>> fitting_engines([{"CPU": 5.0}, {"CPU": 2.0}], None)
    EngineSlots(engines=3, cores=2, gpus=0)
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus and cores is None:
        return EngineSlots(engines=gpus, cores=1, gpus=1)
    most = max((int(node.get("CPU", 0)) for node in nodes), default=0)
    wanted = min(cores or CORES, most)
    if not wanted:
        raise HostError("the cluster has no CPU cores to run an engine on")
    return EngineSlots(engines=sum(int(node.get("CPU", 0)) // wanted for node in nodes), cores=wanted, gpus=0)
