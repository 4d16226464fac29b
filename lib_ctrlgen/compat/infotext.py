"""Units of sd-webui-controlnet and Forge in the parameters of a picture's infotext.

They were written in five forms; {..} stands for a number:

- `ControlNet {0}: "Module: canny, Model: name [hash], Weight: 1.0, ..."`, since August 2023, and Forge's,
  which leaves out numbers that are -1 and has fields of its own; a value with a comma or a colon may be
  quoted as JSON;
- `ControlNet {0}: "preprocessor: canny, ..., starting/ending: (0.0, 1.0), preprocessor params: (512, 1, 2)"`;
- the same as Python writes a dictionary, since May 2023;
- `ControlNet-{0} Module: canny, ControlNet-{0} Model: name [hash], ...`, since February 2023;
- each of them as `ControlNet` without a number, for a single unit.

>>> from lib_ctrlgen.request.notices import Notices
>>> units_of({"ControlNet 0": "Module: canny, Model: a, b [d14c016b], Weight: 0.5"}, Notices())
[{'enabled': True, 'module': 'canny', 'model': 'a, b [d14c016b]', 'weight': 0.5}]
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.spec import MAX_UNITS

Unit: TypeAlias = dict[str, Any]

KEY = re.compile(r"\s*ControlNet(?:[ -](?P<number>\d{1,4}))?(?: (?P<field>[A-Za-z][A-Za-z ]*))?\s*")
QUOTED = r'"(?:\\.|[^"\\])*"'
GROUPED = r"\([^()]*\)|\[[^\[\]]*\]"
ITEM = re.compile(
    rf"\s*(?:(?P<name>[A-Za-z][A-Za-z /]*?):\s*)?(?P<value>(?:{QUOTED}|{GROUPED})(?=\s*(?:,|$))|[^,]*)(?:,|$)"
)
PARAMETER = re.compile(rf"\s*(?P<name>\w[\w /-]*?):\s*(?P<value>{QUOTED}(?=\s*(?:,|$))|[^,]*)(?:,|$)")
SETTINGS = "Steps: "
NEGATIVE = "Negative prompt:"
FEWEST = 3  # parameters that a last line must have to be one of parameters

# How enumerations of Python are written in the infotexts of 2023.
ENUMERATIONS = {
    "ResizeMode.RESIZE": "Just Resize",
    "ResizeMode.INNER_FIT": "Crop and Resize",
    "ResizeMode.OUTER_FIT": "Resize and Fill",
    "ControlMode.BALANCED": "Balanced",
    "ControlMode.PROMPT": "My prompt is more important",
    "ControlMode.CONTROL": "ControlNet is more important",
    "HiResFixOption.BOTH": "Both",
    "HiResFixOption.LOW_RES_ONLY": "Low res only",
    "HiResFixOption.HIGH_RES_ONLY": "High res only",
}
SEVERAL = {
    "starting/ending": ("guidance_start", "guidance_end"),
    "preprocessor_params": ("processor_res", "threshold_a", "threshold_b"),
}
OTHER_NAMES = {"preprocessor": "module", "guidance_strength": "guidance_end"}
# Fields of the panels of sd-webui-controlnet and Forge on which the picture does not depend.
PANEL_ONLY = frozenset({"is_ui", "input_mode", "use_preview_as_input", "loopback", "output_dir"})
NOTHING = frozenset({"", "None", "[]", "{}", "False"})


@dataclass(frozen=True, kw_only=True)
class Infotext:
    """The parts of an infotext; `fields` are the parameters behind the prompts, by name."""

    prompt: str
    negative_prompt: str
    fields: Mapping[str, str]


def read_infotext(text: str) -> Infotext:
    r"""The parts of an infotext. Lines that are no parameters are the prompt's; raises nothing.

    >>> read_infotext('a cat\nSteps: 4, Seed: 1, ControlNet 0: "Module: canny"').fields
    {'Steps': '4', 'Seed': '1', 'ControlNet 0': 'Module: canny'}
    """
    lines = text.strip().splitlines()
    start = next((n for n in reversed(range(len(lines))) if lines[n].startswith(SETTINGS)), len(lines))
    if start == len(lines) and lines and len(PARAMETER.findall(lines[-1])) >= FEWEST:
        start -= 1
    above, fields = lines[:start], "\n".join(lines[start:])
    negative = next((n for n, line in enumerate(above) if line.strip().startswith(NEGATIVE)), len(above))
    below = "\n".join(above[negative:]).strip().removeprefix(NEGATIVE).strip()
    found = {match["name"]: unquoted(match["value"].strip()) for match in PARAMETER.finditer(fields)}
    return Infotext(prompt="\n".join(above[:negative]).strip(), negative_prompt=below, fields=found)


def unquoted(text: str) -> str:
    """The text that is quoted as JSON; any other text is returned as it is."""
    if len(text) < 2 or not (text[0] == text[-1] == '"'):
        return text
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text


def units_of(params: Mapping[str, Any], notices: Notices) -> list[Unit]:
    """The units in the parameters of an infotext, as sd-webui-controlnet's fields of REST requests.

    A unit is at the place of its number; a missing one is `{"enabled": False}`. Pictures are in no infotext.
    Fields that are not known or cannot be read are left out with a notice; raises nothing.
    """
    found: dict[int, Unit] = {}
    for key, value in params.items():
        match = KEY.fullmatch(str(key))
        if match is None or (match["field"] is None and not isinstance(value, str)):
            continue
        number = int(match["number"] or 0)
        if number >= MAX_UNITS:
            notices.add(str(key), f"is left out: a request has at most {MAX_UNITS} units")
            continue
        items = split_unit(str(value)) if match["field"] is None else [(match["field"], str(value))]
        unit = found.setdefault(number, {"enabled": True})
        for name, text in items:
            _read_field(unit, name, text, f"ControlNet {number}", notices)
    return [found.get(number, {"enabled": False}) for number in range(max(found, default=-1) + 1)]


def split_unit(text: str) -> list[tuple[str, str]]:
    """The names and values in the text of one unit, in any of its forms.

    >>> split_unit("{'preprocessor': 'canny', 'starting/ending': '(0.0, 1.0)'}")
    [('preprocessor', 'canny'), ('starting/ending', '(0.0, 1.0)')]
    """
    if text.lstrip().startswith("{"):
        try:
            values = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            values = None
        if isinstance(values, dict):
            return [(str(name), str(value)) for name, value in values.items()]
    items: list[tuple[str, str]] = []
    for match in ITEM.finditer(text.strip().strip("{}")):
        name, value = match["name"], match["value"].strip()
        if name:
            items.append((name, unquoted(value)))
        elif items and value:  # a comma in a value that was not quoted, such as a model's name
            items[-1] = (items[-1][0], f"{items[-1][1]}, {value}")
    return items


def _read_field(unit: Unit, name: str, text: str, place: str, notices: Notices) -> None:
    """Read one field into the unit, or add a notice."""
    field = "_".join(name.lower().split())
    field = OTHER_NAMES.get(field, field)
    parts = SEVERAL.get(field)
    if parts is None:
        pairs: Iterator[tuple[str, str]] = iter([(field, text)])
    else:
        pairs = zip(parts, re.split(r"\s*,\s*", text.strip("() ")), strict=False)
    for each, value in pairs:
        if each in READERS:
            found = READERS[each](value.strip())
            if found is not None:
                unit[each] = found
            elif value.strip() not in NOTHING:
                notices.add(place, f"{name}: {value.strip()[:80]!r} cannot be read and is left out")
        elif each not in PANEL_ONLY and value.strip() not in NOTHING:
            notices.add(place, f"{name} is not known and is left out")


def _number(text: str) -> float | int | None:
    """A finite number, whole where it is written without a point; None for any other text."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(text) if re.fullmatch(r"[-+]?\d{1,15}", text) else value


def _switch(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _text(text: str) -> str | None:
    return ENUMERATIONS.get(text, text) or None


def _numbers(text: str) -> list[float] | None:
    """The numbers of a list such as `[1.0, 0.5]`."""
    values = [_number(part.strip()) for part in text.strip("[]() ").split(",")]
    return None if None in values else [float(value) for value in values if value is not None]


READERS: Mapping[str, Callable[[str], Any]] = {
    "enabled": _switch,
    "module": _text,
    "model": _text,
    "weight": _number,
    "resize_mode": _text,
    "low_vram": _switch,
    "processor_res": _number,
    "threshold_a": _number,
    "threshold_b": _number,
    "guidance_start": _number,
    "guidance_end": _number,
    "pixel_perfect": _switch,
    "control_mode": _text,
    "inpaint_crop_input_image": _switch,
    "hr_option": _text,
    "save_detected_map": _switch,
    "advanced_weighting": _numbers,
    "pulid_mode": _text,
    "union_control_type": _text,
    "ctrlgen_semantics": _switch,
}
