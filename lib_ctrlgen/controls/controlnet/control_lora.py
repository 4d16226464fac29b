"""ControlLoRA: a ControlNet that uses the U-Net's own weights and adds low-rank products to them.

Stability AI 2023, Control-LoRA; low-rank products as in Hu et al. 2021, LoRA. The weights are read from the
U-Net at each call, and are never copied or changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeAlias
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.func import functional_call

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.errors import HostError, ModelError
from lib_ctrlgen.models.kind import ModelKind, Shapes, bare_shapes
from lib_ctrlgen.models.ldm_keys import ldm_names
from lib_ctrlgen.models.offload import placed
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.unet.call import UNetCall
from lib_ctrlgen.unet.family import require_family

from .control_lora_file import LowRankConv2d, LowRankLinear, load_network
from .controlnet import ControlNet
from .detect import controlnet_family
from .network import NetworkInputs, vector

UNetParameter: TypeAlias = tuple[str, nn.Module, str, bool]
VECTOR = "add_embedding.", "class_embedding."  # the U-Net's name, the network's


@dataclass(frozen=True, kw_only=True)
class ControlLora(ControlNet):
    """A loaded ControlLoRA, without the weights that it takes from the U-Net.

    lacking   the shape of each of these weights, by its name in the network
    unet_names  the name in the U-Net of each of these weights, by its name in the network
    """

    name: ClassVar[str] = "control_lora"
    title: ClassVar[str] = "ControlLoRA"

    lacking: Mapping[str, tuple[int, ...]]
    unet_names: Mapping[str, str]
    _parameters: WeakKeyDictionary[nn.Module, list[UNetParameter]] = field(
        default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    @classmethod
    def detect(cls, shapes: Shapes) -> ModelKind | None:
        """The kind of a ControlLoRA's file, None for other files. Raises ModelError for a broken one."""
        bare = bare_shapes(shapes)
        if "lora_controlnet" not in bare:
            return None
        labels = ("label_emb.0.0.down", "label_emb.0.0.weight")
        family = controlnet_family(bare, "input_blocks.", labels)
        return ModelKind(control=cls.name, layout="ldm", family=family)

    @classmethod
    def load(cls, path: Path, kind: ModelKind, target: Target) -> ControlLora:
        """Load a ControlLoRA for the target's U-Net, or return it from the store. Raises ModelError."""
        require_family(kind.family, target.shape.family, path.stem)

        def load_control_lora(path: Path) -> ControlLora:
            network = load_network(path, target.shape, placement.home, placement.dtype)
            hint_encoder = network.controlnet_cond_embedding
            network.controlnet_cond_embedding = nn.Identity()
            lacking = {key: tuple(value.shape) for key, value in network.named_parameters() if value.is_meta}
            return cls(
                network=network,
                hint_encoder=hint_encoder,
                origin=(*stamp(path), placement.storage),
                lacking=lacking,
                unet_names=names_in_unet(lacking, target.base, path.stem),
                weights=placed([network], placement, path.stem),
                hint_weights=placed([hint_encoder], placement, path.stem),
            )

        placement = target.placement
        found = target.store.get(path, load_control_lora, placement, target.shape)
        unet_names = names_in_unet(found.lacking, target.base, path.stem)
        return found if unet_names == found.unet_names else replace(found, unet_names=unet_names)

    def run(self, call: UNetCall, *args: Any, **options: Any) -> Any:
        """Call the network with the weights of the U-Net that is called. Raises HostError without a U-Net."""
        if call.unet is None:
            raise HostError("a ControlLoRA can compute residuals only during a call of a U-Net")
        unet_parameters = self.unet_parameters(call.unet, args[0])
        return functional_call(self.network, unet_parameters, args, options, tie_weights=False)

    def time_addition(self, part: NetworkInputs) -> Tensor:
        """SDXL's vector itself [B, width]: the network embeds it with the U-Net's weights."""
        width = self.network.config.projection_class_embeddings_input_dim
        if width is None:
            return super().time_addition(part)
        return vector(part.call.inputs, width).to(self.like)

    def unet_parameters(self, unet: nn.Module, like: Tensor) -> dict[str, Tensor]:
        """The U-Net's parameters by their names in the network, with dtype and device of `like`.

        The parameters of low-rank layers are returned unconverted; the layers convert them when they run.
        """
        if unet not in self._parameters:
            self._parameters[unet] = [self.unet_parameter(name, unet) for name in self.unet_names]
        found: dict[str, Tensor] = {}
        for name, module, leaf, low_rank in self._parameters[unet]:
            value: Tensor = getattr(module, leaf)
            found[name] = value if low_rank else value.to(like)
        return found

    def unet_parameter(self, name: str, unet: nn.Module) -> UNetParameter:
        """The U-Net's module and attribute of a parameter, and whether a low-rank layer uses it."""
        path, _, leaf = self.unet_names[name].rpartition(".")
        taker = self.network.get_submodule(name.rpartition(".")[0])
        return name, unet.get_submodule(path), leaf, isinstance(taker, LowRankLinear | LowRankConv2d)


def names_in_unet(lacking: Mapping[str, tuple[int, ...]], unet: nn.Module, name: str) -> dict[str, str]:
    """The U-Net's name of each parameter that the network lacks; `lacking` has the shapes.

    Raises ModelError if the U-Net lacks a parameter, or has it with another shape.
    """
    base = {key: tuple(value.shape) for key, value in unet.named_parameters()}
    ours = {ours.replace(*VECTOR): theirs for theirs, ours in ldm_names(base).items()}
    for key, shape in lacking.items():
        found = base.get(ours.get(key, ""))
        if found != shape:
            raise ModelError(
                f"'{name}' needs a U-Net whose {key} has shape {shape}, the loaded checkpoint's has "
                f"{found or 'none'}: choose a checkpoint of the family that it was made for"
            )
    return {key: ours[key] for key in lacking}
