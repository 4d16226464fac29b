"""Row weights and masks of units with the semantics of sd-webui-controlnet."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.request.semantics import ControlNetSemantics
from lib_ctrlgen.request.spec import ControlUnit
from lib_ctrlgen.session.effects.base import Masks, mask_fit
from lib_ctrlgen.session.row_weights import RowWeight, row_weight_of
from lib_ctrlgen.unet.call import Position, Rows
from lib_ctrlgen.unet.residuals import Residuals, controlnet_soft_weights, soft_weights
from tests.support.control_files import call

OLD = ControlNetSemantics(weight=0.8)
ROWS = Rows((False, True), (0, 0))


class Residual:
    """A control that adds residuals, as far as row weights are concerned."""


class Finishing:
    def finished(self, picture: Image.Image) -> Image.Image:
        return picture


class Inputs:
    def changes(self, *_: Any) -> None: ...
    def control_map(self, *_: Any) -> None: ...


def weight(
    row: int, position: Position, control: object = None, semantics: Any = OLD, **fields: Any
) -> RowWeight | None:
    spec = ControlUnit(model="edges", semantics=semantics, **fields)
    unit = ActiveUnit(index=0, spec=spec, control=control or Residual())  # type: ignore[arg-type]
    return row_weight_of(unit, spec, 0.25, position, row)


def test_the_window_is_that_of_the_reported_progress() -> None:
    window: dict[str, Any] = {"guidance_start": 0.5, "guidance_end": 0.6}
    for reported, acts in ((0.4, False), (0.5, True), (0.6, True), (0.61, False)):
        found = weight(1, Position(0, 10, ROWS, reported=reported), **window)
        assert (found is not None) == acts, reported
    assert weight(1, Position(6, 10, ROWS), **window) is not None, "five of ten steps are finished"
    assert weight(1, Position(5, 10, ROWS), **window) is None


def test_what_acts_after_the_unet_has_no_window() -> None:
    found = weight(
        0, Position(9, 10, ROWS, hires=True), Finishing(), guidance_end=0.1, control_mode="control"
    )
    assert found is not None
    assert found.weight == 0.8, "and the unit's own weight in both passes"


@pytest.mark.parametrize("all_cond", [False, True])
def test_rows_of_the_hires_pass(all_cond: bool) -> None:
    semantics = ControlNetSemantics(all_cond=all_cond)
    for hires in (False, True):
        found = weight(0, Position(0, 4, ROWS, hires=hires), semantics=semantics, control_mode="control")
        assert (found is not None) == (hires and all_cond)


@pytest.mark.parametrize(("preprocessor", "soft"), [("canny", True), ("mlsd", True), ("invert", False)])
def test_some_maps_are_soft_in_the_hires_pass(preprocessor: str, soft: bool) -> None:
    for hires, semantics in ((True, OLD), (False, OLD), (True, None)):
        position = Position(1, 4, ROWS, hires=hires)
        found = weight(1, position, semantics=semantics, preprocessor=preprocessor)
        assert found is not None
        assert (found.mode == "prompt") == (soft and hires and semantics is not None)


def test_soft_weights() -> None:
    assert controlnet_soft_weights(13) == soft_weights(13)
    assert controlnet_soft_weights(10) == tuple(0.825 ** (12 - layer) for layer in range(10))


def test_a_region_is_sampled_linearly_from_its_own_pixels() -> None:
    values = np.random.default_rng(1).integers(0, 256, (20, 30)).astype(np.uint8)
    spec = ControlUnit(model="edges", semantics=OLD, resize_mode="crop_and_resize")
    unit = ActiveUnit(index=0, spec=spec, control=Residual(), mask=Image.fromarray(values))  # type: ignore[arg-type]
    mask = Masks().of(unit, [RowWeight(1.0)], call(1))
    assert mask is not None
    ones = Residuals((torch.ones(1, 2, 8, 8),), torch.ones(1, 2, 4, 4))
    for layer in ones.masked(mask, mask_fit(unit)).layers:
        source = torch.from_numpy(values / 255.0)[None, None].float()
        side = layer.shape[-1]
        wanted = torch.nn.functional.interpolate(source, size=(side, side), mode="bilinear")
        assert torch.allclose(layer, wanted.expand_as(layer))
