"""IP-Adapter units with weight types, tiles and several references, on a whole U-Net."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.ip_adapter.prepared import PreparedIPAdapter
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import Position, Rows
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files
from tests.support.ip_adapter_units import loaded, unit, write
from tests.support.networks import Script

UNET = files.unet()
SQUARE = files.data_url(32, 32)
STYLE = [0, 1, 2, 3, 7 + 2, 7 + 3, 7 + 4, 7 + 5, 7 + 6, 7 + 7, 7 + 8]  # t of SD1.5's style layers
RUNNING = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 6]  # t in the checkpoint's order


class Run:
    """A guided step of the U-Net with units."""

    def __init__(self, folder: Path) -> None:
        self.store = ModelStore([folder], 1 << 30)
        self.call = files.call(2, 8, 8)

    def __call__(self, *units: dict[str, Any], step: int = 1) -> Tensor:
        """The prediction [2, 4, 8, 8] with these units: an unconditional and a conditional row."""
        active = [loaded(self.store, unit(**fields)) for fields in units]
        position = Position(step, 4, Rows((False, True), (0, 0)))
        inputs = self.call.inputs
        with ControlSession(DiffusersUNet(UNET), active, lambda _batch: position), torch.no_grad():
            found: Tensor = UNET(inputs.x, inputs.timestep, inputs.context).sample
        return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("models")
    write(root, "plus")
    files.save_vision(root / "tower")
    return Run(root)


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5)


def test_a_weight_type_is_the_layer_weights_of_its_table(run: Run) -> None:
    plain = run({})
    style = run({"weight": -0.7, "params": {"weight_type": "style transfer"}})
    own = [float(t in STYLE) for t in RUNNING]
    assert close(style, run({"weight": -0.7, "layer_weights": own}))
    assert not close(style, plain)
    half = run({"params": {"weight_type": "style transfer"}, "layer_weights": [0.5] * 16})
    assert close(half, run({"weight": 0.5, "params": {"weight_type": "style transfer"}}))


def test_both_halves_of_a_type_are_the_whole(run: Run) -> None:
    """Style and composition with one picture are all layers but three, with a quarter on one."""
    params = {"weight_type": "style and composition", "composition_weight": 1.0}
    own = [{4: 0.25, 6: 0.0, 7: 0.0, 8: 0.0}.get(t, 1.0) for t in RUNNING]
    assert close(run({"params": params}), run({"layer_weights": own}))
    other = {"image": files.data_url(40, 40, seed=1), "role": "composition"}
    assert not close(run({"params": params, "references": [other]}), run({"params": params}))
    faded = run({"weight": "1>0", "params": params}, step=2)
    assert close(faded, run({"weight": 0.5, "layer_weights": own})), "the composition fades with the weight"


def test_equal_pictures_are_one(run: Run) -> None:
    once = run({"image": SQUARE})
    again = {"image": SQUARE}
    for method in ("concat", "average", "max", "min"):
        assert close(once, run({"image": SQUARE, "references": [again, again], "combine": method}))
    assert close(once, run({"image": SQUARE, "references": [again | {"role": "negative"}]})) is False
    three = {"image": SQUARE, "references": [again | {"weight": "2@0, 0@0.5"}], "combine": "average"}
    assert close(once, run(three)), "a weight of 1 at this step"
    assert not close(once, run(three, step=2))


def test_equal_tiles_are_the_picture(run: Run) -> None:
    row = Image.new("RGB", (96, 32))
    for place in range(3):
        row.paste(decode_image(SQUARE, ""), (32 * place, 0))
    tiled = run({"image": encode_image(row), "params": {"tiles": 3}})
    assert close(tiled, run({"image": SQUARE}))
    different = Image.new("RGB", (96, 32), "red")
    different.paste("blue", (32, 0, 64, 32))
    assert not close(tiled, run({"image": encode_image(different), "params": {"tiles": 3}}))


def test_tiles_act_within_the_units_mask(run: Run) -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    row = encode_image(Image.new("RGB", (96, 32), "red"))
    masked = {"image": row, "params": {"tiles": 3}, "mask": encode_image(mask)}
    assert close(run(masked), run({**masked, "image": encode_image(Image.new("RGB", (32, 32), "red"))}))
    assert not close(run(masked), run({"image": row, "params": {"tiles": 3}}))
    assert close(run(masked | {"weight": 0}), run({"weight": 0}))


def test_keys_and_values_are_computed_once_whatever_the_steps(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    pair = PreparedIPAdapter._pair

    def counted(self: PreparedIPAdapter, place: int, *weights: Tensor) -> tuple[Tensor, Tensor]:
        computed.append(place)
        return pair(self, place, *weights)

    monkeypatch.setattr(PreparedIPAdapter, "_pair", counted)
    for weight, steps in (("1", 2), ("1@0, 0.2@1", 9)):
        computed.clear()
        active = [loaded(run.store, unit(weight=weight, params={"embeds_scaling": "K+V"}))]
        inputs = run.call.inputs
        for batch in range(2):  # of one generation
            clock = Script(steps, [(step, Rows((False, True), (0, 0))) for step in range(steps)])
            with ControlSession(DiffusersUNet(UNET), active, clock), torch.no_grad():
                for _ in range(steps):
                    UNET(inputs.x, inputs.timestep, inputs.context)
            assert computed == [*range(16)], batch
