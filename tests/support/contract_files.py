"""For each control family a U-Net, a random file and a unit: what tests/controls/test_contract.py tries.

A family that is added to the catalogue gets a line in `EXAMPLES`; without one its contract test fails.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.support import control_families as families
from tests.support import control_files as files
from tests.support import face_adapters as adapters
from tests.support import gligen_files as gligen
from tests.support import networks, pulid_files
from tests.support.networks import Call, call_of, random_call
from tests.support.unet_calls import port_of, sd_diffusers, sdxl_diffusers

FACE = 512  # numbers in a face's embedding
SDXL_TEXT, SDXL_POOLED, SIZES = 2048, 1280, 12  # widths of the text's tokens, its pooled text, the sizes


def pictured(seed: int) -> dict[str, Any]:
    """A unit's picture."""
    return {"image": files.data_url(seed=seed)}


def boxed(seed: int) -> dict[str, Any]:
    """A unit's boxes."""
    return {"boxes": [{"text": f"object {seed}", "box": [0.1, 0.2, 0.6, 0.9]}, *gligen.BOXES]}


@dataclass(frozen=True, kw_only=True)
class Example:
    """A family's U-Net, what puts its files into a folder, and the fields of a unit that uses them.

    `kinds` are the rows of a call on whose last picture the unit acts. `vector` is the width of sgm's vector.
    `content` gives the picture or the boxes of a unit by a seed. A family without networks has no weights to
    store elsewhere; one that couples the pictures of a batch does not make of each what it is alone.
    `patches` are what stands for packages that the tests do not need, by the place where it is used.
    """

    unet: Callable[[], Any]
    write: Callable[[Path], object] = lambda _folder: None
    unit: dict[str, Any] = field(default_factory=dict)
    context: int = networks.CONTEXT
    vector: int = networks.VECTOR
    kinds: str = "c0 u0"
    has_weights: bool = True
    couples: bool = False
    content: Callable[[int], dict[str, Any]] = pictured
    patches: dict[str, Any] = field(default_factory=dict)

    def call(self, kinds: str) -> Call:
        """A call of the U-Net; `kinds` as in `random_call`."""
        made = random_call(kinds, 6)
        words = torch.randn(len(made.rows), 7, self.context, generator=torch.Generator().manual_seed(4))
        vector = torch.randn(len(made.rows), self.vector, generator=torch.Generator().manual_seed(5))
        return call_of(made.x, made.timestep, words, vector, made.rows)


def written(make: families.Make, twin: Callable[[], Any]) -> Callable[[Path], None]:
    """Writes `model.safetensors` for a U-Net of which `twin` is diffusers' form, and a vision encoder."""

    def write(folder: Path) -> None:
        tensors = {key: value.contiguous() for key, value in make(families.Base(twin())).items()}
        save_file(tensors, folder / "model.safetensors")
        files.save_vision(folder / "vision", hidden=128)

    return write


def ip_adapter(folder: Path) -> None:
    files.save_vision(folder / "vision")
    _, projection = files.plain_projection()
    hidden = port_of(networks.ldm_unet()).shape.attention_hidden
    files.save_adapter(folder / "model.safetensors", projection, hidden)


def face_adapter(folder: Path) -> None:
    """A FaceID-plus with its LoRA."""
    files.save_vision(folder / "vision")
    hidden = port_of(networks.ldm_unet(context=files.CONTEXT)).shape.attention_hidden
    shapes = adapters.whole("faceid_plus_v2", files.CONTEXT, hidden, clip=48, rank=3)
    adapters.write(folder / "model.safetensors", adapters.random_tensors(shapes), {"title": "FaceID PlusV2"})


def pulid(folder: Path) -> None:
    hidden = port_of(networks.sgm_unet(context=files.CONTEXT)).shape.attention_hidden
    head = pulid_files.version_1(files.CONTEXT, 24, pulid_files.SMALL_MAP)
    shapes = pulid_files.published(head, hidden, files.CONTEXT)
    adapters.write(folder / "model.safetensors", adapters.random_tensors(shapes))


def instant_id(folder: Path) -> None:
    network = networks.sdxl_controlnet(5, cross_attention_dim=files.CONTEXT)
    save_file(network.state_dict(), folder / "model_instant_id.safetensors")
    _, projection = files.plus_projection(FACE)
    hidden = port_of(networks.sgm_unet(context=files.CONTEXT)).shape.attention_hidden
    files.save_adapter(folder / "ip-adapter_instant_id_sdxl.bin", projection, hidden)


def face() -> str:
    """A face's embedding as base64 of float32."""
    numbers = torch.randn(FACE, generator=torch.Generator().manual_seed(1))
    return base64.b64encode(numbers.numpy().astype("<f4").tobytes()).decode()


def of_sd15(kind: str) -> Example:
    return Example(unet=networks.ldm_unet, write=written(families.SD15[kind], sd_diffusers))


def of_sdxl(kind: str, **unit: Any) -> Example:
    return Example(unet=networks.sgm_unet, write=written(families.SDXL[kind], sdxl_diffusers), unit=unit)


EXAMPLES: dict[str, Example] = {
    "controlnet": of_sd15("ldm"),
    "controlnet_union": of_sdxl("xl-union", params={"union_type": "canny"}),
    "instant_id": Example(
        unet=lambda: networks.sgm_unet(context=files.CONTEXT),
        write=instant_id,
        unit={"model": "model_instant_id", "params": {"face": face()}},
        context=files.CONTEXT,
    ),
    "control_lora": of_sd15("lora"),
    "gligen": Example(
        unet=networks.ldm_unet,
        write=lambda folder: gligen.save(
            gligen.tensors_for(networks.ldm_unet()), folder / "model.safetensors"
        ),
        content=boxed,
    ),
    "lllite": of_sdxl("xl-lllite"),
    "ip_adapter": Example(
        unet=lambda: networks.ldm_unet(context=files.CONTEXT), write=ip_adapter, context=files.CONTEXT
    ),
    "ip_adapter_face": Example(
        unet=lambda: networks.ldm_unet(context=files.CONTEXT),
        write=face_adapter,
        context=files.CONTEXT,
        patches={"lib_ctrlgen.controls.ip_adapter.unit_faces.find_faces": adapters.found_faces},
    ),
    "pulid": Example(
        unet=lambda: networks.sgm_unet(context=files.CONTEXT),
        write=pulid,
        context=files.CONTEXT,
        patches={
            "lib_ctrlgen.controls.ip_adapter.unit_faces.find_faces": adapters.found_faces,
            "lib_ctrlgen.controls.pulid.pulid.Towers": pulid_files.SeenFaces,
        },
    ),
    "t2i_adapter": of_sd15("t2i-full"),
    "t2i_style": of_sd15("t2i-style"),
    "reference": Example(
        unet=networks.ldm_unet, unit={"control": "reference", "params": {"method": "both"}}, has_weights=False
    ),
    "style_aligned": Example(
        unet=networks.ldm_unet,
        unit={"control": "style_aligned", "image": ""},
        kinds="c0 u0 c1 u1",
        has_weights=False,
        couples=True,
    ),
    "revision": Example(
        unet=lambda: networks.sgm_unet(context=SDXL_TEXT, vector=SDXL_POOLED + SIZES),
        write=lambda folder: files.save_vision(folder / "vision", projection=SDXL_POOLED) and None,
        unit={"control": "revision"},
        context=SDXL_TEXT,
        vector=SDXL_POOLED + SIZES,
    ),
}
