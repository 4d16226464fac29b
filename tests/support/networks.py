"""The WebUI's U-Nets and ControlNets with random weights, controls without files, and random calls."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import ControlNetModel
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.controls.protocols import PreparedControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.unet.attention import KeyValue
from lib_ctrlgen.unet.call import AttentionSite, Position, Rows, UNetCall
from lib_ctrlgen.unet.residuals import Residuals

CONTEXT = 48
TOKENS = 7
VECTOR = 20
CHANNELS = (32, 64, 64, 64)
HEADS = 4
OUTPUTS = ("out.2.", "conv_out.")


def randomise(module: nn.Module, seed: int, scale: float = 0.08) -> Any:
    """Give every parameter, also those that start at zero, small random values; evaluation mode.

    The output layer of a U-Net gets larger ones, so that predictions are of size one.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * scale
        one = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        gain = 4.0 if name.startswith(OUTPUTS) else 1.0
        parameter.data.copy_(gain * noise + one)
    return module.eval().requires_grad_(requires_grad=False)


def ldm_unet(seed: int = 0, in_channels: int = 4, context: int = CONTEXT) -> Any:
    """SD1.5's layout: 12 + 1 residuals, 16 cross attentions. Nine input channels: for inpainting."""
    from ldm.modules.diffusionmodules.openaimodel import UNetModel

    return randomise(
        UNetModel(
            image_size=8,
            in_channels=in_channels,
            out_channels=4,
            model_channels=CHANNELS[0],
            channel_mult=[width // CHANNELS[0] for width in CHANNELS],
            num_res_blocks=2,
            attention_resolutions=[4, 2, 1],
            num_heads=HEADS,
            use_spatial_transformer=True,
            context_dim=context,
            legacy=False,
        ),
        seed,
    )


def sgm_unet(seed: int = 0, context: int = CONTEXT, vector: int = VECTOR) -> Any:
    """SDXL's layout, with fewer transformer blocks: 9 + 1 residuals, a vector beside the context."""
    import imaginairy.modules.sgm.diffusionmodules.openaimodel as model
    from imaginairy.modules.sgm import attention

    model.SpatialTransformer = attention.SpatialTransformer
    return randomise(
        model.UNetModel(
            in_channels=4,
            out_channels=4,
            model_channels=32,
            channel_mult=(1, 2, 4),
            num_res_blocks=2,
            attention_resolutions=[4, 2],
            num_head_channels=16,
            transformer_depth=[1, 1, 2],
            context_dim=context,
            use_linear_in_transformer=True,
            num_classes="sequential",
            adm_in_channels=vector,
        ),
        seed,
    )


def controlnet(seed: int, **changes: Any) -> Any:
    """A ControlNet for `ldm_unet`, with nothing zero."""
    config = {
        "block_out_channels": CHANNELS,
        "attention_head_dim": HEADS,
        "cross_attention_dim": CONTEXT,
        "conditioning_embedding_out_channels": (8, 8, 16, 16),
    }
    return randomise(ControlNetModel(**config | changes), seed)


SDXL: dict[str, Any] = {
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 4, 8),
    "use_linear_projection": True,
}
SDXL_VECTOR: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 2,  # a text of 8 numbers and 6 sizes of 2 waves each: `VECTOR`
    "projection_class_embeddings_input_dim": VECTOR,
}


def sdxl_controlnet(seed: int, **changes: Any) -> Any:
    """A ControlNet for `sgm_unet`: nine residuals and the mid block's. It leaves the vector out."""
    return controlnet(seed, **SDXL | changes)


@dataclass(eq=False)
class NetworkControl:
    """A `ResidualControl` around diffusers' network; it notes the rows it was asked for."""

    network: Any
    hint: Tensor
    rows: list[Rows] = field(default_factory=list)

    def residuals(self, call: UNetCall) -> Residuals:
        self.rows.append(call.position.rows)
        return self.raw(call.inputs.x, call.inputs.timestep, call.inputs.context)

    def raw(self, x: Tensor, timestep: Tensor, context: Tensor) -> Residuals:
        hint = self.hint.expand(x.shape[0], -1, -1, -1)
        down, mid = self.network(x, timestep, context, hint, return_dict=False)
        return Residuals(tuple(down), mid)

    def control_map(self, width: int, height: int) -> Image.Image:
        raise NotImplementedError


@dataclass(eq=False)
class NoiseControl:
    """A `ResidualControl` that needs no network: noise of the right shapes. Raises `failure` if it is set."""

    channels: Sequence[int]
    sizes: Sequence[tuple[int, int]]
    seed: int
    failure: BaseException | None = None

    def residuals(self, call: UNetCall) -> Residuals:
        if self.failure is not None:
            raise self.failure
        return self.raw(call.batch)

    def raw(self, batch: int) -> Residuals:
        """The same noise on every row, and at every call."""
        generator = torch.Generator().manual_seed(self.seed)
        layers = [
            torch.randn(1, channels, *size, generator=generator).expand(batch, -1, -1, -1)
            for channels, size in zip(self.channels, self.sizes, strict=True)
        ]
        return Residuals(tuple(layers[:-1]), layers[-1])

    def control_map(self, width: int, height: int) -> Image.Image:
        raise NotImplementedError


@dataclass(eq=False)
class TokenControl:
    """An `AttentionControl` with random keys and values; it counts how often they are computed."""

    seed: int
    tokens: int = 4
    computed: int = 0

    def terms(
        self, sites: Sequence[AttentionSite], dtype: torch.dtype, device: torch.device
    ) -> tuple[KeyValue, ...]:
        self.computed += 1
        return tuple(self.pair(place, site.hidden) for place, site in enumerate(sites))

    def pair(self, place: int, hidden: int) -> KeyValue:
        """The keys and values of one layer."""
        generator = torch.Generator().manual_seed(1000 * self.seed + place)
        keys, values = torch.randn(2, 2, self.tokens, hidden, generator=generator)
        return KeyValue(keys, values)


@dataclass(eq=False)
class FeatureNoise:
    """A `FeatureControl` that needs no network: noise for (channels, stride) of each place."""

    places: Sequence[tuple[int, int]]
    seed: int

    def features(self, height: int, width: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(self.seed)
        return tuple(
            torch.randn(1, channels, height // stride, width // stride, generator=generator)
            for channels, stride in self.places
        )

    def control_map(self, width: int, height: int) -> Image.Image:
        raise NotImplementedError


@dataclass(eq=False)
class ContextNoise:
    """A `ContextControl` with random tokens."""

    seed: int
    count: int = 3
    width: int = CONTEXT

    def extra_tokens(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(1, self.count, self.width, generator=generator)


SD_PLACES = tuple(zip(CHANNELS, (1, 2, 4, 8), strict=True))
XL_PLACES = ((32, 2), (64, 2), (128, 4), (128, 4))


def active(
    control: PreparedControl, index: int = 0, mask: Image.Image | None = None, **spec: Any
) -> ActiveUnit:
    """A unit that uses `control`, with the fields of a request."""
    unit: ControlUnit = parse_request({"units": [{"model": f"unit {index}", **spec}]}).units[0]
    return ActiveUnit(index=index, spec=unit, control=control, mask=mask)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The inputs of one U-Net call, and its rows."""

    x: Tensor
    timestep: Tensor
    context: Tensor
    vector: Tensor
    rows: Rows

    def row(self, index: int) -> "Call":
        """One row alone."""
        return self.take([index])

    def take(self, rows: list[int]) -> "Call":
        """These rows alone."""
        tensors = self.x[rows], self.timestep[rows], self.context[rows], self.vector[rows]
        return call_of(*tensors, rows=self.rows.select(rows))


def call_of(x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor, rows: Rows) -> Call:
    return Call(x=x, timestep=timestep, context=context, vector=vector, rows=rows)


def random_call(kinds: str, seed: int, size: tuple[int, int] = (8, 8)) -> Call:
    """`kinds` has a letter per row: `c` and `u`, with the image's number behind: "c0 u0"."""
    generator = torch.Generator().manual_seed(seed)
    words = kinds.split()
    rows = Rows(tuple(word[0] == "c" for word in words), tuple(int(word[1:]) for word in words))
    batch = len(words)
    return Call(
        x=torch.randn(batch, 4, *size, generator=generator),
        timestep=torch.full((batch,), 1000.0 / (1 + seed % 7)),
        context=torch.randn(batch, TOKENS, CONTEXT, generator=generator),
        vector=torch.randn(batch, VECTOR, generator=generator),
        rows=rows,
    )


class Script:
    """A clock that follows a script of (step, rows), as the WebUI's queue does."""

    def __init__(self, steps: int, calls: Iterable[tuple[int, Rows]]) -> None:
        self.steps = steps
        self.calls = iter(calls)

    def __call__(self, batch: int) -> Position:
        step, rows = next(self.calls)
        assert len(rows) == batch
        return Position(step, self.steps, rows)
