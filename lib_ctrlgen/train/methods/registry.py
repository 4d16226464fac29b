"""The methods by the kinds of trainings that they do."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import cast

from lib_ctrlgen.request.training import TrainingKind, TrainingSpec

from .base import Base, TrainingMethod

METHODS: Mapping[TrainingKind, str] = MappingProxyType(
    {
        "lora": "lib_ctrlgen.train.methods.lora:LoraMethod",
        "dreambooth": "lib_ctrlgen.train.methods.lora:LoraMethod",
        "textual-inversion": "lib_ctrlgen.train.methods.textual_inversion:TextualInversion",
        "ip-adapter": "lib_ctrlgen.train.methods.ip_adapter:IPAdapterMethod",
    }
)


def method_of(spec: TrainingSpec, base: Base) -> TrainingMethod:
    """The method of a training, ready to be trained. Raises RequestError and ModelError."""
    module, _, name = METHODS[spec.kind].partition(":")
    kind = cast("type[TrainingMethod]", getattr(import_module(module), name))
    return kind.create(spec, base)
