"""The two ways to find faces: the package insightface, or its detector and recogniser alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.memory import OutsideTorch
from lib_ctrlgen.models.onnx import PROVIDERS, OnnxNetwork, first_line, open_network

from .align import aligned
from .face import WIDTH, Embedding, Face
from .packs import PackFiles
from .scrfd import detect

Pixels = npt.NDArray[np.uint8]

PACKAGE = "insightface"
NEED = "finding a face", ", or give the face's embedding instead"  # for the message without onnxruntime
# The detector's input sizes, as in IPAdapter_plus: a large face may be found at a small size only.
SIZES = (640, 576, 512, 448, 384, 320)
LEAST_SCORE = 0.5
ALIGNED = 112
MEAN, SCALE = np.float32(127.5), np.float32(1 / 127.5)

logger = logging.getLogger("ctrlgen")


class Finder(Protocol):
    """Finds the faces of an RGB array [H, W, 3]."""

    def __call__(self, pixels: Pixels) -> list[Face]:
        """The faces, in no particular order."""


@dataclass(frozen=True, kw_only=True)
class OnnxFinder:
    """Runs a pack's detector and recogniser as insightface does, without the package."""

    detector: OnnxNetwork
    recogniser: OnnxNetwork

    def __call__(self, pixels: Pixels) -> list[Face]:
        """The faces. Raises ModelError for files that are other networks than their names say."""
        fixed = self.detector.fixed_size
        for size in (fixed,) if fixed else [(side, side) for side in SIZES]:
            found = detect(self.detector, pixels, size)
            if len(found.scores):
                break
        faces = []
        for box, points, score in zip(found.boxes, found.points, found.scores, strict=True):
            places = tuple((float(x), float(y)) for x, y in points)
            embedding = embedded(self.recogniser, aligned(pixels, places, ALIGNED))
            faces.append(face_of(box, places, embedding, float(score)))
        return faces


def embedded(network: OnnxNetwork, face: Pixels) -> Embedding:
    """ArcFace's embedding of an aligned face [112, 112, 3], not normalised. Raises ModelError."""
    planes = (face.astype(np.float32) - MEAN) * SCALE
    outputs = network(np.ascontiguousarray(planes.transpose(2, 0, 1)[None]))
    if len(outputs) != 1 or outputs[0].size != WIDTH:
        raise ModelError(
            f"{network.name} is not ArcFace's recogniser: it makes no embedding of {WIDTH} numbers"
        )
    found = outputs[0].reshape(-1)
    if not np.isfinite(found).all():
        raise ModelError(f"{network.name} made an embedding with values that are not finite")
    return tuple(map(float, found))


@dataclass(frozen=True, kw_only=True)
class PackageFinder(OutsideTorch):
    """insightface's own FaceAnalysis of one pack."""

    analysis: Any

    def __call__(self, pixels: Pixels) -> list[Face]:
        """The faces."""
        blue_first = np.ascontiguousarray(pixels[:, :, ::-1])
        for side in SIZES:
            # Since version 2 the default is a pair of sizes, which finds other boxes and points.
            self.analysis.prepare(ctx_id=-1, det_thresh=LEAST_SCORE, det_size=(side, side))
            if found := self.analysis.get(blue_first):
                return [face_of(each.bbox, each.kps, each.embedding, float(each.det_score)) for each in found]
        return []


def face_of(box: Any, points: Any, embedding: Any, score: float) -> Face:
    """A face of arrays."""
    left, top, right, bottom = map(float, box)
    return Face(
        box=(left, top, right, bottom),
        points=tuple((float(x), float(y)) for x, y in points),
        embedding=tuple(map(float, embedding)),
        score=score,
    )


def load_finder(files: PackFiles) -> Finder:
    """insightface where it is installed and knows the pack's folder, else onnxruntime. Raises ModelError."""
    app = imported_package() if files.root is not None else None
    if app is None:
        detector, recogniser = (open_network(path, *NEED) for path in (files.detector, files.recogniser))
        return OnnxFinder(detector=detector, recogniser=recogniser)
    size = files.detector.stat().st_size + files.recogniser.stat().st_size
    modules = ["detection", "recognition"]
    try:
        analysis = app.FaceAnalysis(
            name=files.pack.name, root=str(files.root), allowed_modules=modules, providers=PROVIDERS
        )
    except Exception as error:  # onnxruntime has many kinds of errors
        raise ModelError(
            f"{PACKAGE} cannot load the model pack in {files.detector.parent}: {first_line(error)}"
        ) from error
    return PackageFinder(cpu_bytes=size, analysis=analysis)


def imported_package() -> Any:
    """The module `insightface.app`; None where it is not installed or cannot be imported, which is logged."""
    try:
        return import_module(f"{PACKAGE}.app")
    except ModuleNotFoundError as error:
        if error.name not in {PACKAGE, f"{PACKAGE}.app"}:
            logger.warning("%s is installed, and cannot be imported: %s", PACKAGE, first_line(error))
    except Exception as error:  # noqa: BLE001 - a wrong version of protobuf raises TypeError
        logger.warning("%s is installed, and cannot be imported: %s", PACKAGE, first_line(error))
    return None
