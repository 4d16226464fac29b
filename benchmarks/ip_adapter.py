"""What an IP-Adapter of the kind "plus" costs: in a step, per generation, and in the next generation.

On diffusers' U-Net with random weights, as in `overhead.py`. Full size is SD1.5; the adapter has 16 tokens.

    step_plus            a guided step with the adapter / the step alone
    step_four            the same with four references that stand side by side (64 tokens)
    keys_and_values_N    how often one layer's keys are computed in a generation of N steps
    encoder_first        calls of the image encoder in the first generation: the picture, and zeros
    encoder_again        the same in a second generation with this picture
    encoder_parameters   another weight, weight type and schedule: still the same picture

`..._spread` is the distance between the quartiles of the ratios; `+-` the standard error of their median.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _harness import Result, at_most, effort, finish, paired, parser
from diffusers import UNet2DConditionModel
from overhead import CONTEXT, RESIDENT, Inputs, session, twin, weight
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.ip_adapter.file import AdapterLayers, AdapterWeights
from lib_ctrlgen.controls.ip_adapter.prepared import PreparedIPAdapter
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlRequest, parse_request
from lib_ctrlgen.unet.call import UNetShape
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet

TOKENS, WIDTH = 16, 32


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What is measured, how often at least, its standard error, and the seconds for one figure at most."""

    channels: tuple[int, ...]
    pairs: int
    error: float
    budget: float


SMOKE = Effort(channels=(32, 64, 64, 64), pairs=1, error=1.0, budget=0.0)
QUICK = Effort(channels=(160, 320, 640, 640), pairs=7, error=0.0075, budget=10.0)
THOROUGH = Effort(channels=(320, 640, 1280, 1280), pairs=7, error=0.0045, budget=90.0)


def plus(shape: UNetShape, references: int = 1) -> PreparedIPAdapter:
    """An adapter with random tokens of some references, and random keys and values."""
    layers = AdapterLayers([(weight(width), weight(width)) for width in shape.attention_hidden])
    weights = AdapterWeights(
        projection=None, layers=layers, weights=RESIDENT, feature="penultimate", width=CONTEXT
    )
    tokens = torch.randn(2, 1, TOKENS * references, CONTEXT)
    return PreparedIPAdapter(weights=weights, cond=tokens[0], uncond=tokens[1], seen=Image.new("RGB", (1, 1)))


class Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the matrix products that read one weight."""

    def __init__(self, watched: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.place, self.count = watched.data_ptr(), 0

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation; count it if it is a product with the watched weight."""
        tensors = [each for each in args if isinstance(each, Tensor)]
        if "mm" in func.name() and any(each.data_ptr() == self.place for each in tensors):
            self.count += 1
        return func(*args, **(kwargs or {}))


class Measurements:
    """The figures so far."""

    def __init__(self, effort: Effort) -> None:
        torch.manual_seed(0)
        config = {
            "block_out_channels": effort.channels,
            "cross_attention_dim": CONTEXT,
            "attention_head_dim": 8,
        }
        self.effort = effort
        self.plain = UNet2DConditionModel(**config).eval().requires_grad_(requires_grad=False)
        self.hooked = twin(self.plain)
        self.shape = DiffusersUNet(self.plain).shape
        self.inputs = Inputs(16)
        self.figures: dict[str, float] = {}
        self.errors: dict[str, float] = {}

    def step(self, name: str, references: int) -> None:
        """Note time(step with the adapter) / time(step)."""
        effort = self.effort
        steps = self.inputs.step(self.hooked), self.inputs.step(self.plain)
        with session(self.hooked, plus(self.shape, references)):
            timing = paired(*steps, effort.pairs, error=effort.error, budget=effort.budget)
        self.figures |= {name: timing.ratio, f"{name}_spread": timing.spread}
        self.errors[name] = timing.error
        print(f"{name}: {timing}, {timing.seconds_a:.3f} s against {timing.seconds_b:.3f} s", flush=True)

    def keys_and_values(self, steps: int) -> None:
        """Note how often a layer's keys are computed in a generation."""
        control = plus(self.shape)
        (keys, _), *_ = control.weights.layers
        with session(self.hooked, control), Uses(keys) as uses:
            for _ in range(steps):
                self.inputs.step(self.hooked)()
        self.figures[f"keys_and_values_{steps}"] = uses.count

    def encoder(self) -> None:
        """Note the encoder's calls of generations with the same picture."""
        with tempfile.TemporaryDirectory() as folder:
            write_models(Path(folder), self.shape)
            store = ModelStore([Path(folder)], 1 << 30)
            picture = encode_image(Image.new("RGB", (64, 48), "red"))
            for name, fields in (
                ("encoder_first", {}),
                ("encoder_again", {}),
                ("encoder_parameters", {"weight": "1>0", "params": {"weight_type": "style transfer"}}),
            ):
                self.figures[name] = encoder_calls(store, self.shape, {"image": picture, **fields})


def encoder_calls(store: ModelStore, shape: UNetShape, fields: Mapping[str, Any]) -> int:
    """The calls of the image encoder while a unit is loaded."""
    calls: list[int] = []
    forward = CLIPVisionModelWithProjection.forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return forward(self, *args, **kwargs)

    unit = parse_request({"units": [{"model": "plus", **fields}]}, ControlRequest).units[0]
    CLIPVisionModelWithProjection.forward = counted
    try:
        load_units([unit], Target(store=store, shape=shape))
    finally:
        CLIPVisionModelWithProjection.forward = forward
    return len(calls)


def write_models(folder: Path, shape: UNetShape) -> None:
    """A full adapter (a small projection of all tokens) and its image encoder, with random weights."""
    config = {
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 16,
    }
    network = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    (folder / "encoder").mkdir()
    tensors = {
        key: value.contiguous() for key, value in network.state_dict().items() if "position_ids" not in key
    }
    save_file(tensors, folder / "encoder" / "model.safetensors")
    text = json.dumps({"model_type": "clip_vision_model", **config})
    (folder / "encoder" / "config.json").write_text(text)
    image = {
        "proj.0.weight": torch.randn(WIDTH, WIDTH),
        "proj.0.bias": torch.randn(WIDTH),
        "proj.2.weight": torch.randn(CONTEXT, WIDTH),
        "proj.2.bias": torch.randn(CONTEXT),
        "proj.3.weight": torch.ones(CONTEXT),
        "proj.3.bias": torch.zeros(CONTEXT),
    }
    adapter = {f"image_proj.{key}": value for key, value in image.items()}
    for place, width in enumerate(shape.attention_hidden):
        for name in ("to_k_ip", "to_v_ip"):
            adapter[f"ip_adapter.{2 * place + 1}.{name}.weight"] = weight(width)
    save_file(adapter, folder / "plus.safetensors")


def main() -> int:
    """Measure, print, and say whether every limit holds."""
    options = parser("What an IP-Adapter costs.").parse_args()
    start = time.perf_counter()
    found = Measurements(effort(options, smoke=SMOKE, quick=QUICK, full=THOROUGH))
    with torch.no_grad():
        found.step("step_plus", 1)
        found.step("step_four", 4)
        found.keys_and_values(2)
        found.keys_and_values(12)
        found.encoder()
    found.figures["seconds"] = time.perf_counter() - start
    limits = {
        "step_plus": at_most(1.03),
        "keys_and_values_2": at_most(1),
        "keys_and_values_12": at_most(1),
        "encoder_first": at_most(2),
        "encoder_again": at_most(0),
        "encoder_parameters": at_most(0),
    }
    return finish(Result("ip_adapter", found.figures, limits, found.errors), options)


if __name__ == "__main__":
    sys.exit(main())
