"""ControlNet Union compared with diffusers' own network, with one or several control types."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.controlnet.union_types import CHOICES, type_number
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessors
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from tests.support import control_files as files
from tests.support import networks
from tests.support.block_reference import Reference
from tests.support.networks import Call, Script
from tests.support.pictures import mask_image
from tests.support.union_reference import (
    PICTURES,
    TYPES,
    load,
    needs_union,
    network_calls,
    run,
    sdxl_call,
    their_network,
    their_residuals,
    union_tensors,
    unit,
)

TOLERANCE = 1e-4


@pytest.fixture
def store(tmp_path: Path, request: pytest.FixtureRequest) -> ModelStore:
    """A file with diffusers' names, or with ldm's where a test asks for them."""
    tensors = union_tensors()
    named = files.to_ldm(tensors) if getattr(request, "param", "") == "ldm" else tensors
    save_file(named, tmp_path / "union.safetensors")
    return ModelStore([tmp_path], 1 << 30)


@pytest.fixture(scope="module")
def unet() -> Any:
    pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    return networks.sgm_unet()


def controlled(
    unet: Any, units: Sequence[ActiveUnit], call: Call, step: int, variants: Sequence[Any] = ()
) -> Tensor:
    script = Script(4, [(step, call.rows)])
    with torch.no_grad(), ControlSession(LdmUNet(unet), units, script, variants):
        return run(unet, call)


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1))


Maps = list[tuple[int, int, float]]
STACKS: dict[str, tuple[list[dict[str, Any]], Maps, Maps]] = {
    # the units, and what acts in the first and in the third of four steps
    "one": ([unit(0, "depth", weight=0.7)], [(0, 1, 0.7)], [(0, 1, 0.7)]),
    "two": (
        [unit(0, "canny", weight=0.7), unit(1, "openpose", weight=0.4)],
        [(0, 3, 0.7), (1, 0, 0.4)],
        [(0, 3, 0.7), (1, 0, 0.4)],
    ),
    "three, two of a type, scheduled, one with a window": (
        [
            unit(0, "scribble", weight="1>0"),
            unit(1, "normal", guidance_end=0.5, weight=0.9),
            unit(2, "hed", weight=0.3),
        ],
        [(0, 2, 1.0), (1, 4, 0.9), (2, 2, 0.3)],
        [(0, 2, 0.5), (2, 2, 0.3)],
    ),
    "ProMax": (
        [unit(0, "tile"), unit(1, "repaint", weight=0.5)],
        [(0, 6, 1), (1, 7, 0.5)],
        [(0, 6, 1), (1, 7, 0.5)],
    ),
}


@needs_union
@pytest.mark.parametrize(
    ("store", "name"),
    [*(("diffusers", name) for name in STACKS), ("ldm", "two"), ("ldm", "ProMax")],
    indirect=["store"],
)
def test_one_pass_equals_diffusers(store: ModelStore, unet: Any, name: str) -> None:
    items, *steps = STACKS[name]
    loaded, theirs = load(store, unet, *items), their_network()
    call, vector = sdxl_call("c0 c1 u0 u1", 3)
    reference, rows_hook = Reference(unet, []), network_calls(loaded)
    plain = run(unet, call)
    for step, maps in zip((0, 2), steps, strict=True):
        found = controlled(unet, loaded, call, step)
        with torch.no_grad():
            added = their_residuals(theirs, call, vector, maps)
            whole = [
                reference.blocks(call.row(row), [layer[row : row + 1] for layer in added]) for row in range(4)
            ]
        assert off(found, torch.cat(whole)) <= TOLERANCE
        assert float((found - plain).abs().max()) > 1e-2
    assert rows_hook[0] == [4, 4], "one call a step, with a row for each of the U-Net's"
    rows_hook[1].remove()
    assert torch.equal(run(unet, call), plain)


@needs_union
def test_more_blocks_and_the_first_file_with_six_types(tmp_path: Path, unet: Any) -> None:
    save_file(union_tensors(6, 2), tmp_path / "union.safetensors")
    loaded = load(ModelStore([tmp_path], 1 << 30), unet, unit(0, "segment"), unit(1, "depth"))
    call, vector = sdxl_call("c0 u0", 3)
    reference = Reference(unet, [])
    theirs = their_network(6, 2)
    types = torch.zeros(1, 6)
    types[:, [5, 1]] = 1
    for row in range(2):
        one, part = call.row(row), slice(row, row + 1)
        with torch.no_grad():
            *down, mid = theirs(
                one.x,
                one.timestep,
                one.context,
                [to_hint(PICTURES[0]), to_hint(PICTURES[1])],
                control_type=types,
                control_type_idx=[5, 1],
                added_cond_kwargs={"time_ids": vector[0][part], "text_embeds": vector[1][part]},
                return_dict=False,
            )
            wanted = reference.blocks(one, [*down[0], mid])
        assert off(controlled(unet, loaded, call, 0)[part], wanted) <= TOLERANCE


def apart(store: ModelStore, unet: Any, *units: dict[str, Any]) -> list[ActiveUnit]:
    """The same units, each with a network of its own."""
    found = []
    for index, each in enumerate(units):
        (loaded,) = load(ModelStore(store.roots, 1 << 30), unet, each)
        found.append(replace(loaded, index=index))
    return found


def test_units_that_act_in_another_way_are_rows_of_the_same_call(store: ModelStore, unet: Any) -> None:
    mask = encode_image(mask_image(3))
    items = [
        unit(0, "canny", weight=0.7, mask=mask),
        unit(1, "depth", weight=0.4, control_mode="prompt"),
        unit(2, "normal", control_mode="control"),
        unit(2, "hed", layer_weights=[k / 9 for k in range(10)]),
    ]
    call, _ = sdxl_call("c0 c1 u0 u1", 3)
    loaded = load(store, unet, *items)
    rows, hook = network_calls(loaded)
    found = controlled(unet, loaded, call, 0)
    hook.remove()
    assert rows == [4 + 4 + 2 + 4]
    assert off(found, controlled(unet, apart(store, unet, *items), call, 0)) <= 1e-5


def test_images_with_numbers_of_their_own(store: ModelStore, unet: Any) -> None:
    items = [unit(0, "canny"), unit(1, "depth")]
    loaded = load(store, unet, *items)
    cells = [[(1, 0.5)], [(0.6, 0.2)], [(0.6, 0)], [(0, 0)]]
    variants = [
        tuple(replaced(active.spec, weight) for active, weight in zip(loaded, cell[0], strict=True))
        for cell in cells
    ]
    call, _ = sdxl_call("c0 c1 c2 c3 u0 u1 u2 u3", 3)
    rows, hook = network_calls(loaded)
    found = controlled(unet, loaded, call, 0, variants)
    hook.remove()
    assert rows == [6], "a call for three images that it acts on"
    for image, specs in enumerate(variants):
        own = [replace(active, spec=spec) for active, spec in zip(loaded, specs, strict=True)]
        pair = [image, 4 + image]
        assert off(found[pair], controlled(unet, own, call.take(pair), 0)) <= TOLERANCE


def replaced(spec: ControlUnit, weight: float) -> ControlUnit:
    payload = {"model": spec.model, "params": spec.params, "weight": weight}
    return parse_request({"units": [payload]}).units[0]


@pytest.mark.parametrize(
    ("preprocessor", "kind", "number"),
    [("canny", "auto", 3), ("canny", "depth", 1), ("none", "mlsd", 3), ("invert", "lineart", 3)],
)
def test_the_type_is_named_or_guessed(
    store: ModelStore, unet: Any, preprocessor: str, kind: str, number: int
) -> None:
    (loaded,) = load(store, unet, unit(0, kind, preprocessor=preprocessor))
    control: Any = loaded.control
    assert control.kind == number


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"'none' does not determine the type.*openpose, depth"),
        ({"preprocessor": "invert"}, r"'invert' does not determine"),
        ({"params": {"union_type": "cany"}}, r"unknown choice 'cany'"),
        ({"params": {"union_type": "tile"}}, r"no type 'tile': it needs a ProMax file"),
    ],
)
def test_a_type_that_cannot_be_told_is_an_error_at_its_place(
    tmp_path: Path, unet: Any, fields: dict[str, Any], message: str
) -> None:
    save_file(union_tensors(6), tmp_path / "union.safetensors")
    with pytest.raises(RequestError, match=message) as raised:
        load(ModelStore([tmp_path], 1 << 30), unet, unit(0) | fields)
    assert raised.value.path == "$.units[0].params.union_type"


def test_every_choice_has_a_number_and_preprocessors_name_one() -> None:
    assert {type_number(name) for name in CHOICES[1:]} == set(range(TYPES))
    named = {item.name: item.union_type for item in preprocessors() if item.union_type}
    tiles = dict.fromkeys(("tile_resample", "tile_colorfix", "tile_colorfix+sharp"), "tile")
    holes = dict.fromkeys(("inpaint", "inpaint_only", "inpaint_only+lama"), "inpaint")
    some = {"canny": "canny", "openpose_json": "openpose"} | tiles | holes
    assert some.items() <= named.items()
    assert set(named.values()) <= set(CHOICES)


def test_what_is_to_be_repainted_is_black(store: ModelStore, unet: Any) -> None:
    picture = files.picture(64, 64, 3).convert("RGBA")
    picture.paste((255, 255, 255, 0), (0, 0, 32, 64))
    (loaded,) = load(store, unet, unit(0, "repaint", image=encode_image(picture)))
    control: Any = loaded.control
    seen = control.map.pixels(64, 64)
    assert torch.equal(seen[:, :, :, :32], torch.zeros(1, 3, 64, 32))
    assert torch.equal(seen, to_hint(control.control_map(64, 64)))
    assert torch.equal(seen[:, :, :, 32:], to_hint(files.picture(64, 64, 3))[:, :, :, 32:])


@pytest.mark.parametrize("damage", ["task_embedding", "control_add_embedding", "transformer_layes", "attn"])
def test_incomplete_files_are_model_errors(tmp_path: Path, unet: Any, damage: str) -> None:
    tensors = {key: value for key, value in union_tensors().items() if damage not in key}
    save_file(tensors, tmp_path / "union.safetensors")
    with pytest.raises(RequestError) as raised:
        load(ModelStore([tmp_path], 1 << 30), unet, unit(0, "canny"))
    assert raised.value.path.startswith("$.units[0].")
