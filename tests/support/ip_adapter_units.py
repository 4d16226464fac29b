"""Units with random IP-Adapters, loaded or refused."""

from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.ip_adapter.prepared import PreparedIPAdapter
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.unet.call import UNetShape
from tests.support import control_files as files

SHAPE = files.shape()


def unit(model: str = "adapter", **fields: Any) -> ControlUnit:
    payload = {"model": model, "image": files.data_url(50, 40), **fields}
    return parse_request({"units": [payload]}).units[0]


def prepared(store: ModelStore, item: ControlUnit, shape: UNetShape = SHAPE) -> PreparedIPAdapter:
    (active,) = load_units([item], Target(store=store, shape=shape))
    assert isinstance(active.control, PreparedIPAdapter)
    return active.control


def refused(item: ControlUnit, store: ModelStore) -> RequestError:
    with pytest.raises(RequestError) as raised:
        load_units([item], Target(store=store, shape=SHAPE))
    return raised.value


def write(folder: Path, kind: str, suffix: str = "safetensors") -> Any:
    """An adapter file; returns its projection."""
    module, tensors = files.plain_projection() if kind == "plain" else files.plus_projection()
    files.save_adapter(folder / f"adapter.{suffix}", tensors, SHAPE.attention_hidden)
    return module
