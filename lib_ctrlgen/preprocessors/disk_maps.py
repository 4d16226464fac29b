"""Control maps and poses that are kept on disk, if the user allows it.

A map is a PNG, with the pose in it as OpenPose JSON in a text chunk. Its key is a hash of the pictures, the
preprocessors with their parameters, how the picture is fitted, the SHA-256 of the weights, and the code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lib_ctrlgen import __version__
from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.files import png_text
from lib_ctrlgen.images.control_pictures import ControlPicture
from lib_ctrlgen.images.poses.openpose_json import read_pose, write_pose
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.models.disk_cache import DiskCache, key_of

from .chain import PreprocessorChain
from .detection import Detection

if TYPE_CHECKING:
    from lib_ctrlgen.models.store import ModelStore

FORMAT = 1
POSE = "openpose_json"  # the name of the text chunk
FASTEST = 1  # zlib's level
PACKAGE = Path(__file__).resolve().parents[1]
CODE = ("preprocessors", "images", "faces")  # the folders whose code decides what a map looks like


def kept_on_disk(
    store: ModelStore,
    chain: PreprocessorChain,
    key: tuple[Hashable, ...],
    pictures: Sequence[ControlPicture],
    compute: Callable[[], Detection],
) -> Detection:
    """The detection from the store's disk cache, or else computed and written there.

    key       everything that the map depends on beside the content of the pictures and the weights
    pictures  the unit's picture or pose, and what else the map is made of

    Without a disk cache, and for preprocessors that detect nothing, such as `invert`, it is computed: their
    maps show the picture itself. So it is where the weights are unknown. Raises what `compute` raises.
    """
    disk = store.disk
    weights = weight_marks(chain, store) if disk is not None and chain.detects else None
    if disk is None or weights is None:
        return compute()
    whole = key_of(FORMAT, __version__, code(), key, weights, *(content(each) for each in pictures))
    found = _read(disk, whole)
    if found is None:
        found = compute()
        disk.put(whole, encoded(found))
    return found


def weight_marks(chain: PreprocessorChain, store: ModelStore) -> tuple[str, ...] | None:
    """The SHA-256 of every file that the chain's networks are read from; None if they are not known."""
    marks: list[str] = []
    for each in chain.preprocessors:
        try:
            files = each.weight_files()
            marks += [] if files is None else [store.files.sha256(path) for path in files]
        except ModelError:
            return None  # computing the map will raise it at its place
        if files is None:
            return None
    store.files.index.save()
    return tuple(marks)


def content(picture: ControlPicture) -> bytes:
    """Everything of a picture or a pose that a map depends on."""
    if isinstance(picture, Pose):
        return write_pose(picture).encode("ascii")
    return f"{picture.mode} {picture.size} ".encode() + picture.tobytes()


def encoded(found: Detection) -> bytes:
    """A detection as the bytes of a PNG."""
    stream = BytesIO()
    info = None if found.pose is None else png_text("", **{POSE: write_pose(found.pose)})
    found.map.save(stream, format="PNG", compress_level=FASTEST, pnginfo=info)
    return stream.getvalue()


def decoded(data: bytes) -> Detection:
    """The detection in the bytes of a PNG. Raises ValueError or OSError for other bytes."""
    with Image.open(BytesIO(data), formats=["PNG"]) as image:
        image.load()
        text = getattr(image, "text", {}).get(POSE)
        return Detection(image.convert("RGB"), None if text is None else read_pose(str(text)))


def _read(disk: DiskCache, key: str) -> Detection | None:
    """The detection of a key; None if there is none, or none that can be read, which is removed."""
    data = disk.get(key)
    if data is None:
        return None
    try:
        return decoded(data)
    except (ValueError, OSError, RequestError):
        disk.remove(key)
        return None


@lru_cache(maxsize=1)
def code() -> str:
    """A hash of the code that decides what a map looks like, so that maps of other code are not used."""
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
