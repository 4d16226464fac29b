"""Units with random IP-Adapters, loaded or refused."""

from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.ip_adapter.mixed import MixedIPAdapter
from lib_ctrlgen.controls.ip_adapter.prepared import PreparedIPAdapter
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from tests.support import control_files as files

SHAPE = files.shape()


def unit(model: str = "adapter", **fields: Any) -> ControlUnit:
    payload = {"model": model, "image": files.data_url(50, 40), **fields}
    return parse_request({"units": [payload]}).units[0]


def loaded(store: ModelStore, item: ControlUnit) -> ActiveUnit:
    (active,) = load_units([item], Target(store=store, shape=SHAPE))
    return active


def prepared(store: ModelStore, item: ControlUnit) -> PreparedIPAdapter:
    control = loaded(store, item).control
    assert isinstance(control, PreparedIPAdapter)
    return control


def mixed(store: ModelStore, item: ControlUnit) -> MixedIPAdapter:
    """One whose tokens change, or that is cut into tiles."""
    control = loaded(store, item).control
    assert isinstance(control, MixedIPAdapter)
    return control


def refused(item: ControlUnit, store: ModelStore) -> RequestError:
    with pytest.raises(RequestError) as raised:
        load_units([item], Target(store=store, shape=SHAPE))
    return raised.value


def write(folder: Path, kind: str, suffix: str = "safetensors") -> Any:
    """An adapter file; returns its projection."""
    module, tensors = files.plain_projection() if kind == "plain" else files.plus_projection()
    files.save_adapter(folder / f"adapter.{suffix}", tensors, SHAPE.attention_hidden)
    return module
