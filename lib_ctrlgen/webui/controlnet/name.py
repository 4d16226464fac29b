"""Whether CtrlGen answers to the name of sd-webui-controlnet: the title "ControlNet" and its REST routes."""

from __future__ import annotations

from typing import Any

from modules import scripts, shared

TITLE, OLD_ROOT = "ControlNet", "/controlnet"
SETTING = "ctrlgen_controlnet_api"
AUTOMATIC, ALWAYS, NEVER = "automatic", "always", "never"
CHOICES = (AUTOMATIC, ALWAYS, NEVER)
TAKEN = (
    "another extension ({place}) has the name ControlNet, so CtrlGen leaves requests for ControlNet and "
    "the routes below /controlnet to it"
)


def answers_to_name() -> bool:
    """Whether CtrlGen takes requests for "ControlNet": the setting says so, or no other script does."""
    chosen = shared.opts.data.get(SETTING, AUTOMATIC)
    return bool(chosen == ALWAYS or (chosen != NEVER and not other_place()))


def taken_note() -> str:
    """A sentence on the other extension that has the name; empty where CtrlGen answers, or is not to."""
    chosen, place = shared.opts.data.get(SETTING, AUTOMATIC), other_place()
    return TAKEN.format(place=place) if place and chosen == AUTOMATIC else ""


def other_place() -> str:
    """The folder of another extension with a script titled "ControlNet"; empty if there is none."""
    known = getattr(scripts, "scripts_data", ())
    return next((str(each.basedir) for each in known if _has_title(each.script_class)), "")


def _has_title(script_class: Any) -> bool:
    """Whether a class of another extension has the title. No instance is initialised for the answer."""
    if getattr(script_class, "is_ctrlgen", False):
        return False
    try:
        return str(script_class.title(script_class.__new__(script_class))).lower() == TITLE.lower()
    except Exception:  # noqa: BLE001 - another extension's title that needs more than the class
        return False
