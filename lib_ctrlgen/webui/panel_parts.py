"""What the parts of the panel share: the list of components, and the choices of a model list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .payload import NO_MODEL
from .settings import model_store


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
