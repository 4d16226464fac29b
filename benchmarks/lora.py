"""What a LoRA by hooks costs at a step, against the same LoRA merged into the weights.

Random weights on diffusers' U-Net in the shape of SD1.5, one guided step (two rows), a LoRA of rank 16 on all
attentions, projections and feed-forward layers, as kohya trains it. Both sides alternate.

    hooks    a step with hooks / a step of the U-Net with merged weights
    idle     a step with hooks of weight 0 / a step of the U-Net
    merging  merging the LoRA from copies of the weights, as the WebUI does / a step of the U-Net

`+-` is the standard error of a ratio's median. Without a GPU the U-Net has half the width, at 256 px.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _harness import Result, at_most, effort, finish, paired, parser
from diffusers import UNet2DConditionModel

sys.path.append(str(Path(__file__).resolve().parent.parent))  # the tests make random LoRA files

from lib_ctrlgen.models.loras.file import LoraFile, load_lora
from lib_ctrlgen.models.loras.fit import fitted
from lib_ctrlgen.models.loras.formulas import weight_change
from lib_ctrlgen.models.loras.names import UNetNames
from lib_ctrlgen.session.loras import LoraHooks
from tests.support import lora_kinds as kinds

RANK = 16
LAYERS = r"transformer_blocks.*(?:to_[qkv]|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)$|proj_in$|proj_out$"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.float16 if DEVICE.type == "cuda" else torch.float32
WIDTH, LATENT = (320, 64) if DEVICE.type == "cuda" else (160, 32)

Step = Callable[[], object]


def unet() -> Any:
    """SD1.5's shape."""
    torch.manual_seed(0)
    widths = (WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH)
    made = UNet2DConditionModel(block_out_channels=widths, cross_attention_dim=768, attention_head_dim=8)
    return made.to(DEVICE, DTYPE).eval().requires_grad_(requires_grad=False)


def step_of(network: Any) -> Step:
    """One call of a U-Net with two rows."""
    x = torch.randn(2, 4, LATENT, LATENT, device=DEVICE, dtype=DTYPE)
    text = torch.randn(2, 77, 768, device=DEVICE, dtype=DTYPE)

    def step() -> None:
        with torch.inference_mode():
            network(x, 500, encoder_hidden_states=text, return_dict=False)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return step


def lora_for(network: Any, folder: Path) -> LoraFile:
    """A random LoRA of rank `RANK`."""
    kinds.RANK = RANK
    return load_lora(kinds.write(folder / "lora.safetensors", kinds.kohya(network, pattern=LAYERS)))


class Merging:
    """Merges a LoRA into the weights, from copies of them on the CPU."""

    def __init__(self, network: Any, file: LoraFile) -> None:
        names, modules = UNetNames(network), dict(network.named_modules())
        found = [(modules[str(names.find(name))], pieces) for name, pieces in file.of("unet").items()]
        self.layers = [(module, module.weight.detach().cpu().clone(), pieces) for module, pieces in found]

    def __call__(self, strength: float = 0.5) -> None:
        """Set the weights of a strength."""
        with torch.inference_mode():
            for module, backup, pieces in self.layers:
                module.weight.copy_(backup)
                own = {name: tensor.to(DEVICE) for name, tensor in pieces.items()}
                module.weight.add_(weight_change(own, module.weight).to(DTYPE), alpha=strength)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()


def main() -> int:
    """Measure, print, and return the exit status."""
    options = parser(__doc__ or "").parse_args()
    pairs = effort(options, smoke=1, quick=7, full=25)
    network, merged = unet(), unet()
    with tempfile.TemporaryDirectory() as folder:
        file = lora_for(network, Path(folder))
    merging = Merging(merged, file)
    merging()
    changes = fitted(file, "lora", network, ()).unet
    ratio = partial(paired, pairs=pairs)
    with LoraHooks(network, [changes], [0.5]) as hooks:
        on = ratio(step_of(network), step_of(merged))
        hooks.set([0.0])
        idle = ratio(step_of(network), step_of(merged))
    again = ratio(merging, step_of(merged))
    timings = {"hooks": on, "idle": idle, "merging": again}
    result = Result(
        "lora",
        {name: timing.ratio for name, timing in timings.items()},
        {} if options.smoke else {"hooks": at_most(1.5), "idle": at_most(1.05)},
        {name: timing.error for name, timing in timings.items()},
    )
    return finish(result, options)


if __name__ == "__main__":
    sys.exit(main())
