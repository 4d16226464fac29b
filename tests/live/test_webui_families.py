"""Every residual family in the real WebUI, with random files made for the checkpoint that is there.

Needs CTRLGEN_WEBUI_ROOT and diffusers in this environment; for the SDXL families also
CTRLGEN_WEBUI_SDXL, an SDXL checkpoint with its yaml beside it (a small random one will do).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live.conftest import EDGES, PICTURE, PLAIN, SIZE, WebUI, close, encoded, scene

pytest.importorskip("diffusers")

from tests.support.control_families import SD15, SDXL
from tests.support.live_checkpoints import Checkpoint, checkpoint_of, sdxl_name

pytestmark = pytest.mark.live
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}
HERE = {"image": encoded(scene()), "preprocessor": "canny"}
THERE = {
    "image": encoded(scene().rotate(45, fillcolor="white").crop((8, 8, 40, 60))),
    "preprocessor": "canny",
}


class Host(Checkpoint):
    """A checkpoint with units of its families."""

    def unit(self, kind: str, **fields: Any) -> dict[str, Any]:
        params = {"params": {"union_type": "canny"}} if "union" in kind else {}
        own = {"preprocessor": "none", "control_mode": "balanced"} if "style" in kind else {}
        return {"model": self.files[kind], **HERE, **params, **fields, **own}


def host_of(webui: WebUI, root: Path, checkpoint: str, makes: Any) -> Iterator[Host]:
    for found in checkpoint_of(webui, root, checkpoint, makes, PLAIN):
        yield Host(webui, root, checkpoint, found.files, PLAIN)


@pytest.fixture(scope="module")
def sd15(webui: WebUI, webui_root: Path) -> Iterator[Host]:
    yield from host_of(webui, webui_root, "ctrlgen-tiny.safetensors", SD15)


@pytest.fixture(scope="module")
def sdxl(webui: WebUI, webui_root: Path) -> Iterator[Host]:
    yield from host_of(webui, webui_root, sdxl_name(), SDXL)


@pytest.fixture(params=["sd15", "sdxl"])
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = request.getfixturevalue(request.param)
    return found


KINDS = [("sd15", kind) for kind in SD15] + [("sdxl", kind) for kind in SDXL]


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_family_acts_as_headless_and_leaves_nothing(
    request: pytest.FixtureRequest, name: str, kind: str
) -> None:
    host: Host = request.getfixturevalue(name)
    unit = host.unit(kind)
    controlled = host.made(unit)
    assert not controlled.same(host.plain)
    assert close(controlled.images[0], host.headless(unit)[0])
    soft = host.made(host.unit(kind, weight="1>0.3", control_mode="prompt", guidance_end=0.75))
    assert not soft.same(controlled)
    assert host.made(host.unit(kind, weight=0)).same(host.plain)
    assert host.made().same(host.plain)


@pytest.mark.parametrize("pair", [("sd15", "ldm", "diffusers"), ("sdxl", "xl-ldm", "xl-diffusers")])
def test_both_layouts_are_one_network(request: pytest.FixtureRequest, pair: tuple[str, str, str]) -> None:
    """To the last rounding: weights that lie elsewhere in memory may be added up in another order."""
    host: Host = request.getfixturevalue(pair[0])
    ours, theirs = (host.made(host.unit(name)).images[0] for name in pair[1:])
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_a_difference_file_is_its_network(sd15: Host) -> None:
    mine, whole = (sd15.made(sd15.unit(kind)).images[0] for kind in ("difference", "absolute"))
    assert np.abs(mine.astype(int) - whole.astype(int)).max() <= 3  # the checkpoint was rounded to float16


def test_names_tell_shuffle_and_inpaint(sd15: Host) -> None:
    assert not sd15.made(sd15.unit("shuffle")).same(sd15.made(sd15.unit("ldm")))
    hollow = scene().convert("RGBA")
    hollow.paste((0, 0, 0, 0), (0, 0, SIZE // 2, SIZE))
    holed = {"image": encoded(hollow), "preprocessor": "none"}
    assert not sd15.made(sd15.unit("inpaint", **holed)).same(sd15.made(sd15.unit("ldm", **holed)))


@pytest.mark.parametrize(("name", "kind"), [pair for pair in KINDS if "diffusers" not in pair[1]])
def test_two_units_with_one_network_keep_their_pictures(
    request: pytest.FixtureRequest, name: str, kind: str
) -> None:
    host: Host = request.getfixturevalue(name)
    here, there = host.unit(kind, weight=0.6), host.unit(kind, weight=0.6, **THERE)
    both = host.made(here, there)
    assert not both.same(host.made(here, here))
    assert not both.same(host.made(there, there))
    assert close(both.images[0], host.headless(here, there)[0])


def test_eight_units_of_all_families_in_both_passes(host: Host) -> None:
    kinds = list(host.files)
    units = [host.unit(kinds[place % len(kinds)], weight=0.4) for place in range(8)]
    if host.checkpoint.startswith("ctrlgen-tiny"):
        units[-2:] = [EDGES | {"weight": 0.4}, PICTURE]
    stacked = host.made(*units, **HIRES, batch_size=2)
    free = host.made(**HIRES, batch_size=2)
    for number in range(2):
        assert (stacked.images[number] != free.images[number]).any()
    assert host.made().same(host.plain)


@pytest.mark.parametrize(
    ("name", "kind"), [pair for pair in KINDS if pair[1] in {"lora", "t2i-full", "xl-lllite", "xl-union"}]
)
@pytest.mark.parametrize(
    "fields",
    [HIRES, {"batch_size": 2, "sampler_name": "DPM++ 2M"}, {"prompt": "a cat AND a dog:0.5"}],
    ids=["hires", "batch", "and"],
)
def test_ways_of_sampling(
    request: pytest.FixtureRequest, name: str, kind: str, fields: dict[str, Any]
) -> None:
    host: Host = request.getfixturevalue(name)
    count = fields.get("batch_size", 1)
    assert not host.made(host.unit(kind), **fields).same(host.made(**fields), count)
    assert host.made().same(host.plain)


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_grid_of_weights_is_its_cells(request: pytest.FixtureRequest, name: str, kind: str) -> None:
    host: Host = request.getfixturevalue(name)
    script = {
        "script_name": "CtrlGen X/Y tuner",
        "script_args": [{"x": {"path": "Unit 0 weight", "values": "0, 0.5, 1"}, "name": f"live {kind}"}],
    }
    sheet = host.made(host.unit(kind), **script)
    cells = [picture for picture in sheet.images if picture.shape == (SIZE, SIZE, 3)]
    for cell, weight in zip(cells, (0, 0.5, 1), strict=True):
        assert close(cell, host.made(host.unit(kind, weight=weight)).images[0])


def test_a_file_for_another_family_says_both(sd15: Host, sdxl: Host) -> None:
    for host, unit in ((sd15, sdxl.unit("xl-ldm")), (sdxl, sd15.unit("ldm")), (sdxl, sd15.unit("lora"))):
        settings = {"sd_model_checkpoint": host.checkpoint}
        answer = host.webui.generate(unit, override_settings=settings)
        assert answer.status == 422
        assert answer.detail["path"] == "$.units[0].model"
        assert "576" in answer.detail["message"] or "64" in answer.detail["message"]


def test_a_union_without_a_type_is_asked_for_one(sdxl: Host) -> None:
    unit = sdxl.unit("xl-union", preprocessor="none", params={})
    answer = sdxl.webui.generate(unit, override_settings={"sd_model_checkpoint": sdxl.checkpoint})
    assert answer.status == 422
    assert answer.detail["path"] == "$.units[0].params.union_type"
