"""The REST route that makes control maps without a generation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any, TypeVar

from fastapi import Request
from modules import devices
from modules.call_queue import queue_lock

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.control_pictures import decode_control_picture
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.poses.openpose_json import document_of
from lib_ctrlgen.preprocessors.blank import note_blank
from lib_ctrlgen.preprocessors.detection import Detection
from lib_ctrlgen.preprocessors.isolated.terms import under
from lib_ctrlgen.preprocessors.standalone import Detector
from lib_ctrlgen.request.detection import DetectionRequest
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.spec import parse_json

from .settings import model_store, offloads, terms

T = TypeVar("T")
LARGEST_BODY = 256 * 2**20  # bytes
LOOKED_AT = 0.5  # seconds between two looks whether the client is still there


async def detect(request: Request) -> dict[str, Any]:
    """Return the control maps of `{"preprocessor": "canny", "image": "base64"}`, or of several `images`.

    `images` are PNG files in data URLs, `poses` are OpenPose JSON (null where no pose was detected or given),
    `warnings` are texts. It runs outside of the event loop, one picture at a time, and takes turns with
    generations. When the client hangs up, no further picture is begun. Raises RequestError.
    """
    asked: DetectionRequest = parse_json(await read_body(request), DetectionRequest)
    notices = Notices()
    found = await apart(request, lambda stopped: _found(asked, notices, stopped))
    return {
        "images": [encode_image(each.map) for each in found],
        "poses": [None if each.pose is None else document_of(each.pose) for each in found],
        "warnings": list(notices.of()),
    }


async def apart(request: Request, work: Callable[[Event], T]) -> T:
    """Do work outside of the event loop, and return its result; its event is set when the client hangs up."""
    stopped = Event()
    future = asyncio.get_running_loop().run_in_executor(None, work, stopped)
    try:
        while not (await asyncio.wait((future,), timeout=LOOKED_AT))[0]:
            if await request.is_disconnected():
                stopped.set()
        return await future
    finally:
        stopped.set()


async def read_body(request: Request) -> bytes:
    """The body of a request. Raises RequestError for a body that is too large, while it arrives."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > LARGEST_BODY:
            message = f"the body is larger than {LARGEST_BODY // 2**20} MiB: send fewer pictures at once"
            raise RequestError("$", message)
    return bytes(data)


def _found(asked: DetectionRequest, notices: Notices, stopped: Event) -> list[Detection]:
    """The control maps of all pictures, or of those before the work was stopped. Raises RequestError."""
    store = model_store()
    detector = Detector.of(asked, store, devices.device, away=offloads())
    with store.working_set():  # so that no network is read again for each picture
        return list(_each(asked, detector, notices, stopped))


def _each(
    asked: DetectionRequest, detector: Detector, notices: Notices, stopped: Event
) -> Iterator[Detection]:
    for path, text in asked.pictures:
        picture = decode_control_picture(text, path, notices)
        with queue_lock:  # the WebUI's own: one generation or detection at a time
            if stopped.is_set():
                return
            with under(terms(stopped.is_set)):
                found = detector(picture, path)
        note_blank(detector.chain, found, path, notices)
        yield found
