"""A unit of the panel as a text, and back: the JSON of a unit as in a request.

Without its pictures the text has their hashes, as an infotext has.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lib_ctrlgen.controls.recorded import described
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.control_pictures import decode_control_picture
from lib_ctrlgen.images.files import decode_base64, picture_file
from lib_ctrlgen.images.poses.openpose_json import write_pose
from lib_ctrlgen.images.poses.pose import Pose
from lib_ctrlgen.request.pictures import EMBEDDINGS, LISTS, PICTURES, pictured_parts
from lib_ctrlgen.request.spec import ControlRequest, parse_request, to_payload

from .param_fields import uploaded_fields, uploaded_params
from .pose_fields import reads_pose
from .reference_fields import ROLES
from .unit_fields import NO_MODEL, Payload, Values, at_index, panel_values, unit_pictures, unit_settings

HASHED = "sha:"  # how the text of a picture begins of which only the hash is known
PASTED = "$.units[0]"
NO_UNIT = 'expected the JSON of a unit as in a request, for example {"model": "name", "weight": 0.8}'
ONE = "the text has {count} units: paste the text of one unit"
NO_FIELD = "the panel has no field for this value: send the unit in a request instead"
NOT_COPIED = "choose a model in the unit's list first: a unit without a model has no text"


@dataclass(frozen=True)
class Upload:
    """A file of a field that takes several: its name, and its bytes."""

    name: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class PastedUnit:
    """A unit that was read from a text.

    values    the panel's values by field, without pictures
    pictures  data URLs by field, for the fields with one picture
    files     files by field, for the fields with several
    missing   hashes by path in the unit, such as `image`: the pictures of which the text has only the hash
    """

    values: Payload
    pictures: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[Upload]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def unit_text(values: Values, index: int, *, pictures: bool) -> str:
    """The JSON of a unit, with its pictures or with their hashes. Raises RequestError at its fields."""
    path = f"$.units[{index}]"
    if values["model"] in (None, "", NO_MODEL):
        raise RequestError(f"{path}.model", NOT_COPIED)
    unit = unit_settings(values, path) | unit_pictures(values, path) | {"enabled": True}
    unit |= {"params": unit["params"] | uploaded_params(values, path)}
    request: ControlRequest = parse_request(at_index(unit, index))
    payload = to_payload(request) if pictures else described(request, HASHED[:-1])
    copied = payload["units"][index] | ({} if values["enabled"] else {"enabled": False})
    return json.dumps(copied, ensure_ascii=False)


def read_unit_text(text: str) -> PastedUnit:
    """The unit in a text, which is a unit or a request with one.

    Raises RequestError for a text that is none, for what a request refuses, and for what the panel has no
    field for.
    """
    given = _unit_in(text)
    missing = dict(_hashes_taken_from(given))
    request: ControlRequest = parse_request({"units": [given]})
    unit = to_payload(request)["units"][0]
    values = panel_values(unit) | {"use_init_image": unit.get("image_from") == "init"}
    _require_same(values, unit)
    pictures, files = _pictures(unit), _files(unit)
    image = pictures.pop("image", "")
    found = decode_control_picture(image, f"{PASTED}.image") if image else None
    if isinstance(found, Pose) and reads_pose(values["preprocessor"]):
        values["pose"] = write_pose(found)
    elif image:
        pictures["image"] = _data_url(image, f"{PASTED}.image")
    return PastedUnit(values=values, pictures=pictures, files=files, missing=missing)


def _unit_in(text: str) -> Payload:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError("$", f"the text is not JSON ({error}): {NO_UNIT}") from error
    units = given.get("units") if isinstance(given, dict) else None
    if isinstance(units, list) and len(units) != 1:
        raise RequestError("$.units", ONE.format(count=len(units)))
    unit = units[0] if isinstance(units, list) else given
    if not isinstance(unit, dict) or not unit:
        raise RequestError("$", NO_UNIT)
    return unit


def _hashes_taken_from(unit: Payload) -> Iterator[tuple[str, str]]:
    """Remove the hashes of pictures from a unit in JSON types, and yield each with its path in the unit."""
    for path, part in list(pictured_parts({"units": [unit]})):
        place = path.removeprefix(PASTED).lstrip(".")
        for name in (*PICTURES, *EMBEDDINGS, *LISTS):
            given = part.get(name)
            each = given[0] if isinstance(given, list) and given else given
            if isinstance(each, str) and each.startswith(HASHED):
                del part[name]
                yield f"{place}.{name}".lstrip("."), each
    if isinstance(unit.get("references"), list):
        unit["references"] = [
            each
            for each in unit["references"]
            if not isinstance(each, dict) or {"image", "embedding"} & set(each)
        ]


def _require_same(values: Values, unit: Payload) -> None:
    """Raise RequestError for the first value of a unit that the panel's fields do not give back."""
    blank = {"image": None, "images": None, "mask": None, "masks": None, "pose": ""}
    settings = unit_settings({**values, **blank, **dict.fromkeys(uploaded_fields())}, PASTED)
    shown: ControlRequest = parse_request({"units": [settings]})
    again = to_payload(shown)["units"][0]
    kept = {"image", "images", "mask", "masks", "references"}  # `_pictures` and `_files` read these
    kept |= {"image_from"} if unit.get("image_from") == "init" else set()
    for name in sorted((unit.keys() | again.keys()) - kept):
        mine, theirs = again.get(name), unit.get(name)
        if name == "params":
            mine, theirs = _given(mine, theirs), _given(theirs, mine)
        if mine != theirs:
            raise RequestError(f"{PASTED}.{name}", NO_FIELD)


def _given(params: Any, others: Any) -> Payload:
    """Parameters that are not uploaded, of those that the others have, too."""
    uploads = {param.name for param in uploaded_fields().values()}
    return {k: v for k, v in (params or {}).items() if k in (others or {}) and k not in uploads}


def _pictures(unit: Payload) -> dict[str, str]:
    """The pictures of the fields with one picture; that of `image` may be a pose, and is as it was given."""
    found = {"image": unit["image"]} if unit.get("image") else {}
    if unit.get("mask"):
        found["mask"] = _data_url(unit["mask"], f"{PASTED}.mask")
    roles = {role: name for name, role in ROLES.items()}
    for number, each in enumerate(unit.get("references", ())):
        name = roles.get(each.get("role"))
        if name:
            found[name] = _data_url(each["image"], f"{PASTED}.references[{number}]")
    for name, param in uploaded_fields().items():
        given = unit.get("params", {}).get(param.name)
        if given and param.kind != "embedding":
            found[name] = _data_url(given, f"{PASTED}.params.{param.name}")
    return found


def _files(unit: Payload) -> dict[str, list[Upload]]:
    """The files of the fields with several, named so that their order is that of their names."""
    references = [each for each in unit.get("references", ()) if each.get("role") not in ROLES.values()]
    texts: dict[str, list[str]] = {name: list(unit.get(name, ())) for name in LISTS}
    texts["references"] = [each["image"] for each in references if each.get("image")]
    more = [each["embedding"] for each in references if each.get("embedding")]
    for name, param in uploaded_fields().items():
        if param.kind == "embedding":
            first = unit.get("params", {}).get(param.name)
            texts[name] = [*([first] if first else []), *more]
    return {name: list(map(_upload, range(len(each)), each)) for name, each in texts.items() if each}


def _upload(number: int, text: str) -> Upload:
    """A file of which a request has the text: a picture, a pose or an embedding."""
    path = f"{PASTED}[{number}]"
    if text.lstrip().startswith("{"):
        return Upload(f"{number:03}.json", text.encode())
    data = decode_base64(text, path)
    if data.lstrip()[:1] == b"{":
        return Upload(f"{number:03}.json", data)
    try:
        return Upload(f"{number:03}.{picture_file(text, path)[1]}", data)
    except RequestError:
        return Upload(f"{number:03}.safetensors", data)


def _data_url(text: str, path: str) -> str:
    """A picture as a data URL, which is how the page keeps it."""
    data, suffix = picture_file(text, path)
    return f"data:image/{suffix};base64,{base64.b64encode(data).decode('ascii')}"
