"""Random REST bodies by number: valid requests, and changes that make them invalid.

`Bodies(kinds).body(number)` is JSON-like data, built on the JSON Schema of a request and then changed
at a few places: wrong types and values, unknown fields, odd texts, huge numbers, NaN, deep nests, other
shapes of `args`, other spellings of the title. `wanted` returns how many units a body asks for.
"""

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lib_ctrlgen.request.spec import ControlRequest, json_schema
from tests.support.soaking import Stacks

Place: TypeAlias = tuple[Any, Any]  # a container, and the key or the number of one of its values
TITLE = "ctrlgen"
SCRIPTS = "alwayson_scripts"
ODD_TEXTS = (
    "", " ", "None", "null", "nan", "1@", "1>", ">1", "1@0, 0@", "1@2", "0.5 in 1..0", "1@0 bounce", "(",
    "1e400", "\x00", "\ud800", "é" * 50, "\u202etxt", "😀", "a" * 5000, "../../../etc/passwd", "/etc/passwd",
    "C:\\x.png", "http://127.0.0.1/a.png", "file:///etc/passwd", "data:image/png;base64,",
    "data:image/png;base64,aGVsbG8=", "aGVsbG8=", "sha:0123456789abcdef", "{{7*7}}",
    "<lora:x:1>", "a [0123abcd]", "*", "?",
)  # fmt: skip
ODD_NUMBERS = (
    0, -1, 1, 2, 3, -0.0, 0.5, 1e-320, 1e308, -1e308, 10**30, -(10**30), 2**53 + 1, math.nan, math.inf,
    -math.inf,
)  # fmt: skip
SCHEMA = json_schema(ControlRequest)
TYPES = ("anyOf", "oneOf")


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@dataclass(frozen=True)
class Bodies:
    """Bodies whose right requests use the families `kinds`; with blends only where the host can make them."""

    kinds: tuple[str, ...]
    blends: bool = True

    def body(self, number: int) -> dict[str, Any]:
        draw = random.Random(number)
        request = self.request(draw)
        body = {"prompt": draw.choice(("a red circle", "", "a cat, :3, f:1.8")), **placed(draw, request)}
        for _ in range(draw.choice((0, 0, 1, 1, 1, 2, 3))):
            change(draw, body)
        return body

    def request(self, draw: random.Random) -> dict[str, Any]:
        """A right request, or one whose values come from the JSON Schema, which knows types and bounds."""
        stacks = Stacks(kinds=self.kinds, fresh=0.1)
        units = [] if draw.random() < 0.1 else stacks.units(draw)[:2]
        schema = SCHEMA
        request: dict[str, Any] = {"units": units}
        if draw.random() < 0.3:
            own = schema["$defs"]["ControlRequest"]["properties"]
            name = draw.choice([name for name in own if name != "units" and (self.blends or name != "blend")])
            request[name] = drawn(draw, own[name], schema)
        for unit in units:
            own = schema["$defs"]["ControlUnit"]["properties"]
            if draw.random() < 0.4:
                name = draw.choice(list(own))
                unit[name] = drawn(draw, own[name], schema)
            if draw.random() < 0.1:
                unit["enabled"] = False
        return request


def drawn(draw: random.Random, schema: Mapping[str, Any], whole: Mapping[str, Any], depth: int = 0) -> Any:
    """A value of this schema."""
    if "$ref" in schema:
        return drawn(draw, whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, depth + 1)
    if any(key in schema for key in TYPES):
        return drawn(draw, draw.choice(schema.get("anyOf") or schema["oneOf"]), whole, depth)
    if "enum" in schema:
        return draw.choice(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        own = schema.get("properties") or {"low_threshold": schema.get("additionalProperties") or {}}
        names = [name for name in own if name in schema.get("required", ()) or draw.random() < 0.3]
        return {name: drawn(draw, own[name], whole, depth + 1) for name in names}
    if kind == "array":
        return [drawn(draw, each, whole, depth + 1) for each in items(draw, schema, depth)]
    return simple(draw, schema)


def items(draw: random.Random, schema: Mapping[str, Any], depth: int) -> list[Mapping[str, Any]]:
    """The schema of each item of a drawn list."""
    if "prefixItems" in schema:
        return list(schema["prefixItems"])
    low = schema.get("minItems", 0)
    return [schema.get("items", {})] * (draw.randint(low, low + 2) if depth < 4 else low)


def simple(draw: random.Random, schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "boolean":
        return draw.choice((True, False))
    if kind in {"number", "integer"}:
        low, high = schema.get("minimum", -2), schema.get("maximum", 2)
        value = draw.choice((low, high, draw.uniform(low, high)))
        return int(value) if kind == "integer" else value
    if kind == "null":
        return None
    return draw.choice([*schema.get("examples", ()), *ODD_TEXTS])


def placed(draw: random.Random, request: dict[str, Any]) -> dict[str, Any]:
    """The request at the place in a body that it belongs to, or at another one."""
    title = draw.choice(("CtrlGen", "CtrlGen", "ctrlgen", "CTRLGEN"))
    right: dict[str, Any] = {"args": [request]}
    if draw.random() < 0.7:
        return {SCRIPTS: {title: right}}
    others: list[dict[str, Any]] = [
        {SCRIPTS: {title: request}},
        {SCRIPTS: {title: {"args": request}}},
        {SCRIPTS: {title: {"args": [json.dumps(request)]}}},
        {SCRIPTS: {title: {"args": [json.dumps(request)[:-3]]}}},
        {SCRIPTS: {title: {"args": [request, request]}}},
        {SCRIPTS: {title: {"args": [None, request]}}},
        {SCRIPTS: {title: {"args": [[request]]}}},
        {SCRIPTS: {title: {"args": request["units"]}}},
        {SCRIPTS: {title: [request]}},
        {SCRIPTS: {title: {"args": []}}},
        {SCRIPTS: {title: {}}},
        {SCRIPTS: {title: {"Args": [request]}}},
        {SCRIPTS: {title: right, title.swapcase(): right}},
        {SCRIPTS: {f"{title} ": right}},
        {SCRIPTS: [right]},
        {SCRIPTS: {}, title: right},
        {"script_args": [request]},
        {},
    ]
    return draw.choice(others)


def change(draw: random.Random, body: dict[str, Any]) -> None:
    """Change one place of a body, mostly in what it says to CtrlGen."""
    inside = [*places(body.get(SCRIPTS))]
    everywhere = [*places(body)]
    if not everywhere:
        return
    holder, key = draw.choice(inside if inside and draw.random() < 0.95 else everywhere)
    way = draw.randrange(6)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[misspelt(draw, str(key))] = holder.pop(key)
    elif way == 2 and isinstance(holder, dict):
        half = () if holder is body.get(SCRIPTS) else ("\ud800",)  # there the WebUI itself fails at it
        holder[draw.choice(("unknown", "Weight", "", "units", "0", *half))] = junk(draw)
    elif way == 3:
        holder[key] = draw.choice(([holder[key]], {"value": holder[key]}, str(holder[key])[:200]))
    else:
        holder[key] = junk(draw)


def places(value: Any) -> Iterator[Place]:
    """Every place in JSON-like data."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])


def misspelt(draw: random.Random, name: str) -> str:
    return draw.choice((name.upper(), name.capitalize(), f"{name} ", f"_{name}", name[:-1], name[::-1]))


def junk(draw: random.Random) -> Any:
    values: list[Any] = [None, True, False, [], {}, [None], {"a": {"b": [1]}}, nested(60), [1, "2", None]]
    return draw.choice((draw.choice(values), draw.choice(ODD_TEXTS), draw.choice(ODD_NUMBERS)))


def wanted(value: Any) -> int:
    """How many units a body asks for, wherever it says so: objects with a model and a picture, not disabled.

    A JSON text counts as what it holds.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return 0
    if isinstance(value, list):
        return sum(map(wanted, value))
    if not isinstance(value, dict):
        return 0
    if "model" in value and value.keys() & {"image", "images", "image_from"}:
        return int(value.get("enabled", True) is not False)
    return sum(map(wanted, value.values()))
