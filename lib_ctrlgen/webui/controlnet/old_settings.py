"""The settings of sd-webui-controlnet, which requests may override by their names."""

from __future__ import annotations

from typing import Any

from modules import shared

from lib_ctrlgen.compat.settings import DEFAULTS, FOLDERS

from .name import answers_to_name

SECTION = (None, "Hidden options")  # the WebUI shows no settings of this section


def register_old_settings(*_: Any) -> None:
    """Add those that no extension has added, without showing them, where CtrlGen answers to the name.

    Without them, `override_settings` with such a name would end in an error of the WebUI. What CtrlGen takes
    over from them is in `lib_ctrlgen.compat.settings`.
    """
    if not answers_to_name():
        return
    for name, default in DEFAULTS.items():
        if name not in shared.opts.data_labels:
            option = shared.OptionInfo(default, name, section=SECTION, restrict_api=name in FOLDERS)
            shared.opts.add_option(name, option)
