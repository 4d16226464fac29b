"""What every control family of the catalogue must do, tried on a random network of each.

A new family is tested by being registered: it needs a line in `EXAMPLES` of tests/support/contract_files.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.registry import identify_file
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.offload import Offloaded
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.catalogue import CONTROLS, family_entry
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from tests.support import control_files as files
from tests.support.contract_files import EXAMPLES, Example
from tests.support.denoised_reference import diffusion
from tests.support.gligen_files import HashedPhrases
from tests.support.lora_files import assert_untouched, snapshot
from tests.support.networks import Script
from tests.support.unet_calls import port_of, run
from tests.support.unet_hosts import structure

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")

STEPS = 4
ACTS = 1e-3  # least change of a prediction, which is of size one
SAME = 3e-5


@dataclass
class Subject:
    """A family with its U-Net and its files."""

    family: str
    example: Example
    unet: Any
    store: ModelStore

    def predicted(self, kinds: str = "", step: int = 0, **fields: Any) -> Tensor:
        """The prediction [rows, 4, 8, 8] of a call at a step with one unit of these fields."""
        call = self.example.call(kinds or self.example.kinds)
        model = {} if "control" in self.example.unit else {"model": "model"}
        own = {**model, **self.example.unit, **fields}
        params = self.example.unit.get("params", {}) | fields.get("params", {})
        content = {} if "images" in fields else self.example.content(3)
        request = parse_request({"units": [{**content, **own, "params": params}]})
        pictures = len(set(call.rows.image))
        port = port_of(self.unet)
        target = Target(
            store=self.store,
            shape=port.shape,
            unet=self.unet,
            canvas=Canvas(pictures=pictures),
            diffusion=diffusion(),
            phrases=HashedPhrases(),
        )
        with ControlSession(port, load_units(request.units, target), Script(STEPS, [(step, call.rows)])):
            return run(self.unet, call)

    def unhooked(self) -> Tensor:
        """The prediction without a session."""
        return run(self.unet, self.example.call(self.example.kinds))

    @cached_property
    def before(self) -> tuple[Any, Any]:
        """The U-Net's structure and weights before the first test."""
        return structure(self.unet), snapshot(self.unet)

    @cached_property
    def plain(self) -> Tensor:
        """The prediction without a unit, made once."""
        return self.unhooked()

    @cached_property
    def full(self) -> Tensor:
        """The prediction with the unit's defaults at step 0, made once."""
        return self.predicted()


@pytest.fixture(scope="module", params=[entry.name for entry in CONTROLS])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    example = EXAMPLES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    example.write(folder)
    if not family_entry(request.param).without_model:
        name = example.unit.get("model", "model")
        (file,) = folder.glob(f"{name}.*")
        assert identify_file(file).control == request.param
    with pytest.MonkeyPatch.context() as patched:
        for place, value in example.patches.items():
            patched.setattr(place, value)
        yield Subject(request.param, example, example.unet(), ModelStore([folder], 1 << 30))


@pytest.fixture(autouse=True)
def untouched(subject: Subject) -> Iterator[None]:
    """After each test the U-Net has its modules, hooks and weights, and gives the same bits."""
    (before, weights), plain = subject.before, subject.plain
    yield
    assert structure(subject.unet) == before
    assert_untouched(subject.unet, weights)
    assert torch.equal(subject.unhooked(), plain)


def far(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def test_it_acts_by_its_weight(subject: Subject) -> None:
    plain, full, half = subject.plain, subject.full, subject.predicted(weight=0.5)
    assert torch.equal(subject.predicted(weight=0), plain)
    assert far(full, plain) > ACTS
    assert 0 < far(half, plain) < far(full, plain)
    assert far(half, full) > ACTS / 4


def test_it_acts_inside_its_window_alone(subject: Subject) -> None:
    window = {"guidance_start": 0.5, "guidance_end": 0.75}
    assert torch.equal(subject.predicted(step=1, **window), subject.plain)
    assert torch.equal(subject.predicted(step=3, **window), subject.plain)
    assert far(subject.predicted(step=2, **window), subject.predicted(step=2)) <= SAME


def test_it_acts_where_its_mask_is_white(subject: Subject) -> None:
    left = files.Image.new("L", (64, 64))
    left.paste(255, (0, 0, 32, 64))
    mask = encode_image(left)
    if refusal(subject, "mask", mask=mask):
        return  # a family without masks says so
    masked, plain, full = subject.predicted(mask=mask), subject.plain, subject.full
    assert far(masked, plain) > ACTS / 4
    assert far(masked, full) > ACTS / 4


def test_each_picture_of_a_batch_is_what_it_is_alone(subject: Subject) -> None:
    if subject.example.couples:
        return
    kinds = "c0 c1 u0 u1"
    images = [files.data_url(seed=seed) for seed in (3, 8)]
    if refusal(subject, "images", images=images):
        return  # a family without pictures says so
    together = subject.predicted(kinds, images=images)
    for picture, image in enumerate(images):
        alone = subject.predicted(kinds, image=image)
        rows = [picture, picture + 2]
        assert far(together[rows], alone[rows]) <= SAME
    assert (
        far(subject.predicted(kinds, image=images[0]), subject.predicted(kinds, image=images[1])) > 5 * SAME
    )


def refusal(subject: Subject, path: str, **fields: Any) -> bool:
    """Whether a unit with these fields is refused, at its own field."""
    try:
        subject.predicted(**fields)
    except RequestError as error:
        return error.path.startswith(f"$.units[0].{path}")
    return False


@pytest.mark.parametrize("mode", ["prompt", "control"])
def test_a_mode_acts_or_is_refused(subject: Subject, mode: str) -> None:
    if refusal(subject, "control_mode", control_mode=mode):
        return
    found, plain, full = subject.predicted(control_mode=mode), subject.plain, subject.full
    assert far(found[:1], plain[:1]) > ACTS / 4
    assert far(found, full) > 0
    if mode == "control":
        assert torch.equal(found[1:], plain[1:]), "conditional rows alone"


def test_reuse_acts_or_is_refused(subject: Subject) -> None:
    reuse = 2
    if not refusal(subject, "reuse", reuse=reuse):
        assert far(subject.predicted(reuse=reuse), subject.full) <= SAME, "the first step computes"


def test_stored_weights_are_used(subject: Subject) -> None:
    """In eight bits the result moves a little: what ignored `storage` would give the same bits."""
    if not subject.example.has_weights:
        return
    full, stored = subject.full, subject.predicted(storage="int8")
    assert 0 < far(stored, full) < 0.5 * far(full, subject.plain)


def test_low_vram_takes_weights_to_the_device_for_each_use(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not subject.example.has_weights:
        return
    uses = []
    present = Offloaded.present
    monkeypatch.setattr(Offloaded, "present", lambda self: uses.append(self) or present(self))
    new = subject.example.content(21)  # what was computed for another generation is kept
    assert far(subject.predicted(low_vram=True, **new), subject.predicted(**new)) <= SAME
    assert uses


def test_a_parameter_that_it_does_not_declare_is_refused(subject: Subject) -> None:
    with pytest.raises(RequestError) as caught:
        subject.predicted(params={"nonesuch": 1})
    assert caught.value.path.startswith("$.units[0].params")


def test_layer_weights_of_another_number_are_refused(subject: Subject) -> None:
    with pytest.raises(RequestError) as caught:
        subject.predicted(layer_weights=[1.0] * 99)
    assert caught.value.path == "$.units[0].layer_weights"


def test_the_catalogue_says_which_fields_it_does_not_use(subject: Subject) -> None:
    """The panel hides them."""
    unused = set(family_entry(subject.family).unused)
    white = encode_image(files.Image.new("L", (64, 64), 255))
    tried = {
        "preprocessor": "invert",
        "control_mode": "prompt",
        "reuse": 2,
        "mask": white,
        "image": files.data_url(seed=5),
    }
    refused = {name for name, value in tried.items() if refusal(subject, name, **{name: value})}
    assert refused == unused & tried.keys()
    assert subject.example.has_weights == unused.isdisjoint({"low_vram", "storage"})
