"""Published ControlNet-LLLite files are loaded, and damaged ones are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.linear_sites import input_sites
from tests.support import lora_files as lora
from tests.support import networks
from tests.support import unet_calls as calls
from tests.support.lllite_reference import FILES, READERS
from tests.support.networks import Script, random_call
from tests.support.properties import examples
from tests.support.unet_calls import port_of, run

pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")


def test_the_published_layout_at_its_size() -> None:
    """Every layer of kohya's files is found in the real SDXL, at the width that it is for."""
    config = {
        **calls.SDXL,
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
    }
    with torch.device("meta"):
        unet = lora.files.UNet2DConditionModel(**config, up_block_types=calls.UP)
    found = {site.name.replace(".", "_"): site.width for site in input_sites(unet)}
    published = [(4, 2, 640), (5, 2, 640), (7, 10, 1280), (8, 10, 1280)]
    blocks = [(f"input_blocks_{n}_1", depth, width) for n, depth, width in published]
    for block, depth, width in [*blocks, ("middle_block_1", 10, 1280)]:
        for k in range(depth):
            for reader in READERS:
                name = f"{block}_transformer_blocks_{k}_{reader.replace('.', '_')}"
                assert found[name] == width


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("lllite_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.{}", "reads the picture"),
        ("lllite_unet_input_blocks_4_1_transformer_blocks_0_ff_net_2.{}", "reads the picture"),
        ("lllite_unet_input_blocks_4_0_in_layers_2.{}", "reads the picture"),
    ],
)
def test_layers_that_do_not_read_the_picture(tmp_path: Path, key: str, message: str) -> None:
    name = key.removeprefix("lllite_unet_").removesuffix(".{}")
    tensors = lora.lllite_tensors({name: (64, 2)}, 1)
    lora.save(tensors, tmp_path / "net.safetensors")
    with pytest.raises(RequestError, match=message):
        lora.loaded(tmp_path, networks.sgm_unet(), {"model": "net"})


@examples(10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_refused_or_load(
    tmp_path_factory: pytest.TempPathFactory, small: Any, data: st.DataObject
) -> None:
    tensors = lora.lllite_tensors(FILES["few"], 1)
    for key in data.draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=3, unique=True)):
        value, kind = tensors.pop(key), data.draw(st.sampled_from(["cut", "rename", "shape", "flat"]))
        if kind == "rename":
            tensors[key.replace("down", "mid").replace("0", "4")] = value
        elif kind == "shape":
            tensors[key] = torch.zeros(data.draw(st.lists(st.integers(0, 70), max_size=5)))
        elif kind == "flat":
            tensors[key] = value.flatten()
    folder = tmp_path_factory.mktemp("damaged")
    lora.save(tensors, folder / "net.safetensors")
    try:
        units = lora.loaded(folder, small, {"model": "net"})
    except RequestError:
        return
    call = random_call("c0 u0", 1)
    with ControlSession(port_of(small), units, Script(1, [(0, call.rows)])):
        run(small, call)


@pytest.fixture(scope="module")
def small() -> Any:
    return networks.sgm_unet()


def test_a_truncated_file_is_refused(tmp_path: Path, small: Any) -> None:
    path = lora.save(lora.lllite_tensors(FILES["few"], 1), tmp_path / "net.safetensors")
    path.write_bytes(path.read_bytes()[:-99])
    with pytest.raises(RequestError, match="cannot be read"):
        lora.loaded(tmp_path, small, {"model": "net"})
