"""A request of the WebUI's REST API, or an infotext, as the fields of a job.

The units of sd-webui-controlnet in it stay as they are; `lib_ctrlgen.compat.reading` reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.request.notices import Notices

from .generation import Generation
from .infotext import Infotext, units_of

Fields: TypeAlias = dict[str, Any]

SCRIPTS, TITLE, OWN = "alwayson_scripts", "controlnet", "ctrlgen"
MOST_PICTURES = 64  # of one job
# What the WebUI's API uses for fields that a request leaves out.
DEFAULTS: Mapping[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "steps": 50,
    "width": 512,
    "height": 512,
    "cfg_scale": 7.0,
    "seed": -1,
}
SAMPLER = "Euler"
READ = frozenset(
    {*DEFAULTS, "sampler_name", "sampler_index", "scheduler", "batch_size", "n_iter", "override_settings"}
    | {SCRIPTS, "controlnet_units"}
)
# Fields on which no picture depends.
ABOUT_FILES = frozenset(
    {
        "save_images",
        "send_images",
        "do_not_save_samples",
        "do_not_save_grid",
        "override_settings_restore_afterwards",
        "include_init_images",
        "force_task_id",
        "comments",
        "script_args",
        "subseed",
        "firstphase_width",
        "firstphase_height",
    }
)
# Fields that are used only beside another one.
BESIDE: Mapping[str, str] = {
    "hr_": "enable_hr",
    "inpaint": "mask",
    "mask_": "mask",
    "initial_noise": "init_images",
    "seed_resize_from": "subseed_strength",
    "refiner_switch_at": "refiner_checkpoint",
}
EMPTY: tuple[Any, ...] = (None, "", [], {}, False, 0, -1)
NOT_IN_A_JOB = "is not in a job: convert with --payload to keep it"
# Parameters of an infotext that are read, or on which the picture does not depend.
TEXT_READ = frozenset(
    {"Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Model hash"}
    | {"Version", "Batch size", "Batch pos", "User", "CtrlGen", "CtrlGen warnings", "Sampler hashes"}
)
OWN_KEY = "CtrlGen"
SIZE = re.compile(r"(\d+)\s*x\s*(\d+)")


@dataclass(frozen=True, kw_only=True)
class OldJob:
    """The parts of an old request.

    fields      those of a job, without units
    units       of sd-webui-controlnet, as they were sent
    generation  what the conversion of units must know
    body        the REST request without sd-webui-controlnet's units, if it was one
    controls    CtrlGen's own request in it
    pictureless whether units may lack pictures, because an infotext holds none
    """

    fields: Fields = field(default_factory=dict)
    units: tuple[Any, ...] = ()
    generation: Generation
    body: Fields | None = None
    controls: Fields = field(default_factory=dict)
    pictureless: bool = False

    @property
    def tab(self) -> str:
        """The WebUI's route: txt2img or img2img."""
        return "img2img" if self.generation.img2img else "txt2img"


def job_of_body(body: Mapping[str, Any], notices: Notices, *, own: bool = False) -> OldJob:
    """The parts of a REST request for txt2img or img2img. Raises RequestError.

    Fields that a job does not have become notices; with `own`, units get CtrlGen's own semantics.
    """
    units, others = without_units(body)
    given = {name: value for name, value in body.items() if value is not None}
    found: Fields = {name: given.get(name, default) for name, default in DEFAULTS.items()}
    found["sampler"] = str(given.get("sampler_name") or given.get("sampler_index") or SAMPLER)
    if given.get("scheduler"):
        found["scheduler"] = str(given["scheduler"])
    found["batch_size"] = _pictures(given, notices)
    found |= _settings(given.get("override_settings"), notices)
    _note_others(given, notices)
    controls, others = _without_own(others)
    generation = generation_of(given, own=own)
    return OldJob(fields=found, units=units, generation=generation, body=others, controls=controls)


def _without_own(body: Fields) -> tuple[Fields, Fields]:
    """CtrlGen's own request in a body, and the body without it."""
    scripts = dict(body.get(SCRIPTS) or {})
    title = next((name for name in scripts if str(name).casefold() == OWN), None)
    if title is None:
        return {}, body
    args = (scripts.pop(title) or {}).get("args") or [{}]
    others = {**body, SCRIPTS: scripts}
    return dict(args[0] or {}), others if scripts else {k: v for k, v in others.items() if k != SCRIPTS}


def without_units(body: Mapping[str, Any]) -> tuple[tuple[Any, ...], Fields]:
    """The units of sd-webui-controlnet in a request, and the request without them. Raises RequestError."""
    others = dict(body)
    old = others.pop("controlnet_units", None)
    scripts = others.get(SCRIPTS)
    entry: Any = None
    if isinstance(scripts, Mapping):
        title = next((name for name in scripts if str(name).casefold() == TITLE), None)
        entry = None if title is None else scripts[title]
        others[SCRIPTS] = {name: value for name, value in scripts.items() if name != title}
        if not others[SCRIPTS]:
            del others[SCRIPTS]
    args = entry.get("args") if isinstance(entry, Mapping) else entry
    found = args if args is not None else old
    if found is None:
        return (), others
    if isinstance(found, Mapping):
        found = [found]
    if not isinstance(found, list):
        raise RequestError(f"$.{SCRIPTS}.ControlNet.args", f"expected a list of units, got {found!r:.80}")
    return tuple(found), others


def generation_of(body: Mapping[str, Any], *, own: bool = False) -> Generation:
    """What the conversion of units must know of a request. Raises RequestError for a broken init picture."""
    init = body.get("init_images")
    pictures = init if isinstance(init, list) else []
    first = decode_image(str(pictures[0]), "$.init_images[0]") if pictures else None
    masked = first is not None and bool(body.get("mask"))
    seed = max(0, _whole(body.get("seed"), 0))
    return Generation(
        family="sd15",
        width=_whole(body.get("width"), 512) // 8 * 8,
        height=_whole(body.get("height"), 512) // 8 * 8,
        hires=first is None and bool(body.get("enable_hr")),
        img2img=first is not None,
        init_size=(0, 0) if first is None else first.size,
        resize_mode=min(3, max(0, _whole(body.get("resize_mode"), 0))),
        inpaint=masked,
        only_masked=masked and bool(body.get("inpaint_full_res", True)),
        map_seed=(seed + max(0, _whole(body.get("subseed"), 0))) % 2**32,
        own_semantics=own,
    )


def job_of_units(units: list[Any], *, own: bool = False) -> OldJob:
    """Units alone, without a generation; their pictures may be missing."""
    generation = Generation(family="sd15", own_semantics=own)
    return OldJob(units=tuple(units), generation=generation, pictureless=True)


def job_of_infotext(text: Infotext, notices: Notices, *, own: bool = False) -> OldJob:
    """The parts of an infotext. Parameters that a job does not have become notices."""
    given = text.fields
    found: Fields = {"prompt": text.prompt, "negative_prompt": text.negative_prompt}
    for name, key in (("steps", "Steps"), ("seed", "Seed")):
        if (number := _whole(given.get(key), None)) is not None:
            found[name] = number
    if size := SIZE.fullmatch(given.get("Size", "")):
        found |= {"width": int(size[1]), "height": int(size[2])}
    found |= {name: given[key] for name, key in (("sampler", "Sampler"),) if given.get(key)}
    if given.get("Schedule type"):
        found["scheduler"] = given["Schedule type"]
    found |= _scale(given.get("CFG scale"), notices)
    if given.get("Model"):
        digest = given.get("Model hash", "")
        found["model"] = given["Model"] + (f" [{digest}]" if digest else "")
    for name in given:
        if name not in TEXT_READ and not name.strip().startswith("ControlNet"):
            notices.add(name, f"{given[name][:80]!r} {NOT_IN_A_JOB.partition(':')[0]}")
    units = tuple(units_of(given, notices))
    generation, controls = generation_of(found, own=own), _own_entry(given, notices)
    return OldJob(fields=found, units=units, generation=generation, controls=controls, pictureless=True)


def _own_entry(given: Mapping[str, str], notices: Notices) -> Fields:
    """CtrlGen's own request in an infotext, with hashes in the place of pictures."""
    try:
        found = json.loads(given.get(OWN_KEY) or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        notices.add(OWN_KEY, "is damaged and is left out")
        return {}
    return found


def _scale(text: str | None, notices: Notices) -> Fields:
    """The guidance scale of an infotext, a number."""
    try:
        return {} if text is None else {"cfg_scale": float(text)}
    except ValueError:
        notices.add("CFG scale", f"{text[:80]!r} is no number and is left out" if text else "is empty")
        return {}


def _pictures(given: Mapping[str, Any], notices: Notices) -> int:
    """The number of pictures: the batch size times the number of batches, whose seeds follow one another."""
    count: int = _whole(given.get("batch_size"), 1) * _whole(given.get("n_iter"), 1)
    if not 1 <= count <= MOST_PICTURES:
        notices.add("$.n_iter", f"{count} pictures: a job makes 1 to {MOST_PICTURES}")
    return min(MOST_PICTURES, max(1, count))


def _settings(changed: Any, notices: Notices) -> Fields:
    """The fields of a job in `override_settings`."""
    found: Fields = {}
    for name, value in changed.items() if isinstance(changed, Mapping) else ():
        if name == "sd_model_checkpoint" and value:
            found["model"] = str(value)
        elif name == "pad_cond_uncond":
            found["pad_cond_uncond"] = bool(value)
        else:
            notices.add(f"$.override_settings.{name}", NOT_IN_A_JOB)
    return found


def _note_others(given: Mapping[str, Any], notices: Notices) -> None:
    """Name the fields that a job does not have and that may change the picture."""
    for name, value in given.items():
        if name in READ or name in ABOUT_FILES or value in EMPTY:
            continue
        beside = next((other for start, other in BESIDE.items() if name.startswith(start)), None)
        if beside is not None and not given.get(beside):
            continue
        if name == "denoising_strength" and not (given.get("enable_hr") or given.get("init_images")):
            continue
        notices.add(f"$.{name}", NOT_IN_A_JOB)
    for title in given.get(SCRIPTS) or ():
        if str(title).casefold() not in (TITLE, OWN, "controlnet m2m"):
            notices.add(f"$.{SCRIPTS}.{title}", NOT_IN_A_JOB)


def _whole(value: Any, default: Any) -> Any:
    """A whole number; the default for anything else."""
    try:
        return default if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return default
