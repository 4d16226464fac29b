"""What the parts of the panel share: the list of components, and the choices of a model list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from lib_ctrlgen.images.files import is_deep_text
from lib_ctrlgen.webui.settings import model_store

from .unit_fields import NO_MODEL


class PictureInput(gr.Image):  # type: ignore[misc]
    """A picture of the page. One that is grey with more than eight bits stays the text that was sent.

    gradio would bring it to eight bits, and not by its range.
    """

    is_template = True  # in the page it is what its base class is

    def preprocess(self, x: Any) -> Any:
        """What the page sends, as an argument of the script."""
        return x if isinstance(x, str) and is_deep_text(x) else super().preprocess(x)


@dataclass
class Panel:
    """The components in the order of the script's arguments, and the fields that a pasted infotext fills."""

    tab: str
    components: list[Any] = field(default_factory=list)
    paste_fields: list[tuple[Any, Callable[..., Any]]] = field(default_factory=list)

    def add(self, component: Any) -> Any:
        """Make a component an argument of the script. Its value is no one's default for later."""
        component.do_not_save_to_config = True
        self.components.append(component)
        return component

    def elem_id(self, name: str) -> str:
        """The element's id in the page."""
        return f"ctrlgen_{self.tab}_{name}"


def model_choices() -> dict[str, list[str]]:
    """The choices of a model list, as the folders are now."""
    return {"choices": [NO_MODEL, *model_store().names()]}
