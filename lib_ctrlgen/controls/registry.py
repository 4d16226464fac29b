"""The control families. To add one: a file with a class, and a line in `CONTROLS`."""

from __future__ import annotations

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.preprocessors import params_of, preprocessor
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.request.spec import ControlUnit

from .base import Control
from .controlnet.control_lora import ControlLora
from .controlnet.controlnet import ControlNet
from .controlnet.instant_id import InstantID
from .controlnet.union import ControlNetUnion
from .ip_adapter import IPAdapter
from .lllite import LLLite
from .t2i_adapter import T2IAdapter
from .t2i_style import T2IStyle

CONTROLS: tuple[type[Control], ...] = (
    ControlNet,
    ControlNetUnion,
    InstantID,
    ControlLora,
    LLLite,
    IPAdapter,
    T2IAdapter,
    T2IStyle,
)


def control_for(kind: ModelKind) -> type[Control]:
    """The family of a file. Raises ModelError when no family takes it."""
    for control in CONTROLS:
        if control.detect(kind):
            return control
    raise ModelError(f"no control takes a file of kind {kind.control}")


def params_for(unit: ControlUnit) -> tuple[Param, ...]:
    """The parameters that `unit.params` may hold: the preprocessor's, then the control's.

    While the control is `auto`, those of every family. Raises RequestError for an
    unknown preprocessor.
    """
    chosen = [control for control in CONTROLS if unit.control in {"auto", control.name}]
    own = dict.fromkeys(param for control in chosen for param in control.params)
    return (*params_of(preprocessor(unit.preprocessor)), *own)
