"""Published ONNX files of pose detectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lib_ctrlgen.models.onnx import OnnxNetwork, import_runtime, open_network
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weights import find_weights
from lib_ctrlgen.preprocessors.network import LoadingPreprocessor, found_once

PURPOSE = "this preprocessor"  # what needs onnxruntime, for the message without it


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """A published ONNX file; `weights` is its name in the table of published files."""

    weights: str

    def load(self, store: ModelStore | None) -> OnnxNetwork:
        """The network, from the store's cache; it runs on the CPU. Raises ModelError."""
        path = found_once(store, self.weights, find_weights)

        def load_onnx(path: Path) -> OnnxNetwork:
            return open_network(path, PURPOSE)

        return load_onnx(path) if store is None else store.get(path, load_onnx, self.weights)


class OnnxDetector(LoadingPreprocessor):
    """A preprocessor with a network that finds boxes, and one that finds keypoints in a box."""

    boxes: ClassVar[OnnxFile] = OnnxFile(weights="yolox_l.onnx")
    keypoints: ClassVar[OnnxFile]

    def weight_files(self) -> tuple[Path, ...]:
        """The files that its networks are read from. Raises ModelError."""
        return self.found(self.boxes.weights, self.keypoints.weights)

    @contextmanager
    def opened(self) -> Iterator[tuple[OnnxNetwork, OnnxNetwork]]:
        """The two networks, in a context as `loaded`. Raises ModelError, also without onnxruntime."""
        import_runtime(PURPOSE)
        self.weight_files()  # both, before one is read
        networks = self.boxes.load(self.store), self.keypoints.load(self.store)
        with self.loaded():
            yield networks
