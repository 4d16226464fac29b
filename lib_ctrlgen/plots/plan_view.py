"""Shows a plan as a text table and as an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

from lib_ctrlgen.errors import at_path
from lib_ctrlgen.prompts.blended import PromptSource, blended_prompt, rows_of
from lib_ctrlgen.prompts.networks import LoraTag, split_networks
from lib_ctrlgen.prompts.scheduled import PromptWeight, parse_prompt
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.blend_map import map_size
from lib_ctrlgen.request.catalogue import AUTO, family_entry
from lib_ctrlgen.request.inactive import idle_note
from lib_ctrlgen.request.plan import StepPlan, compile_plan, computed_at
from lib_ctrlgen.request.schedule import Schedule
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit, ResizeMode

from . import svg

NOTHING: Mapping[str, str] = MappingProxyType({})
COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#65a30d", "#0891b2", "#dc2626")
PROMPT = "$.prompt"  # the path of the prompt that a blend's concepts replace
NEGATIVE = "$.negative_prompt"
GREY = "#888"
LABEL = 24  # characters of a concept's prompt in a label
LETTER = 5.6  # mean width of a character at the plot's font size
BARS = " ▁▂▃▄▅▆▇█"
ASCII_BARS = " .:-=+*#@"  # for an output that cannot show the others


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """The plot's scales: steps to x, weights to y, in SVG units."""

    width: float
    height: int
    low: float
    high: float
    steps: int

    def x(self, step: int) -> float:
        return 30 + (self.width - 36) * step / self.steps

    def y(self, value: float) -> float:
        return 8 + (self.height - 30) * (self.high - value) / (self.high - self.low)

    def axes(self) -> str:
        right, bottom = self.x(self.steps), self.height - 6
        grid = "".join(
            f'<path d="M30 {self.y(value):.1f}H{right:.1f}" stroke="{GREY}4"/>'
            + svg.text(26, self.y(value) + 3, f"{value:g}", anchor="end", fill=GREY)
            for value in (self.low, self.high)
        )
        first = svg.text(30, bottom, "step 0", fill=GREY)
        return grid + first + svg.text(right, bottom, str(self.steps), anchor="end", fill=GREY)


def shown_plan(request: ControlRequest, steps: int, prompts: Mapping[str, str] = NOTHING) -> StepPlan:
    """The plan to show: the weights of units, and all else that changes over the steps.

    These are the guidance, the concepts of a blend, and the weights of words and LoRAs in `prompts`, whose
    keys are JSON paths. Raises RequestError.
    """
    plan = compile_plan(request.enabled_units, steps)
    rows: dict[str, Schedule] = {}
    for index, unit in request.enabled_units:
        if unit.hires is not None:
            rows[f"{index} {unit.label} (hires)"] = unit.in_pass(hires=True)
    for name in ("cfg_scale", "hires_cfg_scale"):
        scale = getattr(request, name)
        if scale is not None and scale.constant is None:
            rows[name] = scale
    rows |= _concept_rows(request.blend)
    for weight in _prompt_weights(request, prompts):
        schedule = request.prompt_weights.get(weight.name or "", weight.schedule)
        rows[f"({weight.label}:{weight.name or ''})"] = schedule
    for tag in split_networks(prompts.get(PROMPT, "")).loras:
        rows |= _lora_rows(tag.with_weights(request.prompt_weights))
    cost = cost_note(request.blend, prompts.get(PROMPT, ""))
    notes = (cost, reference_note(request.enabled_units, steps), idle_note(request.enabled_units, steps))
    return replace(
        plan,
        note="\n".join(filter(None, notes)),
        weights=plan.weights + tuple(schedule.sample(steps) for schedule in rows.values()),
        labels=plan.labels + tuple(rows),
    )


def _lora_rows(tag: LoraTag) -> dict[str, Schedule]:
    """The weight of a LoRA in the U-Net, and in the text encoders where it differs."""
    rows = {f"<lora:{tag.name}>": tag.unet}
    return rows if tag.te == tag.unet else {**rows, f"<lora:{tag.name}> text": tag.te}


def plan_table(plan: StepPlan, bars: str = BARS) -> str:
    """A text table: for each unit a bar per step, the number of network calls, and the weights.

    `bars` are nine characters for the heights of a bar.
    """
    width = max((len(label) for label in plan.labels), default=4)
    head = f"{'unit':<{width}}  {'steps 0-' + str(plan.steps - 1):<{plan.steps}}  calls  weights"
    rows = [_row(plan, place, width, bars) for place in range(len(plan.weights))]
    return "\n".join([head, *rows, *([plan.note] if plan.note else [])])


def _row(plan: StepPlan, place: int, width: int, letters: str) -> str:
    label, row = plan.labels[place], plan.weights[place]
    peak = max((abs(value) for value in row), default=0.0) or 1.0
    bars = "".join(letters[_level(value, peak)] for value in row)
    used = plan.computed[place] if place < len(plan.computed) else ()
    calls = len(set(used) - {None}) if used else sum(value != 0.0 for value in row)
    return f"{label:<{width}}  {bars}  {calls:>5}  {_changes(row)}"


def plan_svg(plan: StepPlan, width: int = 480, height: int = 140) -> str:
    """A small plot, one line of steps per unit, as a self-contained SVG element."""
    values = [value for row in plan.weights for value in row]
    high, low = max([1.0, *values]), min([0.0, *values])
    widest = max((len(label) for label in plan.labels), default=0)
    legend = min(0.45 * width, LETTER * widest + 14)
    frame = _Frame(width=width - legend, height=height, low=low, high=high, steps=plan.steps)
    lines = "".join(
        _line(frame, row, label, COLOURS[index % len(COLOURS)], index)
        for index, (row, label) in enumerate(zip(plan.weights, plan.labels, strict=True))
    )
    content = frame.axes() + lines
    return svg.document(width, height, "weights over the steps", content, size=10, name="ctrlgen-plan")


def _concept_rows(blend: Blend | None) -> dict[str, Schedule]:
    """The weights of a blend's concepts by label; empty for modes without weights."""
    if blend is None or blend.mode in {"trajectory", "seeds"}:
        return {}
    names = [f"concept {k} {concept.prompt[:LABEL].strip()}" for k, concept in enumerate(blend.concepts)]
    rows = {name: concept.weight for name, concept in zip(names, blend.concepts, strict=True)}
    late = {
        f"{n} (hires)": c.hires for n, c in zip(names, blend.concepts, strict=True) if c.hires is not None
    }
    return rows | late


def _prompt_weights(request: ControlRequest, prompts: Mapping[str, str]) -> Iterator[PromptWeight]:
    """The scheduled and named weights in the prompts; with a blend, those in its concepts."""
    for path, text in ({PROMPT: ""} | dict(prompts)).items():
        with at_path(path):
            yield from _source(request.blend, text, path).weights


def _source(blend: Blend | None, text: str, path: str = PROMPT) -> PromptSource:
    if blend is not None and path == PROMPT:
        return blended_prompt(blend, text)
    return parse_prompt(text, negative=path == NEGATIVE)


def cost_note(blend: Blend | None, prompt: str) -> str:
    """A line with the rows, pictures and runs that a blend needs; empty without one. Raises RequestError."""
    if blend is None:
        return ""
    pictures = math.prod(map_size(blend))
    many = f", {pictures} pictures" if pictures > 1 else ""
    many += f", {blend.rounds + 1} runs" if blend.rounds else ""
    return (
        f"U-Net rows per step and picture: {1 + rows_of(_source(blend, prompt))} (2 without the blend){many}"
    )


def reference_note(units: Sequence[tuple[int | str, ControlUnit]], steps: int) -> str:
    """A line with the number of reference calls of the U-Net; empty without units that need them.

    Units with the same picture share them.

    >>> reference_note([(0, ControlUnit(control="reference", image="A", reuse=2))], 8)
    'further U-Net calls for reference pictures: 4 (beside the 8 of the steps)'
    """
    calls: set[tuple[str, ResizeMode, bool, int | None]] = set()
    for _, unit in units:
        if unit.control != AUTO and family_entry(unit.control).reference_calls:
            due = set(computed_at(unit.schedule.sample(steps), unit.reuse)) - {None}
            shown = product(unit.images or (unit.image,), due)
            calls |= {(image, unit.resize_mode, unit.inpaint_crop, step) for image, step in shown}
    if not calls:
        return ""
    return f"further U-Net calls for reference pictures: {len(calls)} (beside the {steps} of the steps)"


def _level(value: float, peak: float) -> int:
    """The height of a bar, 0 to 8; 0 only for a value of zero."""
    return 0 if value == 0.0 else max(1, round(abs(value) / peak * (len(BARS) - 1)))


def _changes(row: tuple[float, ...]) -> str:
    """The weights run-length coded: `1 x8, 0.5 x4`."""
    runs: list[tuple[float, int]] = []
    for value in row:
        count = runs.pop()[1] if runs and runs[-1][0] == value else 0
        runs.append((value, count + 1))
    return ", ".join(f"{value:.4g} x{count}" if count > 1 else f"{value:.4g}" for value, count in runs)


def _line(frame: _Frame, row: tuple[float, ...], label: str, colour: str, index: int) -> str:
    """The line of one unit as steps, with its label beside the plot."""
    points = " ".join(
        f"{frame.x(at):.1f},{frame.y(value):.1f}" for step, value in enumerate(row) for at in (step, step + 1)
    )
    legend = svg.text(frame.width + 4, 16 + 14 * index, label, fill=colour)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>{legend}'
