"""A damaged or truncated file of any control family stops the request with an error that names the unit."""

import random
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_families as families
from tests.support import control_files as files
from tests.support.control_files import damaged
from tests.support.unet_calls import sd_diffusers, sdxl_diffusers

VECTOR = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 2,
    "projection_class_embeddings_input_dim": 20,
}
# The files of these kinds are those of the kind `ldm` under other names.
RENAMED = {"shuffle", "inpaint", "absolute"}
KINDS = [kind for kind in (*families.SD15, *families.SDXL) if kind not in RENAMED]


@pytest.fixture(scope="module")
def bases() -> dict[bool, families.Base]:
    return {False: families.Base(sd_diffusers()), True: families.Base(sdxl_diffusers(**VECTOR))}


def failure(folder: Path, base: families.Base) -> RequestError | None:
    """What loading the file `net` raises. Nothing but a RequestError is right."""
    unit = {"model": "net", "image": files.data_url(), "params": {}}
    store = ModelStore([folder], 1 << 30)
    try:
        load_units(
            parse_request({"units": [unit]}).units,
            Target(store=store, shape=DiffusersUNet(base.unet).shape, unet=base.unet),
        )
    except RequestError as error:
        return error
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(tmp_path: Path, bases: dict[bool, families.Base], kind: str) -> None:
    base = bases[kind.startswith("xl")]
    whole: dict[str, Any] = ({**families.SD15, **families.SDXL})[kind](base)
    whole = {key: value.contiguous() for key, value in whole.items()}
    files.save_vision(tmp_path / "vision", hidden=128)
    path, chance = tmp_path / "net.safetensors", random.Random(kind)
    for _ in range(4):
        torn = damaged(whole, chance)
        save_file(torn, path)
        found = failure(tmp_path, base)
        assert found is not None, set(whole) ^ set(torn)
        assert found.path == "$.units[0].model"
    save_file(whole, path)
    content = path.read_bytes()
    for share in (0.001, 0.999):  # every share: test_published_layouts.py
        path.write_bytes(content[: int(len(content) * share)])
        found = failure(tmp_path, base)
        assert found is not None
        assert found.path == "$.units[0].model"
