"""Whether CtrlGen answers in this WebUI to what other extensions import from sd-webui-controlnet."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from modules import extensions, shared

from lib_ctrlgen.webui.controlnet.name import ALWAYS, AUTOMATIC, SETTING, answers_to_name

OLD_NAME = "sd-webui-controlnet"
OWN_FILE = Path("lib_ctrlgen") / "__init__.py"


def is_forge() -> bool:
    """Whether the host is Forge, reForge or another WebUI with Forge's ControlNet in it."""
    return find_spec("modules_forge") is not None


def other_controlnet() -> bool:
    """Whether sd-webui-controlnet is installed and switched on, in whatever folder."""
    names = [found for found in extensions.active() if OLD_NAME in found.name]
    return any(not (Path(found.path) / OWN_FILE).is_file() for found in names)


def answers_here() -> bool:
    """Whether CtrlGen answers: only in AUTOMATIC1111's WebUI, and where its script has the name ControlNet.

    While the WebUI still loads scripts, sd-webui-controlnet may be one of those that come later.
    """
    chosen = shared.opts.data.get(SETTING, AUTOMATIC) == ALWAYS
    return answers_to_name() and not is_forge() and (chosen or not other_controlnet())
