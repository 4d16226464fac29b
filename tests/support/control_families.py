"""Random files of every control family, with the shapes that a given U-Net needs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.controlnet.union_mixer import UnionMixer
from lib_ctrlgen.headless.checkpoints.load import load_networks
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.linear_sites import input_sites
from tests.support import control_files as files
from tests.support import lora_files as lora

PREFIX = "ctrlgen-live"
UNION_TYPES = 8  # ProMax


@dataclass(frozen=True)
class Base:
    """A checkpoint's U-Net in diffusers' classes, and how many layers each of its levels has."""

    unet: Any

    @staticmethod
    def read(checkpoint: Path) -> "Base":
        return Base(load_networks(checkpoint, ModelStore([checkpoint.parent], 8 << 30)).unet)

    @property
    def layers(self) -> int:
        return int(self.unet.config.layers_per_block)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.unet.config.block_out_channels)

    def controlnet(self, seed: int) -> dict[str, Tensor]:
        """A ControlNet with weights near the U-Net's, as a trained one has, and strong outputs."""
        network = ControlNetModel.from_unet(self.unet)
        random = torch.Generator().manual_seed(seed)
        for name, parameter in network.named_parameters():
            if name.startswith("controlnet_"):
                parameter.data = torch.randn(parameter.shape, generator=random) * 0.1
        return {key: value.detach().contiguous() for key, value in network.state_dict().items()}


def ldm_controlnet(base: Base, seed: int) -> dict[str, Tensor]:
    return files.to_ldm(base.controlnet(seed), base.layers)


def difference(base: Base) -> dict[str, Tensor]:
    """The same as the difference to the checkpoint's encoder."""
    own = lora.encoder(base.unet)
    tensors = ldm_controlnet(base, 11)
    shifted = {key: value - own[key].detach() if key in own else value for key, value in tensors.items()}
    return shifted | {"difference": torch.tensor([])}


def t2i(base: Base, kind: str) -> dict[str, Tensor]:
    channels = {"light": base.widths[:3], "xl": (*base.widths, base.widths[-1])}.get(kind, base.widths)
    network = files.t2i_adapter(kind, 12, channels=list(channels))
    random = torch.Generator().manual_seed(5)
    return {
        key: torch.randn(value.shape, generator=random) * 0.15 for key, value in network.state_dict().items()
    }


def control_lora(base: Base) -> dict[str, Tensor]:
    return lora.lora_tensors(lora.encoder(base.unet), DiffusersUNet(base.unet).shape.residual_channels, 13)


def lllite(base: Base) -> dict[str, Tensor]:
    """One for every layer of the encoder and the middle; their level follows from the U-Net's strides."""
    sites = {
        site.name: (site.width, level_of(site.block, base.layers, len(base.widths)))
        for site in input_sites(base.unet)
        if not site.block.startswith("output_blocks")
    }
    return lora.lllite_tensors(sites, 14)


def level_of(block: str, layers: int, levels: int) -> int:
    """1 for places of 8 pixels, 2 for 16, 3 for 32."""
    if block.startswith("middle"):
        return levels
    return (int(block.split(".")[1]) - 1) // (layers + 1) + 1


def style(base: Base) -> dict[str, Tensor]:
    """T2I's style adapter for the vision tower of the tiny model, of width 128."""
    random = torch.Generator().manual_seed(17)
    named = files.style_adapter_shapes(128, int(base.unet.config.cross_attention_dim), 5)
    return {key: torch.randn(shape, generator=random) * 0.2 for key, shape in named.items()}


def union(base: Base) -> dict[str, Tensor]:
    own = base.controlnet(15)
    embedding = own["controlnet_cond_embedding.conv_out.bias"].shape[0]
    time = own["time_embedding.linear_2.bias"].shape[0]
    mixer = files.random_weights(UnionMixer(UNION_TYPES, embedding, time, 1, 2), 16)
    return {**own, **{key: value.contiguous() for key, value in mixer.state_dict().items()}}


Make = Callable[[Base], dict[str, Tensor]]
SD15: dict[str, Make] = {
    "ldm": lambda base: ldm_controlnet(base, 10),
    "diffusers": lambda base: base.controlnet(10),
    "shuffle": lambda base: ldm_controlnet(base, 10),
    "inpaint": lambda base: ldm_controlnet(base, 10),
    "absolute": lambda base: ldm_controlnet(base, 11),
    "difference": difference,
    "t2i-full": lambda base: files.to_original(t2i(base, "full")),
    "t2i-light": lambda base: t2i(base, "light"),
    "t2i-style": style,
    "lora": control_lora,
}
SDXL: dict[str, Make] = {
    "xl-ldm": lambda base: ldm_controlnet(base, 10),
    "xl-diffusers": lambda base: base.controlnet(10),
    "xl-union": union,
    "xl-t2i": lambda base: t2i(base, "xl"),
    "xl-lora": control_lora,
    "xl-lllite": lllite,
}


@contextmanager
def installed(root: Path, checkpoint: str, makes: dict[str, Make]) -> Iterator[dict[str, str]]:
    """The files in a WebUI's folder of ControlNets; gives their names by family, and takes them away."""
    base = Base.read(root / "models" / "Stable-diffusion" / checkpoint)
    paths = {kind: root / "models" / "ControlNet" / f"{PREFIX}-{kind}.safetensors" for kind in makes}
    try:
        for kind, path in paths.items():
            save_file(makes[kind](base), path)
        yield {kind: path.stem for kind, path in paths.items()}
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)
