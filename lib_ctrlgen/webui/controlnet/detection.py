"""The REST route `/controlnet/detect`, which makes control maps without a generation."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from fastapi import HTTPException, Request
from modules.call_queue import queue_lock
from PIL import Image

from lib_ctrlgen.compat.image_forms import read_picture
from lib_ctrlgen.compat.module_list import find_module, require_here
from lib_ctrlgen.compat.module_types import Module
from lib_ctrlgen.compat.modules import module_of
from lib_ctrlgen.compat.pictures import channel, on_white
from lib_ctrlgen.compat.reading import read_unit
from lib_ctrlgen.compat.unit import DEFAULT_NUMBER, ControlNetUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import MAX_PIXELS, decode_image, encode_image
from lib_ctrlgen.images.poses.openpose_json import document_of
from lib_ctrlgen.images.resize import smooth
from lib_ctrlgen.preprocessors.detection import Detection
from lib_ctrlgen.preprocessors.standalone import Detector
from lib_ctrlgen.request.detection import MOST_PICTURES, DetectionSettings
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.webui.detect import apart, read_body
from lib_ctrlgen.webui.settings import model_store

from .poses import plain_base64, read_json

logger = logging.getLogger("ctrlgen")
UNSUPPORTED = ("clip_vision", "revision_clipvision", "revision_ignore_prompt", "ip-adapter-auto")
IMAGES = ("controlnet_input_images", "controlnet_images")  # webuiapi 0.9.17 sends the second
MASKS = "controlnet_masks"
NUMBERS = {
    "controlnet_processor_res": "processor_res",
    "controlnet_threshold_a": "threshold_a",
    "controlnet_threshold_b": "threshold_b",
}
MODULE = "$.controlnet_module"
POSES = "openpose"  # in the names of modules whose answer has poses
FEATURES = "its result is no picture but features, which are not sent: a control reads the picture itself"
LAMA = "LaMa fills the hole while a picture is generated: use 'inpaint_only' to see the mask"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A detection: the module with its numbers, and each picture with its mask (empty for none).

    `field` is the name of the body's field with the pictures.
    """

    module: Module
    unit: ControlNetUnit
    pictures: tuple[tuple[str, str], ...]
    field: str


async def detect(request: Request) -> dict[str, Any]:
    """Return `{"info": "Success", "images": [base64]}`, for detectors of poses with `poses`.

    It runs outside of the event loop, one picture at a time, and takes turns with generations. Raises
    HTTPException 422 with the details of sd-webui-controlnet, and RequestError for what it did not check.
    """
    wanted = read_wanted(read_json(await read_body(request)))
    found = await apart(request, lambda stopped: list(_found(wanted, stopped)))
    answer: dict[str, Any] = {"info": "Success"}
    answer["images"] = [plain_base64(encode_image(each.map)) for each in found]
    if POSES in wanted.module.name:
        answer["poses"] = [None if each.pose is None else document_of(each.pose) for each in found]
    return answer


def read_wanted(body: Any) -> Wanted:
    """The detection that a body asks for. Raises HTTPException or RequestError, both 422."""
    if not isinstance(body, Mapping):
        raise RequestError("$", "expected an object with controlnet_module and controlnet_input_images")
    name = body.get("controlnet_module", "none")
    module = find_module(name) if isinstance(name, str) else None
    if module is None:
        raise HTTPException(422, "Module not available")
    if module.name in UNSUPPORTED:
        raise HTTPException(422, "Module not supported")
    field = next((each for each in IMAGES if body.get(each)), IMAGES[0])
    images, masks = _texts(body, field), _texts(body, MASKS)
    if not images:
        raise HTTPException(422, "No image selected")
    if module.requires_mask and len(masks) != len(images):
        raise HTTPException(422, f"Preprocessor {name} requires `controlnet_masks` param.")
    if masks and not module.accepts_mask:
        logger.warning("The preprocessor %s does not read masks: they are ignored", module.name)
    _require_picture(module)
    masks = (*masks, *[""] * len(images)) if module.accepts_mask else ("",) * len(images)
    unit = _numbers(body, module)
    pairs = tuple(zip(images, masks, strict=False))
    return Wanted(module=module, unit=unit, pictures=pairs, field=field)


def _texts(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The pictures in a field. Raises RequestError."""
    value = body.get(name) or []
    if not isinstance(value, list):
        raise RequestError(f"$.{name}", "expected a list of pictures, each as base64 or a data URL")
    if len(value) > MOST_PICTURES:
        raise RequestError(f"$.{name}", f"{len(value)} pictures are more than {MOST_PICTURES} at once")
    found = tuple(read_picture(each, f"$.{name}[{number}]") for number, each in enumerate(value))
    if "" in found:
        raise RequestError(f"$.{name}[{found.index('')}]", "is empty")
    return found


def _require_picture(module: Module) -> None:
    """Raise RequestError for a module that CtrlGen does not have, or whose result it does not send."""
    require_here(module, MODULE)
    if not module.gives_picture:
        raise RequestError(MODULE, f"{module.name!r}: {FEATURES}")
    if module.name == "inpaint_only+lama":
        raise RequestError(MODULE, LAMA)


def _numbers(body: Mapping[str, Any], module: Module) -> ControlNetUnit:
    """A unit with the numbers of a body; those out of range become the module's default."""
    given = {own: body.get(name, DEFAULT_NUMBER) for name, own in NUMBERS.items()}
    notices = Notices()
    try:
        unit = read_unit({"enabled": True, "module": module.name, **given}, "$", notices)
    except RequestError as error:
        raise RequestError(error.path.replace("$.", "$.controlnet_"), error.message) from error
    for text in notices.of():
        logger.warning("/controlnet/detect: %s", text)
    return unit


def _found(wanted: Wanted, stopped: Event) -> Iterator[Detection]:
    """The control map of each picture, until the work is stopped."""
    find = _Finder(wanted)
    for number, (image, mask) in enumerate(wanted.pictures):
        place = f"$.{wanted.field}[{number}]"
        picture = on_white(decode_image(image, place))
        hole = channel(mask, f"$.{MASKS}[{number}]") if mask else None
        with queue_lock:  # the WebUI's own: one generation or detection at a time
            if stopped.is_set():
                return
            found = find(picture, hole, place)
        yield found


class _Finder:
    """Makes control maps as sd-webui-controlnet does: of the picture at the detection's resolution."""

    def __init__(self, wanted: Wanted) -> None:
        self.module, unit = wanted.module, wanted.unit
        numbers = module_of(self.module.name)
        self.resolution = self._resolution(unit) if numbers.resolution else 0
        params = numbers.params(threshold_a=unit.threshold_a, threshold_b=unit.threshold_b)
        self.detector = None
        if not (self.module.accepts_mask or self.module.model_free):
            self.detector = self._detector(params)

    def __call__(self, picture: Image.Image, hole: Image.Image | None, path: str) -> Detection:
        """The map of an RGB picture; its mask `hole` becomes its transparency. Raises RequestError."""
        if hole is not None:
            return Detection(_with_hole(picture, hole, path))
        if self.detector is None:
            return Detection(picture)
        scaled = self._scaled(picture, path)
        with _of_module():
            return self.detector(scaled, path)

    def _resolution(self, unit: ControlNetUnit) -> int:
        slider = self.module.resolution
        default = int(slider.value) if slider else 512
        return unit.processor_res if unit.processor_res > 0 else default

    def _detector(self, params: Mapping[str, Any]) -> Detector:
        """The detector of the module. Raises RequestError."""
        with _of_module():
            settings = DetectionSettings(preprocessor=self.module.name, params=dict(params))
            return Detector.of(settings, model_store())

    def _scaled(self, picture: Image.Image, path: str) -> Image.Image:
        """The picture with the detection's resolution as its short side."""
        scale = self.resolution / min(picture.size)
        if not self.resolution or scale == 1:
            return picture
        width, height = (max(1, round(side * scale)) for side in picture.size)
        if width * height > MAX_PIXELS:
            raise RequestError(path, f"{width} x {height} pixels at this resolution: send a smaller one")
        return Image.fromarray(smooth(np.asarray(picture), width, height))


@contextmanager
def _of_module() -> Iterator[None]:
    """Give an error about the preprocessor or its parameters the path of the module."""
    try:
        yield
    except RequestError as error:
        if error.path.startswith("$.controlnet_"):
            raise
        raise RequestError(MODULE, error.message) from error


def _with_hole(picture: Image.Image, hole: Image.Image, path: str) -> Image.Image:
    """The picture, half transparent where the mask is white. Raises RequestError for unequal sizes."""
    if hole.size != picture.size:
        raise RequestError(path, f"has {picture.size}, and its mask {hole.size}: they must be alike")
    shown = picture.copy()
    shown.putalpha(hole.point(lambda value: 255 - value // 2))
    return shown
