"""A unit's control map, or the pose in its picture, made from the values of its fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.codec import require_visible, to_rgb
from lib_ctrlgen.images.control_pictures import ControlPicture, decode_control_picture
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import PreprocessorChain, chain_of
from lib_ctrlgen.preprocessors.chain import Values as ChainValues
from lib_ctrlgen.preprocessors.detection import WHOLE, detection_size
from lib_ctrlgen.preprocessors.standalone import cached_detection
from lib_ctrlgen.request.spec import ControlRequest, parse_request
from lib_ctrlgen.request.unit import ControlUnit

from .pose_fields import edited_pose
from .unit_fields import Values, unit_settings
from .uploads import uploaded

LARGEST_SIDE = 4096


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a unit's fields show: its picture or pose, and the preprocessors that read it."""

    unit: ControlUnit
    picture: ControlPicture
    chain: PreprocessorChain
    values: ChainValues
    path: str


def control_map(
    values: Values,
    width: int,
    height: int,
    index: int,
    store: ModelStore,
    device: str = "cpu",
    *,
    away: bool = False,
) -> Image.Image:
    """Return a unit's picture, fitted and preprocessed as for a generation of this size.

    `store` is where a preprocessor's own models are loaded from, `device` where they run; with `away`, their
    weights are in the CPU's memory between uses. Raises RequestError.
    """
    _require_size(width, height)
    shown = _shown(values, index, store, device, away)
    frame, size = Frame(shown.unit.resize_mode), (width, height)
    return cached_detection(store, shown.chain, shown.values, shown.picture, frame, size).map


def pose_in_picture(
    values: Values,
    width: int,
    height: int,
    index: int,
    store: ModelStore,
    device: str = "cpu",
    *,
    away: bool = False,
) -> Pose:
    """Return the pose in a unit's picture, on a canvas of the picture's size.

    A unit whose picture is a pose already has that one. A picture is searched at a size whose short side is
    that of the generation. The other arguments are those of `control_map`. Raises RequestError, also if none
    of the preprocessors finds poses.
    """
    _require_size(width, height)
    shown = _shown(values, index, store, device, away)
    if isinstance(shown.picture, Pose):
        return shown.picture
    require_visible(shown.picture, f"{shown.path}.image")
    picture = to_rgb(shown.picture)
    size = detection_size(picture.size, min(width, height))
    found = cached_detection(store, shown.chain, shown.values, picture, WHOLE, size).pose
    if found is None:
        message = f"{shown.chain.label!r} finds no poses: choose a preprocessor that does"
        raise RequestError(f"{shown.path}.preprocessor", message)
    return replace(found, width=picture.width, height=picture.height)


def _shown(values: Values, index: int, store: ModelStore, device: str, away: bool) -> Shown:
    """A unit's picture and preprocessors. Raises RequestError at its fields."""
    path = f"$.units[{index}]"
    picture, place = _picture(values, path)
    settings: dict[str, Any] = unit_settings({**values, "model": "any"}, path)
    request: ControlRequest = parse_request({"units": [settings]})
    unit = request.units[0]
    named = chain_of(unit.preprocessor, f"{path}.preprocessor")
    chain = named.with_store(store).on(device).offloaded(away)
    chain.require_readable(picture, place)
    own = {param.name: unit.params[param.name] for param in chain.params if param.name in unit.params}
    chain.checked(own, (), f"{path}.params")
    return Shown(unit=unit, picture=picture, chain=chain, values=chain.values(own), path=path)


def _picture(values: Values, path: str) -> tuple[ControlPicture, str]:
    """The first picture or pose of a unit, and its JSON path. Raises RequestError."""
    pose, many = edited_pose(values, path), uploaded(values["images"], f"{path}.images")
    given, place = (many[0], "images[0]") if many else (pose or values["image"], "image")
    if not given:
        raise RequestError(f"{path}.image", "choose a picture first")
    found = decode_control_picture(given, f"{path}.{place}") if isinstance(given, str) else given
    return found, f"{path}.{place}"


def _require_size(width: int, height: int) -> None:
    """Raise RequestError for a generation's size that is too small or too large."""
    if not 8 <= width <= LARGEST_SIDE or not 8 <= height <= LARGEST_SIDE:
        raise RequestError("$", f"the size {width} x {height} is outside 8..{LARGEST_SIDE}")
