"""What diffusers' own pipelines make with ControlNets and adapters, to compare a session with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusers import (
    DDIMScheduler,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
)
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.clocks import CountingClock
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files

TOLERANCE = 1e-3  # of the effect; batches of other sizes and other processors round otherwise: 2e-4 was seen


# With v-prediction the latents of a U-Net that has learnt nothing stay of size one.
SCHEDULER = DDIMScheduler(prediction_type="v_prediction", clip_sample=False, steps_offset=1)
STEPS, IMAGES, SIZE = 4, 2, 64
PICTURES = [files.picture(SIZE, SIZE, seed) for seed in range(3)]
REFERENCES = [files.picture(32, 32, seed) for seed in (7, 8)]  # of the tower's size
Sample = Callable[..., Tensor]


def controlled(
    sample: Sample, unet: Any, folder: Path, *units: dict[str, Any], guidance: float = 1.5, **host: Any
) -> Tensor:
    """Our side: the units of a request, loaded from files, around the host's pipeline."""
    port = DiffusersUNet(unet)
    request = parse_request({"units": list(units)})
    loaded = load_units(request.units, Target(store=ModelStore([folder], 1 << 30), shape=port.shape))
    clock = CountingClock(STEPS, IMAGES, guided=guidance > 1)
    kind = StableDiffusionControlNetPipeline if host else StableDiffusionPipeline
    kind = StableDiffusionAdapterPipeline if "adapter" in host else kind
    with ControlSession(port, loaded, clock) as session:
        found = sample(kind, unet, guidance=guidance, **host)
    assert session.calls == STEPS
    return found


def require_equal(ours: Tensor, theirs: Tensor, plain: Tensor) -> None:
    worst, effect = float((ours - theirs).abs().max()), float((theirs - plain).abs().max())
    assert effect > 0.05
    assert worst <= TOLERANCE * effect


SDXL: dict[str, Any] = {
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 4, 8),
    "cross_attention_dim": 48,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 80,
}
