"""Control maps that another program assigns before a call: of tiles, of frames, and what cannot have them."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.assigned_map import AssignedMap, map_channels
from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.clocks import Row, RowQueue
from tests.support import control_files as files
from tests.support.contract_files import EXAMPLES, Example
from tests.support.networks import Call, Script, TokenControl, active
from tests.support.unet_calls import port_of, run

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")

FAMILIES = ("controlnet", "controlnet_union", "t2i_adapter", "lllite")
ACTS = 1e-3
SAME = 1e-4  # batches of other sizes round otherwise
TILES = [files.picture(64, 64, seed) for seed in (3, 4)]
WHOLE = Image.new("RGB", (128, 64))
for number, tile in enumerate(TILES):
    WHOLE.paste(tile, (64 * number, 0))


@dataclass
class Subject:
    """A family with its U-Net and its file."""

    example: Example
    unet: Any
    store: ModelStore

    def units(self, picture: Image.Image, **fields: Any) -> tuple[ActiveUnit, ...]:
        """One unit with this picture, as a session takes it."""
        own = {"model": "model", **self.example.unit, "image": encode_image(picture), **fields}
        request: Any = parse_request({"units": [own]})
        target = Target(store=self.store, shape=port_of(self.unet).shape, unet=self.unet, canvas=Canvas())
        return load_units(request.units, target)

    def call(self) -> Call:
        """A call with two tiles of a picture, each with a conditional and an unconditional row."""
        return self.example.call("c0 u0 c0 u0")

    def alone(self, picture: Image.Image, **fields: Any) -> Tensor:
        """The predictions of all rows with this picture as every row's."""
        call = self.call()
        with ControlSession(port_of(self.unet), self.units(picture, **fields), Script(4, [(0, call.rows)])):
            return run(self.unet, call)

    def in_tiles(self, maps: Tensor | None = None, **fields: Any) -> Tensor:
        """The predictions of the rows as two tiles of a picture, with assigned maps."""
        with ControlSession(port_of(self.unet), self.units(WHOLE, **fields), tiled()) as session:
            session.assigned.assign(0, self.cut(session) if maps is None else maps)
            return run(self.unet, self.call())

    def cut(self, session: ControlSession) -> Tensor:
        """The maps of both tiles, two rows each, cut from the unit's own."""
        control: Any = session.units[0].control
        whole = control.map.pixels(128, 64, map_channels(control))
        return torch.cat([whole[..., :64], whole[..., :64], whole[..., 64:], whole[..., 64:]])


def tiled() -> RowQueue:
    """A clock where the host computes two rows of a latent 16x8, and the U-Net is called for its tiles."""
    queue = RowQueue()
    queue.begin(0, 4, [Row(True, 0), Row(False, 0)], size=(8, 16))
    queue.begin_batch(2)
    return queue


@pytest.fixture(scope="module", params=FAMILIES)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    example = EXAMPLES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    example.write(folder)
    return Subject(example, example.unet(), ModelStore([folder], 1 << 30))


def far(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


@pytest.mark.parametrize("mode", ["balanced", "control"])
def test_each_tile_has_its_part_of_the_map(subject: Subject, mode: str) -> None:
    left, right = (subject.alone(each, control_mode=mode) for each in TILES)
    found = subject.in_tiles(control_mode=mode)
    assert far(found, torch.cat([left[:2], right[2:]])) < SAME
    assert far(left[2], right[2]) > ACTS, "the pictures differ"


def test_one_map_serves_all_rows_and_ends_when_it_is_dropped(subject: Subject) -> None:
    call, (left, right) = subject.call(), TILES
    script = Script(4, [(0, call.rows)] * 3)
    with ControlSession(port_of(subject.unet), subject.units(left), script) as session:
        own = run(subject.unet, call)
        control: Any = subject.units(right)[0].control
        session.assigned.assign(0, control.map.pixels(64, 64, map_channels(control)))
        given = run(subject.unet, call)
        session.assigned.drop(0)
        again = run(subject.unet, call)
    assert far(own, subject.alone(left)) < SAME
    assert far(given, subject.alone(right)) < SAME
    assert torch.equal(own, again)
    assert session.assigned.maps == {}


def test_a_map_is_read_again_at_every_call(subject: Subject) -> None:
    """Another program may change the assigned tensor in place."""
    call = subject.call()
    script = Script(4, [(0, call.rows)] * 2)
    with ControlSession(port_of(subject.unet), subject.units(TILES[0]), script) as session:
        control: Any = session.units[0].control
        maps = torch.zeros(4, map_channels(control), 64, 64)
        session.assigned.assign(0, maps)
        run(subject.unet, call)
        other: Any = subject.units(TILES[1])[0].control
        maps.copy_(other.map.pixels(64, 64, map_channels(control)).expand_as(maps))
        found = run(subject.unet, call)
    assert far(found, subject.alone(TILES[1])) < SAME


@pytest.fixture(scope="module")
def controlnet(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    example = EXAMPLES["controlnet"]
    folder = tmp_path_factory.mktemp("plain")
    example.write(folder)
    return Subject(example, example.unet(), ModelStore([folder], 1 << 30))


@pytest.mark.parametrize("shape", [(3, 3, 64, 64), (4, 3, 64, 72), (4, 2, 64, 64), (3, 64, 64)], ids=str)
def test_maps_that_do_not_fit_the_call_are_refused(controlnet: Subject, shape: tuple[int, ...]) -> None:
    with pytest.raises(HostError, match="assigned"):
        controlnet.in_tiles(torch.zeros(shape))


def test_tiles_without_maps_or_with_a_mask_are_refused(controlnet: Subject) -> None:
    mask = encode_image(Image.new("L", (64, 64), 255))
    with pytest.raises(RequestError, match=r"in parts.*remove its mask"):
        controlnet.in_tiles(mask=mask)
    with (
        pytest.raises(RequestError, match="in parts"),
        ControlSession(port_of(controlnet.unet), controlnet.units(WHOLE), tiled()),
    ):
        run(controlnet.unet, controlnet.call())


def test_what_acts_everywhere_alike_needs_no_maps(controlnet: Subject) -> None:
    """An IP-Adapter without a mask acts on a tile as on the whole picture."""
    units, call = [active(TokenControl(1))], controlnet.call()
    with ControlSession(port_of(controlnet.unet), units, tiled()):
        found = run(controlnet.unet, call)
    with ControlSession(port_of(controlnet.unet), units, Script(4, [(0, call.rows)])):
        assert far(run(controlnet.unet, call), found) < SAME


def test_some_of_the_rows_have_the_units_own_map(controlnet: Subject) -> None:
    """AnimateDiff computes a few frames of a batch at a time; `reuse` then computes at every call."""
    units, call = controlnet.units(TILES[0], reuse=2), controlnet.example.call("c0 c1 c2 c3 u0 u1 u2 u3")
    queue = RowQueue()
    with ControlSession(port_of(controlnet.unet), units, queue):
        for step in range(2):
            queue.begin(step, 4, [Row(cond, k) for cond in (True, False) for k in range(4)], size=(8, 8))
            queue.begin_batch(8)
            found = [run(controlnet.unet, call.take(rows)) for rows in ([0, 1, 4, 5], [2, 3, 6, 7])]
    with ControlSession(port_of(controlnet.unet), units, Script(4, [(0, call.rows)])):
        whole = run(controlnet.unet, call)
    assert far(torch.cat(found), whole[[0, 1, 4, 5, 2, 3, 6, 7]]) < SAME
    single = [replace(units[0], pictures=(0,))]
    queue.begin(0, 4, [Row(True, 0), Row(True, 1)], size=(8, 8))
    queue.begin_batch(2)
    with (
        pytest.raises(RequestError, match="in parts"),
        ControlSession(port_of(controlnet.unet), single, queue),
    ):
        run(controlnet.unet, call.take([0]))


def test_a_mask_in_a_fourth_channel_is_a_hole() -> None:
    """As in sd-webui-controlnet, whose maps for inpainting have four channels."""
    maps = torch.rand(2, 4, 8, 16)
    maps[:, 3] = (maps[:, 3] > 0.5).float()
    found = AssignedMap(maps=maps).pixels(16, 8)
    assert torch.equal(found, torch.where(maps[:, 3:] > 0.5, torch.tensor(-1.0), maps[:, :3]))
    assert torch.equal(AssignedMap(maps=maps[:, :3]).pixels(16, 8, 1), maps[:, :3].mean(1, keepdim=True))
    assert AssignedMap(maps=maps[:, :3]).shown(16, 8).size == (16, 8)
