"""What the families that act on attention cost at a step beyond the U-Net and their own compute.

IP-Adapters, faces, reference pictures, StyleAligned and GLIGEN, with random weights on diffusers' U-Nets in
the shapes of SD1.5 and SDXL, one guided step at a time. The plain side is a twin of the U-Net that shares
every weight and computes the family by itself (`_by_hand.py`); both sides alternate.

    FAMILY            a step in a session with one unit / the U-Net with the family written out
    FAMILY_share      the U-Net with the family written out / the U-Net alone
    FAMILY_differs    the largest difference of the two sides' predictions, as a share of the largest value:
                      they compute the same

`+-` is the standard error of a ratio's median.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import _by_hand
import torch
from _harness import Limit, Result, at_most, effort, finish, paired, parser
from families import LIMIT, ROOM, SMOKE, THOROUGH, Bench, Effort, Step, sd15, sdxl, twin
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.ip_adapter import unit_faces
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.pulid import pulid
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.faces.face import WIDTH
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.request.spec import ControlRequest, parse_request
from lib_ctrlgen.session.effects.reference_bank import noised
from lib_ctrlgen.session.effects.reference_layers import adain_modules
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import CallInputs, Position, Rows, UNetCall
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.orthogonal import IDENTITY_TOKENS
from tests.support import control_files as files
from tests.support import face_adapters as faces
from tests.support import gligen_files, pulid_files
from tests.support.denoised_reference import diffusion

CLIP, EMBEDDED, RANK = 64, 48, 128
SAME = 1e-3
QUICK = Effort(width=96, side=24, pairs=2, error=0.3, budget=1.0)
FACE = {"face": json.dumps([[(place % 7 - 3) / 20 for place in range(WIDTH)]])}
PICTURE, OTHERS = files.data_url(64, 64), [{"image": files.data_url(64, 64, seed)} for seed in (1, 2, 3)]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A family: its file's tensors for a U-Net, the fields of a unit, and how it is written out by hand.

    `pictures` is the number of pictures in the batch.
    """

    by_hand: Callable[[Attended, Any], Step]
    tensors: Callable[[Attended], dict[str, Tensor]] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    pictures: int = 1


class Attended(Bench):
    """A U-Net with its twin, and files of these families for it."""

    def __init__(self, unet: Any, size: Effort, folder: Path, cases: Mapping[str, Case]) -> None:
        super().__init__(unet, size, folder, {})
        shape = DiffusersUNet(self.unet).shape
        self.widths, self.context_width = shape.attention_hidden, shape.family.context_dim
        self.names = [site.name for site in DiffusersUNet(self.unet).attention_sites()]
        files.save_vision(folder / "vision", hidden=CLIP, projection=EMBEDDED)
        for name, case in cases.items():
            if case.tensors is not None:
                save_file(case.tensors(self), folder / f"{name}.safetensors")
        self.rows = (self.x, self.time, self.context, self.added)

    def repeat(self, pictures: int) -> None:
        """Take a step for so many pictures: unconditional rows, then conditional ones."""
        self.pictures = pictures
        random = torch.Generator().manual_seed(2)
        x, time, context, added = self.rows
        more = torch.randn(2 * pictures, *x.shape[1:], generator=random)
        self.x = x if pictures == 1 else more
        self.time, self.context = (each.repeat_interleave(pictures, 0) for each in (time, context))
        self.added = {key: value.repeat_interleave(pictures, 0) for key, value in added.items()}

    @property
    def position(self) -> Position:
        """The step's place, and what its rows are."""
        conds = (False,) * self.pictures + (True,) * self.pictures
        return Position(0, 2, Rows(conds, tuple(range(self.pictures)) * 2))

    def loaded(self, name: str, case: Case) -> ActiveUnit:
        """A loaded unit."""
        fields = dict(case.fields) if case.tensors is None else {"model": name, **case.fields}
        units = parse_request({"units": [fields]}, ControlRequest).units
        target = Target(
            store=self.store,
            shape=DiffusersUNet(self.unet).shape,
            unet=self.unet,
            diffusion=diffusion(),
            canvas=Canvas(pictures=case.pictures),
            phrases=gligen_files.HashedPhrases(self.context_width),
        )
        return load_units(units, target)[0]

    @contextmanager
    def acting(self, unit: ActiveUnit) -> Iterator[None]:
        """A session on the U-Net with one unit."""
        with ControlSession(DiffusersUNet(self.unet), [unit], lambda _batch: self.position):
            yield


def adapter(bench: Attended, control: Any) -> Step:
    """An IP-Adapter, with the LoRA where the file has one."""
    (part,) = control.parts(0.0)
    pairs = part.control.terms(DiffusersUNet(bench.unet).attention_sites(), torch.float32, bench.x.device)
    form = control.weighting.form
    unet = _by_hand.with_terms(
        twin(bench.unet), bench.names, pairs, 0 if form == "neutral" else IDENTITY_TOKENS
    )
    if hasattr(control, "lora"):
        unet = _by_hand.with_lora(unet, bench.names, control.lora.pairs())
    return bench.step(unet)


def reference(bench: Attended, control: Any) -> Step:
    """A reference picture: a second call of the U-Net, whose layers the first one reads."""
    inputs = CallInputs(x=bench.x, timestep=bench.time, context=bench.context, added=bench.added)
    shown = noised(control, UNetCall(inputs=inputs, position=bench.position, unet=bench.unet))
    on_attention = control.attention.coverage > 0
    fidelity = (control.attention if on_attention else control.adain).fidelity
    bank = _by_hand.Bank(torch.tensor([1 - fidelity, 1.0])[:, None, None])
    unet = twin(bench.unet)
    port = DiffusersUNet(unet)
    modules = adain_modules(port.blocks(), port.shape.residual_strides)
    blocks = [block for block, threshold in modules if control.adain.coverage > threshold]
    unet = _by_hand.with_reading(unet, bank, () if on_attention else blocks)
    more = {"added_cond_kwargs": bench.added} if bench.added else {}

    def step() -> object:
        bank.writing = True
        unet(shown, bench.time, bench.context, **more)
        bank.writing = False
        return unet(bench.x, bench.time, bench.context, **more)

    return step


def aligned(bench: Attended, _control: Any) -> Step:
    """StyleAligned: self attention and group norms with the first picture."""
    return bench.step(_by_hand.with_sharing(twin(bench.unet)))


def boxes(bench: Attended, control: Any) -> Step:
    """GLIGEN: diffusers' own gated blocks."""
    unet = _by_hand.with_boxes(twin(bench.unet), bench.names, control.weights.fusers)
    return bench.step(unet, cross_attention_kwargs={"gligen": {"objects": control.objects}})


def layout(variant: str) -> Callable[[Attended], dict[str, Tensor]]:
    """An IP-Adapter's tensors."""

    def tensors(bench: Attended) -> dict[str, Tensor]:
        clip = EMBEDDED if variant == "plain" else CLIP
        shapes = faces.whole(variant, bench.context_width, bench.widths, clip=clip, rank=RANK)
        return faces.random_tensors(shapes)

    return tensors


def pulid_tensors(bench: Attended) -> dict[str, Tensor]:
    """A small head of PuLID, and attention layers of the U-Net's sizes."""
    head = pulid_files.version_1(bench.context_width, 64, pulid_files.SMALL_MAP)
    return faces.random_tensors(pulid_files.published(head, bench.widths, bench.context_width))


def gligen_tensors(bench: Attended) -> dict[str, Tensor]:
    """A GLIGEN's tensors, with matrices so small that rounding stays as small."""
    tensors = gligen_files.tensors_for(bench.unet)
    return {
        key: (value / value.shape[-1] ** 0.5 if value.ndim > 1 else value) for key, value in tensors.items()
    }


def shown(method: str) -> dict[str, Any]:
    """A unit with a reference picture."""
    params = {"method": method, "style_fidelity": 0.5, "adain_weight": 2.0}
    return {"control": "reference", "image": PICTURE, "params": params}


SEEN = {"image": PICTURE}
SD15: dict[str, Case] = {
    "plain": Case(by_hand=adapter, tensors=layout("plain"), fields=SEEN),
    "plus": Case(by_hand=adapter, tensors=layout("plus"), fields=SEEN),
    "four_references": Case(by_hand=adapter, tensors=layout("plus"), fields={**SEEN, "references": OTHERS}),
    "faceid": Case(by_hand=adapter, tensors=layout("faceid"), fields={"params": FACE}),
    "reference_attention": Case(by_hand=reference, fields=shown("attention")),
    "reference_adain": Case(by_hand=reference, fields=shown("adain")),
    "style_aligned": Case(by_hand=aligned, fields={"control": "style_aligned"}, pictures=2),
    "gligen": Case(by_hand=boxes, tensors=gligen_tensors, fields={"boxes": gligen_files.BOXES}),
}
SDXL: dict[str, Case] = {
    "xl_plus": Case(by_hand=adapter, tensors=layout("plus"), fields=SEEN),
    "xl_pulid": Case(by_hand=adapter, tensors=pulid_tensors, fields=SEEN),
    "xl_reference_attention": Case(by_hand=reference, fields=shown("attention")),
    "xl_style_aligned": Case(by_hand=aligned, fields={"control": "style_aligned"}, pictures=2),
}


class Measurements:
    """The figures so far."""

    def __init__(self, size: Effort) -> None:
        self.size = size
        self.figures: dict[str, float] = {}
        self.errors: dict[str, float] = {}

    def family(self, bench: Attended, name: str, case: Case) -> None:
        """Note a family's step against the U-Net with it written out, and that against the U-Net alone."""
        bench.repeat(case.pictures)
        unit, size = bench.loaded(name, case), self.size
        plain, alone = case.by_hand(bench, unit.control), bench.step(bench.twin)
        with bench.acting(unit):
            step = bench.step(bench.unet)
            wanted = sample(plain)
            differs = float((sample(step) - wanted).abs().max() / wanted.abs().max())
            timing = paired(step, plain, size.pairs, error=size.error * ROOM, budget=size.budget)
        self.figures[name], self.errors[name] = timing.ratio, timing.error
        share = paired(plain, alone, min(3, size.pairs)).ratio
        self.figures |= {f"{name}_share": share, f"{name}_differs": differs}
        print(f"{name}: {timing}, {timing.seconds_a:.3f} s against {timing.seconds_b:.3f} s", flush=True)


def sample(step: Step) -> Tensor:
    """The prediction of a step."""
    found: Any = step()
    return torch.as_tensor(found.sample)


def main() -> int:
    """Measure, print, and say whether every limit holds."""
    options = parser("What the families cost that act on attention.").parse_args()
    size = effort(options, smoke=SMOKE, quick=QUICK, full=THOROUGH)
    found, limits = Measurements(size), dict[str, Limit]()
    with torch.inference_mode(), ExitStack() as stack:
        stack.enter_context(patch.object(unit_faces, "find_faces", faces.found_faces))
        stack.enter_context(patch.object(pulid, "Towers", pulid_files.SeenFaces))
        for unet, cases in ((sd15(size.width), SD15), (sdxl(size.width), SDXL)):
            with tempfile.TemporaryDirectory() as folder:
                bench = Attended(unet, size, Path(folder), cases)
                for name, case in cases.items():
                    found.family(bench, name, case)
                    limits |= {name: at_most(LIMIT), f"{name}_differs": at_most(SAME)}
    return finish(Result("attention", found.figures, limits, found.errors), options)


if __name__ == "__main__":
    sys.exit(main())
