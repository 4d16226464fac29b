"""Units with a picture or a mask for each picture of a batch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lib_ctrlgen.cluster.engines import NodeHost
from lib_ctrlgen.cluster.models import SharedModels
from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit, of_batch, repeated
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import save_picture
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.headless.outputs import write_generation
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.images.files import encode_image, image_hash
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors.canny import Canny
from lib_ctrlgen.preprocessors.none import NoPreprocessor
from lib_ctrlgen.request.batching import alike
from lib_ctrlgen.request.per_picture import for_picture
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support import networks
from tests.support.acting_units import TOLERANCE, WAYS, A, B, C, controlled, half
from tests.support.networks import (
    TokenControl,
    active,
    random_call,
)
from tests.support.pictures import CLOSE, difference
from tests.support.unet_calls import (
    counted,
    port_of,
    relative_error,
    run,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save_file(networks.controlnet(1).state_dict(), root / "net.safetensors")
    return root


def loaded(folder: Path, unet: Any, count: int, *items: dict[str, Any]) -> tuple[ActiveUnit, ...]:
    units = parse_request({"units": [{"model": "net", **item} for item in items]}).units
    store = ModelStore([folder], 1 << 30)
    return load_units(units, Target(store=store, shape=port_of(unet).shape, canvas=Canvas(pictures=count)))


@pytest.mark.parametrize("way", WAYS)
def test_a_unit_acts_on_its_own_pictures_alone(unet: Any, way: str) -> None:
    first, other = (replace(active(WAYS[way](seed), 0), pictures=None) for seed in (1, 2))
    units = [replace(first, pictures=(0, 2)), replace(other, pictures=(1,))]
    call = random_call("c0 c1 c2 c3 u0 u1 u2 u3", 5)
    found = controlled(unet, units, call)
    with torch.no_grad():
        plain = run(unet, call)
    for image in range(4):
        own = [first] if image in (0, 2) else [other] if image == 1 else []
        pair = [image, 4 + image]
        assert relative_error(found[pair], controlled(unet, own, call.take(pair))) <= TOLERANCE
    assert relative_error(found[3::4], plain[3::4]) <= TOLERANCE
    assert relative_error(found[:3], plain[:3]) > 1e-3
    with torch.no_grad():
        assert torch.equal(run(unet, call), plain)


def test_pictures_of_one_network_are_one_call_and_equal_ones_one_map(
    folder: Path, unet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Image.Image] = []
    monkeypatch.setattr(NoPreprocessor, "__call__", lambda _self, image: made.append(image) or image)
    units = loaded(folder, unet, 4, {"images": [A, B, A, C]}, {"image": B, "weight": 0.5})
    assert [unit.pictures for unit in units] == [(0, 2), (1,), (3,), None]
    assert [unit.index for unit in units] == [0, 0, 0, 1]
    call = random_call("c0 c1 c2 c3 u0 u1 u2 u3", 6)
    with counted(units) as rows:
        found = controlled(unet, units, call)
    assert rows == [16]
    assert len(made) == 3
    for image, picture in enumerate((A, B, A, C)):
        own = loaded(folder, unet, 1, {"image": picture}, {"image": B, "weight": 0.5})
        pair = [image, 4 + image]
        assert relative_error(found[pair], controlled(unet, own, call.take(pair))) <= TOLERANCE
    assert relative_error(found[0], controlled(unet, loaded(folder, unet, 1, {"image": C}), call)[0]) > 1e-3


def test_a_mask_for_each_picture(folder: Path, unet: Any) -> None:
    masks = [encode_image(half(left)) for left in (True, False)]
    units = loaded(folder, unet, 2, {"image": A, "masks": masks})
    call = random_call("c0 c1 u0 u1", 7)
    found = controlled(unet, units, call)
    for row, image in enumerate(call.rows.image):
        own = loaded(folder, unet, 1, {"image": A, "mask": masks[image]})
        assert relative_error(found[row : row + 1], controlled(unet, own, call.row(row))) <= TOLERANCE


@pytest.mark.parametrize(
    ("unit", "path", "words"),
    [
        ({"images": [A, B]}, "$.units[0].images", "2 pictures for a generation of 3"),
        ({"image": A, "masks": [A] * 4}, "$.units[0].masks", "4 pictures for a generation of 3"),
        ({"images": [A, "aGk=", B]}, "$.units[0].images[1]", "no readable picture"),
        ({"images": [A, B, B], "masks": [A, A, "aGk="]}, "$.units[0].masks[2]", "no readable picture"),
        ({"image": A, "image_from": "init"}, "$.units[0].image_from", "no img2img picture"),
        ({"image_from": "last"}, "$.units[0].image_from", "only the WebUI"),
    ],
)
def test_a_wrong_list_names_its_place(
    folder: Path, unet: Any, unit: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        loaded(folder, unet, 3, unit)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("unit", "path"),
    [
        ({"image": A, "images": [A]}, "images"),
        ({"image": A, "mask": A, "masks": [A]}, "masks"),
        ({"images": [A, ""]}, "images[1]"),
        ({"image": A, "mask_feather": 300}, "mask_feather"),
    ],
)
def test_a_unit_that_says_two_things_is_refused(unit: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({"units": [{"model": "net", **unit}]})
    assert caught.value.path == f"$.units[0].{path}"


def test_units_of_later_batches_and_of_cells() -> None:
    unit = replace(active(TokenControl(1)), pictures=(1, 2, 5))
    other = active(TokenControl(2), 1)
    assert [u.pictures for u in of_batch([unit, other], 0, 2)] == [(1,), None]
    assert [u.pictures for u in of_batch([unit, other], 1, 2)] == [(0,), None]
    assert [u.pictures for u in of_batch([unit, other], 3, 2)] == [None]
    assert [u.pictures for u in repeated([unit, other], 6, 2)] == [(1, 2, 5, 7, 8, 11), None]


def test_equal_pictures_are_a_plain_unit(folder: Path, unet: Any) -> None:
    for count in (1, 3):
        units = loaded(folder, unet, count, {"images": [A] * count}, {"image": A})
        assert [unit.pictures for unit in units] == [None, None]


def test_a_request_of_one_picture() -> None:
    request = parse_request(
        {"units": [{"model": "a", "images": [A, B], "mask": C}, {"model": "b", "image": C}]}
    )
    units = for_picture(request, 1).units
    assert [(unit.image, unit.images, unit.mask) for unit in units] == [(B, (), C), (C, (), "")]


# sizes


def test_every_pass_detects_at_its_own_size(folder: Path, unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hires pass asks the preprocessor for the larger map; `resolution` stays what it says."""
    asked: list[tuple[int, int]] = []
    found = Canny.__call__

    def noted(self: Canny, image: Image.Image, **params: Any) -> Image.Image:
        asked.append(image.size)
        return found(self, image, **params)

    monkeypatch.setattr(Canny, "__call__", noted)
    photo = files.data_url(200, 100, 9)
    fixed = {"image": photo, "preprocessor": "canny", "params": {"resolution": 64}}
    units = loaded(folder, unet, 1, {"image": photo, "preprocessor": "canny"}, fixed)
    for size in ((8, 8), (16, 24)):
        for _ in range(2):
            controlled(unet, units, random_call("c0 u0", 1, size))
    assert asked == [(64, 64), (64, 64), (192, 128), (96, 64)]


# the whole engine


def request(*units: dict[str, Any], **fields: Any) -> GenerationRequest:
    plain = {"prompt": "a red star", "width": 64, "height": 64, "steps": 3, "sampler": "Euler"}
    return parse_request({**plain, "units": list(units), **fields}, GenerationRequest)


EDGES = {"model": f"{models.NAME}-edges", "weight": 2}
LOOK = {"model": f"{models.NAME}-ip", "weight": 2}


def test_a_batch_with_pictures_of_its_own_is_the_single_generations(engine: Engine, tmp_path: Path) -> None:
    cells = [
        request(EDGES | {"images": [A, B], "weight": weight}, LOOK | {"images": [B, C]}, batch_size=2, seed=7)
        for weight in (2, 1)
    ]
    assert alike(cells[0]) == alike(cells[1])
    assert alike(cells[0]) != alike(
        request(EDGES | {"images": [B, A]}, LOOK | {"images": [B, C]}, batch_size=2)
    )
    made = engine.together(cells)
    for cell, weight in zip(made, (2, 1), strict=True):
        alone = [
            engine.generate(request(EDGES | {"image": a, "weight": weight}, LOOK | {"image": b}, seed=seed))
            for a, b, seed in ((A, B, 7), (B, C, 8))
        ]
        assert difference(cell.images, [each.images[0] for each in alone]) <= CLOSE
        assert cell.plan == alone[0].plan
    assert difference(made[0].images[:1], made[0].images[1:]) > CLOSE
    written = write_generation(cells[0], made[0], tmp_path)
    assert [path.name for path in written.control_maps] == [
        f"00000-map-0-00-{models.NAME}-edges.png", f"00000-map-0-01-{models.NAME}-edges.png",
        f"00000-map-1-00-{models.NAME}-ip.png", f"00000-map-1-01-{models.NAME}-ip.png",
    ]  # fmt: skip
    texts = []
    for path in written.images:
        with Image.open(path) as image:
            texts.append(image.info["ctrlgen"])
    assert texts[0] != texts[1]
    assert all('"images"' not in text for text in texts)


def written_requests(host: EngineHost, cell: GenerationRequest, path: Path) -> list[dict[str, Any]]:
    """The request that a host writes into each picture of a cell."""
    (made,) = host.generate([cell])
    found = []
    for image, info in zip(made.images, made.infos, strict=True):
        with Image.open(save_picture(image, path, info)) as saved:
            found.append(json.loads(saved.info["ctrlgen"]))
    return found


def test_every_engine_host_records_the_images_of_each_picture(engine: Engine, tmp_path: Path) -> None:
    cell = request(EDGES | {"images": [A, B]}, batch_size=2, seed=7, steps=1)
    hosts = EngineHost(engine=engine), NodeHost(engine=engine, models=SharedModels(folders=()))
    alone, node = (written_requests(host, cell, tmp_path / "picture.png") for host in hosts)
    assert node == alone
    assert [each["seed"] for each in alone] == [7, 8]
    hashes = [f"sha256:{image_hash(picture)}" for picture in (A, B)]
    assert [each["units"][0]["image"] for each in alone] == hashes


def test_a_job_names_pictures_by_folder_pattern_and_list(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        files.picture(8, 8, ord(name)).save(tmp_path / f"{name}.png")
    (tmp_path / "frames").mkdir()
    for name in ("a", "b"):
        files.picture(8, 8, ord(name)).save(tmp_path / "frames" / f"{name}.png")
    (tmp_path / "frames" / "notes.txt").write_text("no picture")
    job = tmp_path / "job.yaml"

    def images(named: str) -> tuple[str, ...]:
        job.write_text(f"batch_size: 2\nunits: [{{model: m, images: {named}}}]\n")
        return read_job(job).request.units[0].images

    by_folder = images("frames")
    assert len(by_folder) == 2
    assert images("'frames/*.png'") == images("[a.png, b.png]") == by_folder
    assert len(images("'*.png'")) == 3
    for wrong, path in (("nothing", "$.units[0].images"), ("[a.png, d.png]", "$.units[0].images[1]")):
        with pytest.raises(RequestError) as caught:
            images(wrong)
        assert caught.value.path == path
