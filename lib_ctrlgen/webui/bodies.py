"""Checks of REST bodies: parts meant for CtrlGen that the WebUI would ignore are refused.

Of an always-on script the WebUI reads the list `alwayson_scripts.<title>.args` and nothing else. A unit in
any other place would give an uncontrolled picture with status 200. Nothing here imports the WebUI.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.pictures import EMBEDDINGS, LISTS, pictured_parts
from lib_ctrlgen.request.pictures import PICTURES as IMAGES

from .controlnet.bodies import OLD_UNITS, check_controlnet

TITLE = "ctrlgen"  # the WebUI ignores case in titles, too
TUNER = "ctrlgen x/y tuner"
SETTINGS = "ctrlgen_"
SCRIPTS = "alwayson_scripts"
PICTURED = (*IMAGES, *LISTS, *EMBEDDINGS, "image_from")  # an infotext holds only their hashes
FORM = '{"alwayson_scripts": {"CtrlGen": {"args": [{"units": [...]}]}}}'
PICTURES = frozenset({"image", "images", "image_from"})
FOREIGN = frozenset({SCRIPTS, "script_args"})  # values of other scripts, which are not checked


def check_body(
    body: Any, arguments: int, settings: Collection[str] = (), path: str = "$", units: int = 0
) -> None:
    """Raise RequestError for a part meant for CtrlGen that the WebUI would ignore or fail at.

    `arguments` is the number of the always-on script's arguments; `settings` are the names of CtrlGen's
    settings that a request may override; `units` is the number of the arguments of CtrlGen's script
    "ControlNet", 0 where it has none.
    """
    if not isinstance(body, Mapping):
        return
    if units:
        check_controlnet(body, units, path)
    foreign = FOREIGN if body.get("script_name") else {SCRIPTS}  # without a name nobody reads script_args
    foreign = foreign | ({OLD_UNITS} if units else set())
    _check_places({name: value for name, value in body.items() if name not in foreign}, path)
    _check_scripts(body.get(SCRIPTS), arguments, f"{path}.{SCRIPTS}")
    _check_tuner(body, path)
    changed = body.get("override_settings")
    for name in changed if isinstance(changed, Mapping) else ():
        if name.startswith(SETTINGS) and name not in settings:
            known = ", ".join(sorted(settings)) or "none"
            message = f"a request cannot change this setting (CtrlGen's settings that it can change: {known})"
            raise RequestError(f"{path}.override_settings.{name}", message)


def check_infotext(body: Any, entry: str | None, path: str = "$.infotext") -> None:
    """Raise RequestError for an infotext whose pictures of units the WebUI cannot restore.

    `entry` is the value of CtrlGen's key in the infotext of a checked body. It names pictures by their
    hashes only. It is not used when the body also holds a request for CtrlGen.
    """
    if not entry or _has_request(body):
        return
    try:
        recorded = json.loads(entry)
        parts = [part for _, part in pictured_parts(recorded)]
        if len(parts) < len(recorded.get("units", ())):
            raise ValueError("a unit that is no object")
        pictures = any(part.get(name) for part in parts for name in PICTURED)
    except (ValueError, TypeError, AttributeError) as error:
        raise RequestError(path, f"its CtrlGen entry is damaged: send the request instead, {FORM}") from error
    if pictures:
        message = f"its CtrlGen entry names pictures by their hashes: send the request with them, {FORM}"
        raise RequestError(path, message)


def _has_request(body: Mapping[str, Any]) -> bool:
    """Whether a checked body holds a request for CtrlGen's always-on script."""
    scripts = body.get(SCRIPTS)
    entries = scripts.items() if isinstance(scripts, Mapping) else ()
    return any(_is_title(name) and (entry.get("args") or [None])[0] for name, entry in entries)


def check_repeated(text: bytes) -> None:
    """Raise RequestError for a JSON body that mentions CtrlGen and repeats a key."""
    if TITLE.encode() in text.lower():
        json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        given = [name for name, _ in pairs]
        name = next(each for each in given if given.count(each) > 1)
        raise RequestError("$", f"an object has the key '{name}' twice, and only the last one would be read")
    return names


def _check_places(body: Mapping[str, Any], path: str) -> None:
    """Raise RequestError for a key "CtrlGen" or a unit outside of `alwayson_scripts`."""
    waiting: list[tuple[str, Any]] = [(path, body)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, Mapping):
            for name in value:
                if _is_title(name):
                    raise RequestError(f"{place}.{name}", f"the WebUI does not read this here; write {FORM}")
            if place != path and _is_unit(value):  # at the top level these may be another extension's fields
                raise RequestError(place, f"the WebUI does not read a unit here; write {FORM}")
            waiting += [(f"{place}.{name}", each) for name, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}[{number}]", each) for number, each in enumerate(value)]


def _check_scripts(scripts: Any, arguments: int, path: str) -> None:
    if not isinstance(scripts, Mapping):
        if scripts and TITLE in json.dumps(scripts).casefold():
            raise RequestError(path, f"expected an object with the scripts' titles; write {FORM}")
        return
    titles = [name for name in scripts if _is_title(name)]
    if len(titles) > 1:
        raise RequestError(f"{path}.{titles[1]}", f"the scripts also have '{titles[0]}': send one of them")
    for title in titles:
        _check_entry(scripts[title], arguments, f"{path}.{title}")


def _check_entry(entry: Any, arguments: int, path: str) -> None:
    """Raise RequestError unless the value of the script's title is `{"args": [...]}` or an empty object."""
    if not isinstance(entry, Mapping):
        raise RequestError(path, f"expected an object, got {_kind(entry)}; write {FORM}")
    others = [name for name in entry if name != "args"]
    if others:
        message = f'the WebUI reads only "args" and would ignore this; write {FORM}'
        raise RequestError(f"{path}.{others[0]}", message)
    if entry:
        _check_args(entry["args"], arguments, f"{path}.args")


def _check_args(args: Any, arguments: int, path: str) -> None:
    if not isinstance(args, list):
        raise RequestError(path, f"expected a list with one object, got {_kind(args)}; write {FORM}")
    if len(args) > arguments:
        raise RequestError(f"{path}[{arguments}]", f"the panel has {arguments} values, got {len(args)}")
    _check_alone(args, path, "several units go into its list: {'units': [{...}, {...}]}")


def _check_alone(args: Sequence[Any], path: str, hint: str) -> None:
    """Raise RequestError for values after a request object, which the script would ignore."""
    if not args or args[0] in (None, ""):
        return
    extra = next((n for n, each in enumerate(args) if n and each not in (None, "")), None)
    if extra is not None:
        raise RequestError(f"{path}[{extra}]", f"send one object and nothing after it; {hint}")


def _check_tuner(body: Mapping[str, Any], path: str) -> None:
    name, args = body.get("script_name"), body.get("script_args")
    if not isinstance(name, str) or name.casefold() != TUNER:
        return
    place = f"{path}.script_args"
    if not isinstance(args, list) or not args:
        got = "none" if args is None else _kind(args)
        message = 'expected a list with one object, [{"x": {"path": "Steps", "values": "10, 20"}}], got '
        raise RequestError(place, message + got)
    _check_alone(args, place, "all axes go into it: {'x': {...}, 'y': {...}}")


def _is_unit(value: Mapping[str, Any]) -> bool:
    """Whether an object is a control unit: it has a model and a picture."""
    return "model" in value and not PICTURES.isdisjoint(value)


def _is_title(name: str) -> bool:
    return name.casefold() == TITLE


def _kind(value: Any) -> str:
    """The name of a value's JSON type, with its article, for error messages."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    found = names.get(type(value), "a number")
    return "an empty list" if value == [] else found
