"""Several references of an IP-Adapter unit: how they are combined, seen, and kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from lib_ctrlgen.controls.ip_adapter.combine import combined
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.clip_vision import MEAN, STD, centre_square, find_encoder, load_tower
from lib_ctrlgen.models.offload import Offloaded
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from tests.support import control_files as files
from tests.support.ip_adapter_units import loaded, mixed, prepared, refused, unit, write

SITES = DiffusersUNet(files.unet()).attention_sites()
CPU = torch.device("cpu")
PICTURES = [files.data_url(50, 40), files.data_url(40, 40, seed=1), files.data_url(30, 60, seed=2)]
WEIGHTS = (1.0, 0.5, -2.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write(root, "plain")
    files.save_vision(root / "clip_vision" / "tower")
    return root


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """The pictures' pooled embeddings [3, 40], by the fixture's encoder built anew."""
    network = files.save_vision(tmp_path_factory.mktemp("again") / "tower")
    looks = torch.cat([pixels(centre_square(decode_image(text, ""), 32)) for text in PICTURES])
    embeds: Tensor = network(looks).image_embeds
    return embeds


def pixels(picture: Image.Image) -> Tensor:
    """The encoder's input [1, 3, 32, 32] of a square picture."""
    values = np.asarray(centre_square(picture, 32), np.float32) / 255
    normal = (values - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(normal).permute(2, 0, 1)[None]


@pytest.fixture
def store(folder: Path) -> ModelStore:
    return ModelStore([folder], 1 << 30)


def head(features: Tensor) -> Tensor:
    """Tokens [1, 4, X] of features [40], by diffusers' module with the fixture's weights."""
    projection: Callable[[Tensor], Tensor] = files.plain_projection()[0]
    return projection(features[None])


def reference(place: int, weight: Any = 1.0, **fields: Any) -> dict[str, Any]:
    return {"image": PICTURES[place], "weight": weight, **fields}


FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda e: e[0] + e[1] + e[2],
    "subtract": lambda e: e[0] - (e[1] + e[2]) / 2,
    "average": lambda e: (e[0] + e[1] + e[2]) / 3,
    "norm_average": lambda e: sum(each / (e[0] ** 2 + e[1] ** 2 + e[2] ** 2) ** 0.5 for each in e) / 3,
    "max": lambda e: torch.maximum(torch.maximum(e[0], e[1]), e[2]),
    "min": lambda e: torch.minimum(torch.minimum(e[0], e[1]), e[2]),
}


@pytest.mark.parametrize("method", [*FORMULAS, "concat"])
def test_references_are_combined_before_the_head(store: ModelStore, features: Tensor, method: str) -> None:
    references = [reference(place, WEIGHTS[place]) for place in (1, 2)]
    cond, uncond = prepared(store, unit(references=references, combine=method)).tokens()
    weighted = features * torch.tensor(WEIGHTS)[:, None]
    sets = weighted if method == "concat" else [FORMULAS[method](weighted)]
    torch.testing.assert_close(cond, torch.cat([head(each) for each in sets], dim=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(uncond, head(torch.zeros(40)))


def test_norm_average_keeps_small_numbers_of_half_precision() -> None:
    small = torch.full((1, 3), 1e-4, dtype=torch.float16)
    ((found,),) = combined([(small,), (small,)], (1.0, 1.0), "norm_average")
    torch.testing.assert_close(found, torch.full((1, 3), 0.5**0.5))


def test_a_unit_without_its_own_picture(store: ModelStore) -> None:
    first = prepared(store, unit())
    other = prepared(store, unit(image="", references=[reference(0)]))
    assert torch.equal(first.cond, other.cond)


def test_weights_of_references_change_over_the_steps(store: ModelStore, features: Tensor) -> None:
    item = unit(references=[reference(1, "1@0, 0@0.5")], combine="average")
    control = mixed(store, item)
    runs: list[int] = []
    control.weights.projection.register_forward_hook(lambda *_: runs.append(1))
    for step in (0, 1, 2, 2, 3, 1, 0):
        (part,) = control.parts(step / 4)
        share = max(0.0, 1 - step / 2)
        wanted = head((features[0] + share * features[1]) / 2)
        torch.testing.assert_close(part.control.cond, wanted, atol=1e-5, rtol=0)
    assert len(runs) == 3 * 2, "three weights, each with a token set for both kinds of rows"
    assert control.parts(0.75)[0] is control.parts(0.5)[0]


def test_a_negative_picture_and_noise(store: ModelStore, features: Tensor) -> None:
    cond, uncond = prepared(store, unit(references=[reference(2, role="negative")])).tokens()
    torch.testing.assert_close(cond, head(features[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(uncond, head(features[2]), atol=1e-5, rtol=0)
    found = {}
    for kind in ("fade", "dissolve", "gaussian", "shuffle"):
        for strength in (0.0, 1.0):
            params = {"negative_noise": kind, "negative_noise_strength": strength}
            found[kind, strength] = prepared(store, unit(params=params)).uncond
        again = ModelStore(store.roots, 1 << 30)
        assert torch.equal(prepared(again, unit(params=params)).uncond, found[kind, 1.0]), "seeded"
    for kind in ("fade", "dissolve", "gaussian"):
        torch.testing.assert_close(found[kind, 0.0], head(features[0]), atol=1e-5, rtol=0)
    kinds = {tuple(each.flatten().tolist()) for each in found.values()}
    assert len(kinds) == 1 + 4, "full fade and full dissolve are the same noise"
    params = {"negative_noise": "fade", "negative_noise_strength": 0}
    item = unit(references=[reference(1, role="negative")], params=params)
    torch.testing.assert_close(prepared(store, item).uncond, head(features[1]), atol=1e-5, rtol=0)


def keys_of(store: ModelStore, folder: Path, features: Tensor, place: int) -> Tensor:
    weight = load_file(folder / "adapter.safetensors")[f"ip_adapter.{2 * place + 1}.to_k_ip.weight"]
    return head(features) @ weight.T


def test_a_composition_picture_has_its_own_layers(store: ModelStore, folder: Path, features: Tensor) -> None:
    params = {"weight_type": "style and composition"}
    item = unit(params=params, references=[reference(1, role="composition"), reference(2)])
    pairs = prepared(store, item).terms(SITES, torch.float32, CPU)
    for place, pair in enumerate(pairs):
        wanted = [keys_of(store, folder, features[k], place) for k in ((1,) if place in (4, 5) else (0, 2))]
        torch.testing.assert_close(pair.keys[1], torch.cat(wanted, dim=1)[0], atol=1e-5, rtol=0)
        null = keys_of(store, folder, torch.zeros(40), place)[0]
        torch.testing.assert_close(pair.keys[0], null.repeat(len(wanted), 1), atol=1e-5, rtol=0)


def test_precise_types_swap_the_rows(store: ModelStore, folder: Path, features: Tensor) -> None:
    pairs = prepared(store, unit(params={"weight_type": "style transfer precise"})).terms(
        SITES, torch.float32, CPU
    )
    plain = prepared(store, unit()).terms(SITES, torch.float32, CPU)
    for place, (pair, own) in enumerate(zip(pairs, plain, strict=True)):
        if place in (4, 5):
            assert torch.equal(pair.keys[0], own.keys[1])
            assert torch.equal(pair.values[0], own.values[1])
            assert not pair.keys[1].any()
            assert not pair.values[1].any()
        else:
            assert torch.equal(pair.keys, own.keys)


def test_tiles_each_with_its_share(store: ModelStore) -> None:
    long = files.data_url(96, 32)
    control = mixed(store, unit(image=long, params={"tiles": 4}))
    parts = control.parts(0.0)
    assert len(parts) == 3
    assert control.seen.size == (96, 32)
    picture = decode_image(long, "")
    for k, part in enumerate(parts):
        alone = files.encode_image(picture.crop((32 * k, 0, 32 * k + 32, 32)))
        torch.testing.assert_close(part.control.cond, prepared(store, unit(image=alone)).cond)
        assert part.share is not None
        share = part.share(4, 6)[0, 0]
        assert share[:, 2 * k : 2 * k + 2].min() == 1
        assert share.sum() == 8
    assert prepared(store, unit(params={"tiles": 1})).cond.shape == (1, 4, files.CONTEXT)


@pytest.mark.parametrize("kind", ["plain", "plus"])
def test_details_are_pooled_to_one_more_set(tmp_path: Path, kind: str) -> None:
    projection = write(tmp_path, kind)
    network = files.save_vision(tmp_path / "tower")
    square = files.data_url(64, 64, seed=4)
    params = {"enhance_tiles": 2, "enhance_ratio": 0.5}
    control = prepared(ModelStore([tmp_path], 1 << 30), unit(image=square, params=params))
    picture = decode_image(square, "")
    boxes = [(32 * x, 32 * y, 32 * x + 32, 32 * y + 32) for y in range(2) for x in range(2)]
    looks = torch.cat([pixels(picture), *(pixels(picture.crop(box)) for box in boxes)])
    if kind == "plain":
        found = network(looks).image_embeds
        sets = [found[:1] * 0.5, found[1:].mean(0, keepdim=True)]
    else:
        found = network(looks, output_hidden_states=True).hidden_states[-2]
        merged = torch.zeros(8, 8, found.shape[-1])  # four parts of 4 x 4 tokens
        for k, part in enumerate(found[1:, 1:].reshape(4, 4, 4, -1)):
            merged[4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] = part
        cells = [
            merged[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((0, 1)) for y in range(4) for x in range(4)
        ]
        sets = [found[:1] * 0.5, torch.stack([found[1:, 0].mean(0), *cells])[None]]
    wanted = torch.cat([projection(each) for each in sets], dim=1)
    torch.testing.assert_close(control.cond, wanted, atol=1e-4, rtol=0)


def test_what_is_seen_depends_on_crop_and_sharpening(store: ModelStore) -> None:
    towers: list[int] = []
    looks = {}
    wide = files.data_url(64, 32, seed=3)
    for params in ({}, {"crop": "left"}, {"crop": "right"}, {"crop": "pad"}, {"sharpening": 1.0}):
        control = prepared(store, unit(image=wide, params=params))
        looks[str(params)] = control.cond
        network = next(each.value.network for each in store._cache.values() if hasattr(each.value, "network"))
        if not towers:
            network.register_forward_hook(lambda *_: towers.append(1))
            towers.append(1)
        prepared(store, unit(image=wide, params=params))
    assert len(towers) == len(looks) == len({tuple(each.flatten().tolist()) for each in looks.values()})


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"image": "", "references": [reference(0, role="negative")]}, "image", "no picture of its own"),
        ({"references": [reference(0, role="composition")]}, "references[0].role", "style and composition"),
        ({"references": [{"embedding": "aGk="}]}, "references[0].embedding", "looks at pictures"),
        ({"params": {"weight_type": "styel"}}, "params.weight_type", "unknown choice"),
        ({"params": {"tiles": 17}}, "params.tiles", "1..16"),
    ],
)
def test_wrong_references(store: ModelStore, fields: dict[str, Any], path: str, message: str) -> None:
    error = refused(unit(**fields), store)
    assert error.path == f"$.units[0].{path}"
    assert message in error.message


def test_a_second_generation_runs_no_encoder(store: ModelStore) -> None:
    item = unit(references=[reference(1), reference(2, role="negative")])
    loaded(store, item)
    reads = store.reads
    tower = next(each.value for each in store._cache.values() if hasattr(each.value, "network"))
    tower.network.forward = None  # a call of it would fail
    again = ModelStore(store.roots, 1 << 30)
    again._cache.update({key: entry for key, entry in store._cache.items() if entry.value is not tower})
    loaded(again, item)
    assert (again.reads, store.reads) == (0, reads), "the encoder is not even loaded"


def test_an_encoder_is_on_a_gpu_only_while_it_encodes(store: ModelStore) -> None:
    """`meta` stands for a GPU."""
    placement = Placement(device=torch.device("meta"), dtype=torch.float32)
    weights = load_tower(store, find_encoder(store, "pooled", 40), placement).weights
    assert isinstance(weights, Offloaded)
    assert {flat.device.type for flat in weights.flats.values()} == {"cpu"}
