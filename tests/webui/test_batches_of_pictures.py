"""Each batch of a WebUI generation uses its own control images, also with "Only masked"."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.forms import unit_fields
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.per_picture import picture_inputs
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from tests.support import control_files as files
from tests.support.constant_control import Pushes
from tests.support.fake_webui import FakeWebUI, Processing
from tests.support.inpainting import GIVEN, masked


@pytest.fixture
def pushing(monkeypatch: pytest.MonkeyPatch, script: Any) -> dict[str, Pushes]:
    """Every part of a unit is a control of its own, by its picture."""
    made: dict[str, Pushes] = {}

    def loaded(units: Sequence[ControlUnit], target: Target) -> tuple[ActiveUnit, ...]:
        canvas = target.canvas
        parts = [
            (k, unit, each)
            for k, unit in enumerate(units)
            if unit.enabled
            for each in picture_inputs(unit, canvas.pictures, f"$.units[{k}]")
        ]
        return tuple(
            ActiveUnit(
                index=k,
                spec=unit,
                control=made.setdefault(each.image, Pushes()),
                pictures=each.pictures,
                crop=canvas.crop,
            )
            for k, unit, each in parts
        )

    monkeypatch.setattr("lib_ctrlgen.controls.prepare.load_units", loaded)
    return made


def test_the_batches_of_a_generation_take_their_own_pictures(
    host: FakeWebUI, script: Any, pushing: dict[str, Pushes]
) -> None:
    texts = [encode_image(files.picture(8, 8, seed)) for seed in (1, 2, 3)]
    images = [texts[0], texts[1], texts[0], texts[2]]
    p = Processing(host, prompts=[["a"], ["b"]], batch_size=2, n_iter=2, steps=2)
    script.process(p, {"units": [{"model": "m", "images": images}]})
    found = []
    for p.iteration in range(2):
        p.sample()
        found.append({text: [c.position.rows.image for c in made.calls] for text, made in pushing.items()})
        for made in pushing.values():
            made.calls.clear()
    both = [(0, 0), (0, 0)]
    assert found[0] == {texts[0]: both, texts[1]: [(1, 1)] * 2, texts[2]: []}
    assert found[1] == {texts[0]: both, texts[1]: [], texts[2]: [(1, 1)] * 2}
    entries = [json.loads(text)["units"][0] for text in p.extra_generation_params["CtrlGen"]]
    assert len(entries) == 4
    assert entries[0] == entries[2] != entries[1]
    assert all("images" not in entry and entry["image"].startswith("sha:") for entry in entries)


def test_a_tuners_cells_each_have_all_the_pictures(
    host: FakeWebUI, script: Any, pushing: dict[str, Pushes]
) -> None:
    """Two cells of two pictures in one batch; a list for one picture of a cell each is refused."""
    module = __import__("lib_ctrlgen.webui.sampling.cell_batch", fromlist=["CellBatch"])
    texts = [encode_image(files.picture(8, 8, seed)) for seed in (1, 2)]
    cells = [
        parse_request({"units": [{"model": "m", "images": texts, "weight": weight}]}) for weight in (1, 0.5)
    ]
    batch = module.CellBatch(requests=tuple(cells), sizes=(2, 2), scales=(7.0, 7.0))
    p = Processing(host, prompts=[["a"]] * 4, batch_size=4, steps=2)
    script.process(p, batch)
    held = vars(p)["sample"]
    assert [unit.pictures for unit in held.parts[0].units] == [(0, 2), (1, 3)]
    p.sample()
    assert all(made.calls for made in pushing.values())
    entries = [json.loads(text)["units"][0] for text in p.extra_generation_params["CtrlGen"]]
    assert [entry.get("weight", 1) for entry in entries] == [1, 1, 0.5, 0.5]
    assert [entry["image"] for entry in entries[:2]] == [entry["image"] for entry in entries[2:]]
    script.process(p, module.CellBatch(requests=tuple(cells), sizes=(1, 1), scales=(7.0, 7.0)))
    with pytest.raises(RequestError, match="2 pictures for a generation of 1"):
        p.sample()


def test_the_webui_must_paint_the_part_that_the_pictures_were_cut_for(
    host: FakeWebUI, script: Any, pushing: dict[str, Pushes]
) -> None:
    request = {"units": [{"model": "m", "image": encode_image(GIVEN)}]}
    p = masked(host)
    script.process(p, request)
    p.paste_to = (24, 8, 64, 64)  # type: ignore[attr-defined] # what its `init` sets
    p.sample()
    assert [call.size for call in pushing[encode_image(GIVEN)].calls] == [(8, 8)] * 4
    other = masked(host)
    script.process(other, request)
    other.paste_to = (0, 0, 64, 64)  # type: ignore[attr-defined]
    with pytest.raises(HostError, match="another extension changed the inpainting mask"):
        other.sample()
    assert host.callbacks.count == 0
    p.image_mask = None  # type: ignore[attr-defined] # the same `p` again, as scripts do
    script.process(p, request)
    p.sample()


def test_a_list_of_another_length_makes_no_picture(
    host: FakeWebUI, script: Any, pushing: dict[str, Pushes]
) -> None:
    with pytest.raises(RequestError, match="2 pictures for a generation of 1"):
        host.process_images(
            script, Processing(host), {"units": [{"model": "m", "images": [encode_image(GIVEN)] * 2}]}
        )


def test_disabled_units_do_not_ask_for_an_init_image(host: FakeWebUI, script: Any) -> None:
    off = {"units": [{"model": "m", "image_from": "init", "enabled": False}]}
    assert unit_fields.read_request([off]) == parse_request(off)
