"""The program of a worker process: it reads jobs from its standard input and answers on its standard output.

Each message is a line of JSON. The program ends when its input ends, so a worker never outlives its server.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TextIO

from lib_ctrlgen.cluster.job_runs import Runner, Stops, outcome_of
from lib_ctrlgen.errors import CtrlGenError

Build = Callable[[Mapping[str, Any]], Runner]


class Channel:
    """Messages to the server. What libraries print goes to standard error."""

    def __init__(self) -> None:
        own = os.dup(1)
        os.dup2(2, 1)
        self._stream: TextIO = os.fdopen(own, "w", encoding="utf-8")
        self._lock = Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; the program ends if the server is gone."""
        try:
            with self._lock:
                self._stream.write(json.dumps(message) + "\n")
                self._stream.flush()
        except OSError:
            os._exit(0)


def main(arguments: list[str]) -> None:
    """Run the jobs that the server sends; `arguments` are a builder, `module:function`, and its options."""
    for each in (signal.SIGINT, signal.SIGTERM):  # the server says when to stop
        signal.signal(each, signal.SIG_IGN)
    channel, jobs, stops = Channel(), SimpleQueue[dict[str, Any]](), Stops(set())
    Thread(target=listen, args=(jobs, stops), daemon=True).start()
    name, options = arguments
    try:
        runner = builder(name)(json.loads(options))
    except CtrlGenError as error:
        channel.send({"broken": str(error)})
        return
    channel.send({"ready": os.getpid()})
    while True:
        work = jobs.get()
        report = stops.watched(work["id"], lambda done, total: channel.send({"done": done, "total": total}))
        channel.send({"outcome": outcome_of(runner, work, Path(work["folder"]), report)})


def listen(jobs: SimpleQueue[dict[str, Any]], stops: Stops) -> None:
    """Read the server's messages. The program ends with its input, in whatever step it is."""
    for line in sys.stdin:
        message = json.loads(line)
        if "stop" in message:
            stops.ids.add(message["stop"])
        else:
            jobs.put(message)
    os._exit(0)


def builder(name: str) -> Build:
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    found: Build = getattr(import_module(module), function)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
