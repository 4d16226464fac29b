"""Shared by the parts of the panel: the lists of components, picture inputs, the names of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.unit_fields import NO_MODEL, PICTURE_FIELDS, unit_fields
from lib_ctrlgen.images.files import is_deep_text
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.webui.settings import model_store

from .infotext import POSE, PastedField, PastedPose


def no_example(component: Any) -> dict[str, Any]:
    """No example of a component's value for gradio's page about its API.

    gradio would send one with each component: 15 kB for a file, 3 kB for a picture.
    """
    del component
    return {"raw": None, "serialized": None}


class FileInput(gr.File):  # type: ignore[misc]
    """A field of files."""

    is_template = True  # the page shows it as its base class
    example_inputs = no_example


class FileButton(gr.UploadButton):  # type: ignore[misc]
    """A button that opens a file."""

    is_template = True
    example_inputs = no_example


class PictureList(gr.Gallery):  # type: ignore[misc]
    """Pictures side by side."""

    is_template = True
    example_inputs = no_example


class PictureInput(gr.Image):  # type: ignore[misc]
    """An image component. A grey picture with more than eight bits remains the text that the page sent.

    gradio would reduce it to eight bits and clip its range.
    """

    is_template = True
    example_inputs = no_example

    def preprocess(self, x: Any) -> Any:
        """Convert what the page sends to an argument of the script."""
        return x if isinstance(x, str) and is_deep_text(x) else super().preprocess(x)


@dataclass
class Panel:
    """The components in the order of the script's arguments, and the fields that a pasted infotext fills.

    `defaults` are the values of an unused unit's fields.
    """

    tab: str
    components: list[Any] = field(default_factory=list)
    paste_fields: list[tuple[Any, Callable[..., Any]]] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=unit_fields)

    def add(self, component: Any) -> Any:
        """Make a component an argument of the script. The WebUI does not save its value as a default."""
        component.do_not_save_to_config = True
        self.components.append(component)
        return component

    def elem_id(self, name: str) -> str:
        """The element's id in the page."""
        return f"ctrlgen_{self.tab}_{name}"


@dataclass
class UnitPanel:
    """One unit's tab while it is built: components by field name."""

    panel: Panel
    index: int
    parts: dict[str, Any] = field(default_factory=dict)

    def elem_id(self, name: str) -> str:
        """The element's id in the page."""
        return self.panel.elem_id(f"unit{self.index}_{name}")

    def show(self, name: str, component: type, **options: Any) -> Any:
        """Create the component of a field, with the field's default as its value."""
        options = {"value": self.panel.defaults[name], "elem_id": self.elem_id(name), **options}
        self.parts[name] = component(**options)
        return self.parts[name]

    def register(self) -> None:
        """Make the components arguments of the script, in the fields' order."""
        for name in self.panel.defaults:
            self.panel.add(self.parts[name])
            if name == POSE:
                self.panel.paste_fields.append((self.parts[name], PastedPose(self.index)))
            elif name not in PICTURE_FIELDS:
                self.panel.paste_fields.append((self.parts[name], PastedField(self.index, name)))


def build_picture(unit: UnitPanel, name: str, label: str, height: int = 240) -> None:
    """Build the field of a picture, into which one is dropped."""
    options = {"type": "pil", "image_mode": "RGBA", "source": "upload", "tool": "editor", "height": height}
    unit.show(name, PictureInput, label=label, **options)


def build_files(unit: UnitPanel, name: str, label: str) -> None:
    """Build the field of several pictures, one for each image of a batch."""
    options = {"file_count": "multiple", "file_types": ["image", ".json"], "height": 120}
    unit.show(name, FileInput, label=label, **options)


def family_of(model: Any) -> str:
    """The control family of a choice in a model list; empty for none and for a file that cannot be read."""
    from lib_ctrlgen.controls.registry import identify_file  # imports every family, and diffusers

    fileless = catalogue.control_without_model(model)
    if fileless:
        return fileless
    store = model_store()
    try:
        kind = store.get(store.resolve(model), identify_file) if model not in (None, "", NO_MODEL) else None
    except (CtrlGenError, OSError):
        return ""
    return kind.control if kind else ""


def model_choices() -> dict[str, list[str]]:
    """The present choices of a unit's model list: the families without a model file, then the files."""
    fileless = [entry.without_model for entry in catalogue.CONTROLS if entry.without_model]
    return {"choices": [NO_MODEL, *fileless, *model_store().names()]}
