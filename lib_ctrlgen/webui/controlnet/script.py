"""The always-on script "ControlNet", which takes units in the form of sd-webui-controlnet.

Its arguments are set by REST clients and by other extensions; the page shows nothing of it. They become
units of the generation's one request (`lib_ctrlgen.webui.script`).
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import scripts

from lib_ctrlgen.webui.script import CtrlGenScript

from .arguments import always_on
from .counts import argument_count
from .name import TITLE, answers_to_name


class ControlNetScript(CtrlGenScript):
    """The script of one tab.

    CtrlGen's own script does the work where it is among the generation's scripts. ADetailer and Deforum run
    generations with this script alone; then it does the same work itself.
    """

    is_ctrlgen = True
    takes_controlnet_units = True
    create_group = False

    def title(self) -> str:
        """The name in `alwayson_scripts`, and by which other extensions find it."""
        return TITLE

    def show(self, is_img2img: bool) -> Any:
        """Always on where CtrlGen answers to the name, else absent."""
        del is_img2img
        return scripts.AlwaysVisible if answers_to_name() else False

    def ui(self, is_img2img: bool) -> list[Any]:
        """Hold the units; nothing of it is visible."""
        del is_img2img
        return [gr.State(None) for _ in range(argument_count())]

    def process(self, p: Any, *args: Any) -> None:
        """Do the work of CtrlGen's own script where that is absent."""
        del args
        if leads(p):
            super().process(p)

    def before_process_batch(self, p: Any, *args: Any, **given: Any) -> None:
        """Do the work of CtrlGen's own script where that is absent."""
        if leads(p):
            super().before_process_batch(p, *args, **given)

    def process_before_every_sampling(self, p: Any, *args: Any, **given: Any) -> None:
        """Do the work of CtrlGen's own script where that is absent."""
        if leads(p):
            super().process_before_every_sampling(p, *args, **given)

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
        """Do the work of CtrlGen's own script where that is absent."""
        if leads(p):
            super().postprocess(p, processed, *args)


def leads(p: Any) -> bool:
    """Whether CtrlGen's own script is not among the scripts of a generation."""
    own = (
        isinstance(each, CtrlGenScript)
        for each in always_on(p)
        if not hasattr(each, "takes_controlnet_units")
    )
    return not any(own)
