"""What each family costs at a step beyond the U-Net and its own network, and how often files are read.

Random weights on diffusers' U-Nets in the shapes of SD1.5 and SDXL, one guided step (two rows) at
a time. The plain side runs a twin of the U-Net that shares every weight, and what the family has
to compute in any program, by hand; both sides alternate.

    FAMILY          a step in a session with one unit / the U-Net and the family's own compute:
                    residual families   the network called by itself
                    T2I-Adapter         the U-Net with the features as an argument of diffusers'
                    style adapter       the U-Net with the longer text
                    LLLite              the U-Net with linear layers that compute it themselves
    FAMILY_share    the family's own compute / the U-Net's, where it is called by itself
    lora_dense      ControlLoRA's network / the same with its weights written out
    reads_again     model files opened in the second to tenth of ten generations with three units

`+-` is the standard error of a ratio's median.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from _harness import Result, at_most, effort, finish, paired, parser
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parent.parent))  # the tests make random files of every family

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.protocols import BatchedControl, ContextControl, FeatureControl, InputControl
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models import tensor_files as weights
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlRequest, GenerationRequest, parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import CallInputs, Position, Rows, UNetCall
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.linear_sites import input_sites
from tests.support import control_families as families
from tests.support import control_files as files

Step = Callable[[], object]
LIMIT, ROOM = 1.05, 0.05
TWO = Rows((False, True), (0, 0))
POSITION = Position(0, 2, TWO)
UNION = {"union_type": "canny"}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The U-Nets' widths at their first level, the latent's side, and the exactness and time for a figure.

    `pairs` is the least number of pairs for a figure.
    `error` is the standard error wanted, as a part of the room that the limit leaves.
    """

    width: int
    side: int
    pairs: int
    error: float
    budget: float


SMOKE = Effort(width=32, side=8, pairs=1, error=100.0, budget=0.0)
QUICK = Effort(width=96, side=24, pairs=7, error=0.3, budget=3.0)
THOROUGH = Effort(width=160, side=32, pairs=7, error=0.15, budget=30.0)


class Bench:
    """A U-Net, a twin of it, files of every family for it, and one guided step."""

    def __init__(self, unet: Any, effort: Effort, folder: Path, makes: Mapping[str, families.Make]) -> None:
        self.unet = unet.eval().requires_grad_(requires_grad=False)
        self.twin = twin(self.unet)
        self.effort = effort
        self.store = ModelStore([folder], 8 << 30)
        base = families.Base(self.unet)
        for kind, make in makes.items():
            save_file(
                {key: value.contiguous() for key, value in make(base).items()}, folder / f"{kind}.safetensors"
            )
        if "t2i-style" in makes:
            files.save_vision(folder / "vision", hidden=128)
        random = torch.Generator().manual_seed(1)
        self.x = torch.randn(2, 4, effort.side, effort.side, generator=random)
        self.time = torch.tensor([500, 500])
        self.context = torch.randn(2, 77, int(unet.config.cross_attention_dim), generator=random)
        self.added = {}
        if unet.config.addition_embed_type:
            sizes = torch.full((2, 6), 256.0)
            text = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
            self.added = {"text_embeds": torch.randn(2, text, generator=random), "time_ids": sizes}

    def step(self, unet: Any, context: Tensor | None = None, **more: Any) -> Step:
        """A call of the U-Net."""
        added = {"added_cond_kwargs": self.added} if self.added else {}
        return lambda: unet(self.x, self.time, self.context if context is None else context, **added, **more)

    def unit(self, kind: str) -> ActiveUnit:
        """A loaded unit with a picture."""
        given = {"model": kind, "image": files.data_url(64, 64), "params": UNION if "union" in kind else {}}
        units = parse_request({"units": [given]}, ControlRequest).units
        target = Target(store=self.store, shape=DiffusersUNet(self.unet).shape, unet=self.unet)
        return load_units(units, target)[0]

    def call(self) -> UNetCall:
        """The step as a control sees it."""
        inputs = CallInputs(x=self.x, timestep=self.time, context=self.context, added=self.added)
        return UNetCall(inputs=inputs, position=POSITION, unet=self.unet)


def twin(module: nn.Module) -> Any:
    """A second module tree around the same parameters."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})


class ChangedLinear(nn.Module):
    """A linear layer that reads x + change(x): LLLite as its author's program does it."""

    def __init__(self, linear: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.change = linear, change

    def forward(self, x: Tensor) -> Any:
        """The layer on what it reads."""
        return self.linear(x + self.change(x))


def own_compute(bench: Bench, unit: ActiveUnit) -> tuple[Step, Step | None]:
    """The U-Net with what any program computes for this unit; and that alone, where it stands alone."""
    control, plain = unit.control, bench.step(bench.twin)
    if isinstance(control, BatchedControl):
        alone = partial(control.residuals, bench.call())
        return (lambda: (alone(), plain())), alone
    if isinstance(control, FeatureControl):
        return partial(with_features, bench, control.features(bench.effort.side, bench.effort.side)), None
    if isinstance(control, ContextControl):
        tokens = control.extra_tokens().expand(2, -1, -1)
        return bench.step(bench.twin, torch.cat((bench.context, tokens), 1)), None
    if isinstance(control, InputControl):
        return bench.step(changed(bench, control)), None
    raise TypeError(f"{type(control).__name__} acts in a way that is not measured here")


def with_features(bench: Bench, features: Sequence[Tensor]) -> object:
    """The U-Net with a T2I-Adapter's features; diffusers empties the list."""
    return bench.step(bench.twin, down_intrablock_additional_residuals=list(features))()


def changed(bench: Bench, control: InputControl) -> Any:
    """A twin whose layers change what they read by themselves."""
    unet = twin(bench.unet)
    sites = input_sites(unet)
    changes = control.changes(sites, (bench.effort.side, bench.effort.side))
    for path, module in dict(unet.named_modules()).items():
        for site in sites:
            if site.module is module and site.name in changes:
                parent, _, leaf = path.rpartition(".")
                setattr(unet.get_submodule(parent), leaf, ChangedLinear(module, changes[site.name].of))
    return unet


@contextmanager
def session(bench: Bench, unit: ActiveUnit) -> Iterator[None]:
    """A session on the U-Net with one unit."""
    with ControlSession(DiffusersUNet(bench.unet), [unit], lambda _batch: POSITION):
        yield


class Measurements:
    """The figures so far."""

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self.figures: dict[str, float] = {}
        self.errors: dict[str, float] = {}

    def ratio(self, name: str, one: Step, other: Step) -> None:
        """Note time(one) / time(other) and its error."""
        effort = self.effort
        timing = paired(one, other, effort.pairs, error=effort.error * ROOM, budget=effort.budget)
        self.figures[name], self.errors[name] = timing.ratio, timing.error
        print(f"{name}: {timing}, {timing.seconds_a:.3f} s against {timing.seconds_b:.3f} s", flush=True)

    def family(self, bench: Bench, kind: str) -> str:
        """A family's step against the U-Net and its own compute; gives the figure's name."""
        name = kind.replace("ldm", "controlnet")
        unit = bench.unit(kind)
        plain, alone = own_compute(bench, unit)
        with session(bench, unit):
            self.ratio(name, bench.step(bench.unet), plain)
        if alone is not None:
            self.figures[f"{name}_share"] = paired(
                alone, bench.step(bench.twin), min(5, self.effort.pairs)
            ).ratio
        return name

    def dense(self, bench: Bench, lora: str, whole: str) -> None:
        """ControlLoRA's network against one of the same size whose weights are its own."""
        call = bench.call()
        one, other = (partial(bench.unit(kind).control.residuals, call) for kind in (lora, whole))  # type: ignore[union-attr]
        self.ratio("lora_dense", one, other)

    def reads(self, generations: int = 10) -> None:
        """Three units of different files, pictures that differ: what is opened after the first one."""
        opened: list[str] = []
        original = safe_open

        def counted(path: Any, **options: Any) -> Any:
            opened.append(str(path))
            return original(path, **options)

        engine = Engine([tiny_folder()])
        with patch.object(weights, "safe_open", counted):
            engine.generate(three_units(0))
            first = len(opened)
            for seed in range(1, generations):
                engine.generate(three_units(seed))
        self.figures |= {"reads_first": float(first), "reads_again": float(len(opened) - first)}


def three_units(seed: int) -> GenerationRequest:
    """Edges, depth and a reference picture, of the bundled model."""
    image = files.data_url(64, 64, seed % 3)
    names = ("edges", "depth", "ip")
    units = [{"model": f"ctrlgen-tiny-{name}", "image": image, "weight": 0.5 + seed / 20} for name in names]
    sizes = {"width": 64, "height": 64, "steps": 2, "seed": seed}
    return parse_request({"prompt": "a red circle", "units": units, **sizes}, GenerationRequest)


def sd15(width: int) -> Any:
    """SD1.5's shape."""
    torch.manual_seed(0)
    widths = (width, 2 * width, 4 * width, 4 * width)
    return UNet2DConditionModel(block_out_channels=widths, cross_attention_dim=768, attention_head_dim=8)


def sdxl(width: int) -> Any:
    """SDXL's shape, with fewer transformers at the deepest level."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(width, 2 * width, 4 * width),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 4),
        attention_head_dim=(2, 4, 8),
        use_linear_projection=True,
        cross_attention_dim=2048,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def main() -> int:
    """Measure, print, and say whether every limit holds."""
    options = parser("What each family costs at a step beyond its own compute.").parse_args()
    size = effort(options, smoke=SMOKE, quick=QUICK, full=THOROUGH)
    found = Measurements(size)
    kinds: list[str] = []
    skipped = {
        "shuffle",
        "inpaint",
        "absolute",
        "difference",
        "xl-diffusers",
        "diffusers",
    }  # the same networks
    with torch.inference_mode():
        for unet, makes in ((sd15(size.width), families.SD15), (sdxl(size.width), families.SDXL)):
            chosen = {kind: make for kind, make in makes.items() if kind not in skipped}
            with tempfile.TemporaryDirectory() as folder:
                bench = Bench(unet, size, Path(folder), chosen)
                kinds += [found.family(bench, kind) for kind in chosen]
                if "lora" in chosen:
                    found.dense(bench, "lora", "ldm")
        found.reads(effort(options, smoke=2, quick=10, full=10))
    limits = {kind: at_most(LIMIT) for kind in kinds} | {"reads_again": at_most(0)}
    return finish(Result("families", found.figures, limits, found.errors), options)


if __name__ == "__main__":
    sys.exit(main())
