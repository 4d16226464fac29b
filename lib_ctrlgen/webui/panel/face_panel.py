"""The components of a unit for what its family's parameters upload, and the button that saves a face."""

from __future__ import annotations

from html import escape
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio as gr

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.forms.param_fields import uploaded_fields
from lib_ctrlgen.forms.unit_fields import unit_fields
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.webui.late import plain
from lib_ctrlgen.webui.settings import model_store

from .components import FileInput, PictureInput, UnitPanel
from .preview import error_html


def build_uploads(unit: UnitPanel) -> None:
    """Upload fields for faces, and a button that saves the face of the unit's picture; hidden at first."""
    unit.parts["uploads"] = gr.Row(visible=False)
    with unit.parts["uploads"]:
        for name, param in uploaded_fields().items():
            unit.parts[f"{name}_area"] = gr.Column(min_width=160, visible=False)
            with unit.parts[f"{name}_area"]:
                _upload(unit, name, param)
        unit.parts["face_tools"] = gr.Column(min_width=220, visible=False)
        with unit.parts["face_tools"]:
            button = gr.Button("Save face embedding", elem_id=unit.elem_id("save_face"), size="sm")
            made = FileInput(
                label="Face embedding",
                elem_id=unit.elem_id("face_file"),
                interactive=False,
                visible=False,
                height=80,
            )
            error = gr.HTML(elem_id=unit.elem_id("face_error"))
    unit.parts |= {"save_face": button, "face_file": made, "face_error": error}


def _upload(unit: UnitPanel, name: str, param: Param) -> None:
    """The upload field of a parameter, and what it is for below it."""
    if param.kind == "embedding":
        files = {"file_count": "multiple", "file_types": [".safetensors"], "height": 120}
        unit.show(name, FileInput, label=param.label, visible=False, **files)
    else:
        picture = {"type": "pil", "image_mode": "RGBA", "source": "upload", "height": 180}
        unit.show(name, PictureInput, label=param.label, visible=False, **picture)
    gr.HTML(f'<p class="ctrlgen-note">{escape(param.info)}</p>')


def sentence(error: CtrlGenError) -> str:
    """An error in words that begin with a capital letter, without the path of its field."""
    text = error.message if isinstance(error, RequestError) else str(error)
    return text[:1].upper() + text[1:]


def connect_faces(unit: UnitPanel) -> None:
    """Let the button offer the embedding of the chosen face as a file, or say what is wrong."""
    names = tuple(unit_fields())

    @plain
    def save(*values: Any) -> tuple[dict[str, Any], str]:
        from lib_ctrlgen.forms.face_file import face_file  # imports every family, and diffusers

        try:
            found = face_file(dict(zip(names, values, strict=True)), unit.index, model_store())
        except CtrlGenError as error:
            return gr.update(value=None, visible=False), error_html(sentence(error))
        path = Path(mkdtemp(prefix="ctrlgen-face-")) / found.name
        path.write_bytes(found.content)
        return gr.update(value=str(path), visible=True), ""

    inputs = [unit.parts[name] for name in names]
    unit.parts["save_face"].click(
        save, inputs=inputs, outputs=[unit.parts["face_file"], unit.parts["face_error"]]
    )
