"""Runs ONNX files with the package onnxruntime, which is imported only here and only when it is needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lib_ctrlgen.errors import ModelError, quoted

from .memory import OutsideTorch

Array = npt.NDArray[np.float32]

RUNTIME = "onnxruntime"
PROVIDERS = ["CPUExecutionProvider"]
ERRORS_ONLY = 3


class Node(Protocol):
    """An input or an output of a graph; a side whose length is free is a text or None in `shape`."""

    name: str
    shape: Sequence[int | str | None]


class Session(Protocol):
    """An open ONNX file, as onnxruntime's InferenceSession."""

    def get_inputs(self) -> Sequence[Node]:
        """The inputs of the graph."""

    def get_outputs(self) -> Sequence[Node]:
        """The outputs of the graph."""

    def run(self, output_names: Any, input_feed: dict[str, Any]) -> Sequence[Any]:
        """The outputs of these names."""


@dataclass(frozen=True, kw_only=True)
class OnnxNetwork(OutsideTorch):
    """A network with one input, a picture [1, 3, H, W], and its file's name."""

    session: Session
    name: str

    def __call__(self, pixels: Array) -> list[Array]:
        """The outputs for an input. Raises ModelError where the network cannot take it."""
        names = [node.name for node in self.session.get_outputs()]
        try:
            found = self.session.run(names, {self.session.get_inputs()[0].name: pixels})
        except Exception as error:
            raise ModelError(f"{self.name} failed: {first_line(error)}") from error
        return [np.asarray(each, np.float32) for each in found]

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The width and height that the input must have; None where they are free."""
        height, width = list(self.session.get_inputs()[0].shape)[2:4]
        return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def open_network(path: Path, purpose: str, instead: str = "") -> OnnxNetwork:
    """Open an ONNX file on the CPU. Raises ModelError, also where onnxruntime is not installed.

    `purpose` and `instead` are as in `import_runtime`.
    """
    runtime = import_runtime(purpose, instead)
    try:
        options = runtime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        session = runtime.InferenceSession(str(path), sess_options=options, providers=PROVIDERS)
        size = path.stat().st_size
    except Exception as error:  # onnxruntime has many kinds of errors
        raise ModelError(f"{path}: cannot be read, broken or incomplete ({first_line(error)})") from error
    if len(session.get_inputs()) != 1 or len(session.get_inputs()[0].shape) != 4:
        raise ModelError(f"{path}: its input is not one picture, so it is another file than its name says")
    return OnnxNetwork(cpu_bytes=size, session=session, name=path.name)


def import_runtime(purpose: str, instead: str = "") -> Any:
    """The package onnxruntime. Raises ModelError that says how to install it.

    The message begins with `purpose`, what needs the package, and ends with `instead`, what can be done
    without it.
    """
    try:
        return import_module(RUNTIME)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == RUNTIME
        reason = "is not installed" if missing else f"cannot be imported ({first_line(error)})"
        raise ModelError(
            f"{purpose} needs the package {RUNTIME}, which {reason}: install it with "
            f"{quoted(sys.executable)} -m pip install --no-deps {RUNTIME} (without --no-deps pip would also "
            f"change the version of protobuf){instead}"
        ) from error


def first_line(error: Exception) -> str:
    """The first words of an error's message, for another message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split())[:160]
