"""What a grid costs as one batch with equal rows computed once, against one full run per cell.

Both sides make the same cells on the same engine, interleaved; the full runs keep what an engine keeps
anyway (networks, text states, control maps). 20 steps, DPM++ 2M, 128 pixels:

    windows     unit 0's end at `0.25-1 [4]`
    schedules   four weight schedules of unit 0 that agree for the first half
    weights     4 x 4 weights of a ControlNet and an IP-Adapter (2 x 2 with `--quick`)

on SD1.5 at full size with random weights (`full_...`, 6 GB of memory and about half an hour on two cores)
and on the bundled tiny model (`tiny_...`; `--quick` measures this one alone). `--smoke` runs both sides once,
with small networks in the place of the full-size ones. `..._rows` is the part of the U-Net's rows
that was computed, `..._off` the largest difference of a picture's values, of 255, to the cell run alone, with
DPM++ 2M, Euler a and DPM++ SDE. `new_column` counts the cells that a repeated grid made after it got a
fifth column: four. The full size's networks are not trained: that a picture means nothing costs nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import Paired, Result, at_most, effort, finish, paired, parser
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.controlnet.controlnet import ControlNet
from lib_ctrlgen.controls.ip_adapter.file import AdapterLayers, AdapterWeights
from lib_ctrlgen.controls.ip_adapter.prepared import PreparedIPAdapter
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.headless.checkpoints.load import Networks, Place
from lib_ctrlgen.headless.checkpoints.noise_config import NoiseConfig
from lib_ctrlgen.headless.checkpoints.text_encoder import CLIP, PUBLISHED, TextEncoder, read_tokenizer
from lib_ctrlgen.headless.engine import Engine, Generation
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.models.offload import Resident
from lib_ctrlgen.request.batching import RequestBatch
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import TuneSpec, grid_of
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet

CPU = Place(device=torch.device("cpu"), dtype=torch.float32)
RESIDENT = Resident(torch.empty(0))
SAMPLERS = ("DPM++ 2M", "Euler a", "DPM++ SDE")
Values = Mapping[str, Any]
HALVES = ("1@0 hold, 0@0.5", "1@0 hold, 0.3@0.5", "1@0 hold, 0.6@0.5", "1")
GRIDS: dict[str, Values] = {
    "windows": {"x": {"path": "Unit 0 end", "values": "0.25-1 [4]"}},
    "schedules": {"x": {"path": "Unit 0 weight", "values": list(HALVES)}},
    "weights": {
        "x": {"path": "Unit 0 weight", "values": "0.25-1 [4]"},
        "y": {"path": "Unit 1 weight", "values": "0.25-1 [4]"},
    },
}
# With --quick and --smoke: four cells instead of sixteen, for the minute.
TWO = "0.25, 1"
FEWER_WEIGHTS: Values = {
    "x": {"path": "Unit 0 weight", "values": TWO},
    "y": {"path": "Unit 1 weight", "values": TWO},
}
# With --smoke: two cells.
TWO_ENDS: Values = {"x": {"path": "Unit 0 end", "values": "0.5, 1"}}
# The tiny model's bare U-Net takes 0.49 (windows) and 0.51 (schedules) of its time for single cells, because
# a call of 8 rows costs three times as much as one of 2;
# decoding, which is not shared, weighs more in the few steps of --quick.
LIMITS = {
    "full": {"windows": 0.45, "schedules": 0.45, "weights": 0.70},
    "tiny": {"windows": 0.65, "schedules": 0.65, "weights": 0.80},
}


def picture(seed: int) -> Image.Image:
    """A picture of large grey squares."""
    cells = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return Image.fromarray(cells.repeat(16, 0).repeat(16, 1)).convert("RGB")


@dataclass(frozen=True, kw_only=True)
class Widths:
    """The channels of SD1.5's networks, level by level, and the layers of its text encoder."""

    unet: tuple[int, ...]
    vae: tuple[int, ...]
    text_layers: int


FULL = Widths(unet=(320, 640, 1280, 1280), vae=(128, 256, 512, 512), text_layers=12)
SMALL = Widths(unet=(32, 64, 64, 64), vae=(32, 32, 32, 32), text_layers=1)


class RandomWeights(Engine):
    """SD1.5 with random weights, a ControlNet and an IP-Adapter for it: nothing is read from a file."""

    def __init__(self, widths: Widths) -> None:
        super().__init__([tiny_folder()], 1 << 30, CPU)  # the requests name its models
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            block_out_channels=widths.unet, cross_attention_dim=768, attention_head_dim=8
        )
        blocks = {
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
        }
        vae = AutoencoderKL(block_out_channels=widths.vae, layers_per_block=2, **blocks)
        self.networks = random_networks(frozen(unet), frozen(vae), widths.text_layers)
        network: Any = frozen(ControlNetModel.from_unet(unet))
        for layer in (*network.controlnet_down_blocks, network.controlnet_mid_block):
            nn.init.normal_(layer.weight, std=0.02)
        encoder, network.controlnet_cond_embedding = network.controlnet_cond_embedding, nn.Identity()
        self.control = ControlNet(
            network=network,
            hint_encoder=encoder,
            origin=("random",),
            weights=RESIDENT,
            hint_weights=RESIDENT,
        )
        hidden = DiffusersUNet(unet).shape.attention_hidden
        layers = AdapterLayers([(weight(width), weight(width)) for width in hidden])
        adapter = AdapterWeights(
            projection=None, layers=layers, weights=RESIDENT, feature="pooled", width=768
        )
        tokens = torch.randn(2, 1, 4, 768)
        self.look = PreparedIPAdapter(weights=adapter, cond=tokens[0], uncond=tokens[1], seen=picture(2))

    def load(self, model: str) -> Networks:
        """The networks, whatever the name."""
        del model
        return self.networks

    def units(
        self, batch: RequestBatch[GenerationRequest], networks: Networks, notices: Notices | None = None
    ) -> tuple[ActiveUnit, ...]:
        """The ControlNet as unit 0, the IP-Adapter as unit 1."""
        del notices
        shape = DiffusersUNet(networks.unet).shape
        target = Target(store=self.store, shape=shape, device=CPU.device, dtype=CPU.dtype)
        first, *others = batch.shared.units
        job = UnitInputs(unit=first, path="$.units[0]", given=picture(1), params={"transparent": "auto"})
        return (
            ActiveUnit(index=0, spec=first, control=self.control.prepare(job, target)),
            *(ActiveUnit(index=1, spec=unit, control=self.look) for unit in others),
        )


def random_networks(unet: Any, vae: Any, text_layers: int) -> Networks:
    """The networks of a pipeline, with a random text encoder that has so many layers."""
    tokenizer = read_tokenizer(tiny_folder() / "text")
    config = CLIPTextConfig(**{**PUBLISHED[CLIP], "num_hidden_layers": text_layers})
    text_encoder = TextEncoder(
        tokenizer=tokenizer, encoder=frozen(CLIPTextModel(config)), pad=tokenizer.pad_token_id
    )
    return Networks(unet=unet, vae=vae, text_encoders=(text_encoder,), noise=NoiseConfig().arguments)


def frozen(network: Any) -> Any:
    """For evaluation only."""
    return network.eval().requires_grad_(requires_grad=False)


def weight(width: int) -> Tensor:
    """A random linear layer [width, 768]."""
    return torch.randn(width, 768).div(768**0.5)


def payload(sampler: str, steps: int) -> dict[str, Any]:
    """A request with a ControlNet and an IP-Adapter."""
    edges = {"model": "ctrlgen-tiny-edges", "image": encode_image(picture(1))}
    look = {"model": "ctrlgen-tiny-ip", "image": encode_image(picture(2)), "weight": 0.5}
    size = {"width": 128, "height": 128}
    return {"prompt": "a circle", "units": [edges, look], "sampler": sampler, "steps": steps, **size}


def cells(axes: Values, sampler: str, steps: int) -> list[GenerationRequest]:
    """The requests of a grid. Units that no axis names are left out."""
    job = payload(sampler, steps)
    if "y" not in axes:
        job["units"] = job["units"][:1]
    grid = grid_of(job, parse_request(dict(axes), TuneSpec), GenerationRequest)
    return [parse_request(dict(cell.payload), GenerationRequest) for cell in grid.cells]


def difference(one: Sequence[Generation], other: Sequence[Generation]) -> int:
    """The largest difference of a value of a picture, of 255."""
    pairs = [
        (np.asarray(a.images[0], int), np.asarray(b.images[0], int)) for a, b in zip(one, other, strict=True)
    ]
    return max(int(np.abs(a - b).max()) for a, b in pairs)


def measured(
    engine: Engine, name: str, axes: Values, pairs: int, steps: int
) -> tuple[Paired, dict[str, float]]:
    """A grid's cost with DPM++ 2M, the rows that it computed and its exactness."""
    requests = cells(axes, SAMPLERS[0], steps)
    made: dict[str, list[Generation]] = {}

    def together() -> None:
        made["together"] = engine.together(requests)

    def alone() -> None:
        made["alone"] = [engine.generate(request) for request in requests]

    timing = paired(together, alone, pairs)
    done = made["together"][0]
    print(f"  {name}: {done.rows_computed} of {done.rows_asked} rows, {timing}", flush=True)
    figures = {
        f"{name}_rows": done.rows_computed / done.rows_asked,
        f"{name}_off": float(difference(made["together"], made["alone"])),
    }
    return timing, figures


def exactness(engine: Engine, axes: Values, steps: int) -> float:
    """The largest difference with the samplers that draw noise."""
    found = []
    for sampler in SAMPLERS[1:]:
        requests = cells(axes, sampler, steps)
        found.append(difference(engine.together(requests), [engine.generate(each) for each in requests]))
    return float(max(found))


def new_column(engine: Engine, weights: Values) -> float:
    """How many cells a grid of weights makes after its x axis got one value more."""
    job = payload(SAMPLERS[0], 1)
    wider = {"path": "Unit 0 weight", "values": f"{weights['x']['values']}, 1.25"}
    with tempfile.TemporaryDirectory() as folder:
        counts = []
        for axes in (weights, {**weights, "x": wider}):
            grid = grid_of(job, parse_request(dict(axes), TuneSpec), GenerationRequest)
            counts.append(Tuner(EngineHost(engine=engine), grid, Path(folder)).run(lambda _: None).made)
    return float(counts[1])


def main(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    figures: dict[str, float] = {}
    errors: dict[str, float] = {}
    threads = torch.get_num_threads()
    sides = sides_of(options)
    for side, (engine, pairs) in sides.items():
        print(side, flush=True)
        torch.set_num_threads(1 if side == "tiny" else threads)  # its tensors are too small to share
        for name in options.grids:
            timing, found = measured(engine, name, axes_of(options)[name], pairs, options.steps)
            figures |= {f"{side}_{name}": timing.ratio}
            figures |= {f"{side}_{key}": value for key, value in found.items()}
            errors[f"{side}_{name}"] = timing.error
        steps = effort(options, smoke=1, quick=4, full=options.steps if side == "tiny" else 4)
        figures[f"{side}_noisy_off"] = exactness(engine, axes_of(options)["windows"], steps)
    limits = {f"{side}_{name}": at_most(LIMITS[side][name]) for side in sides for name in options.grids}
    limits |= {name: at_most(1) for name in figures if name.endswith("_off")}
    if "tiny" in sides:
        figures["new_column"] = new_column(
            sides["tiny"][0],
            effort(options, smoke=FEWER_WEIGHTS, quick=GRIDS["weights"], full=GRIDS["weights"]),
        )
        limits["new_column"] = at_most(4)
    return finish(Result("tuner", figures, limits, errors), options)


def axes_of(options: argparse.Namespace) -> Mapping[str, Values]:
    """The grids by name, smaller ones where little is to be measured."""
    quick = GRIDS | {"weights": FEWER_WEIGHTS}
    return effort(options, smoke=quick | {"windows": TWO_ENDS}, quick=quick, full=GRIDS)


def sides_of(options: argparse.Namespace) -> dict[str, tuple[Engine, int]]:
    """The engines to measure on, by name, each with its number of pairs."""
    sides: dict[str, tuple[Engine, int]] = {}
    if options.only != "full":
        sides["tiny"] = (Engine([tiny_folder()], 1 << 30, CPU), effort(options, smoke=1, quick=2, full=7))
    if not options.quick and options.only != "tiny":
        sides["full"] = (RandomWeights(effort(options, smoke=SMALL, quick=FULL, full=FULL)), 1)
    return sides


if __name__ == "__main__":
    flags = parser(__doc__.splitlines()[0])
    flags.add_argument("--steps", type=int, help="of a full run; 20, and fewer with --quick and --smoke")
    flags.add_argument("--only", choices=("tiny", "full"), help="one of both sides")
    flags.add_argument("--grids", nargs="+", choices=tuple(GRIDS), help="all three, and one with --smoke")
    chosen = flags.parse_args()
    chosen.steps = chosen.steps or effort(chosen, smoke=2, quick=4, full=20)
    chosen.grids = chosen.grids or effort(chosen, smoke=("windows",), quick=tuple(GRIDS), full=tuple(GRIDS))
    sys.exit(main(chosen))
