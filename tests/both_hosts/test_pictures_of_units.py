"""What a unit's pictures are and where they act: one for each picture of a batch, regions, soft masks."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.cluster.engines import NodeHost
from lib_ctrlgen.cluster.models import SharedModels
from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.protocols import InputChange
from lib_ctrlgen.controls.unit import ActiveUnit, of_batch, repeated
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import save_picture
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.headless.outputs import write_generation
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.images.canvas import Canvas, Frame, feathered
from lib_ctrlgen.images.files import encode_image, image_hash
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors.canny import Canny
from lib_ctrlgen.preprocessors.none import NoPreprocessor
from lib_ctrlgen.request.batching import alike
from lib_ctrlgen.request.per_picture import single
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.attention import level_size
from lib_ctrlgen.unet.linear_sites import InputSite
from tests.support import control_files as files
from tests.support import headless_models as models
from tests.support import networks
from tests.support.networks import (
    SD_PLACES,
    Call,
    ContextNoise,
    FeatureNoise,
    NoiseControl,
    Script,
    TokenControl,
    active,
    random_call,
)
from tests.support.pictures import CLOSE, difference
from tests.support.unet_calls import (
    RESIDUAL_CHANNELS,
    RESIDUAL_SIZES,
    counted,
    port_of,
    relative_error,
    run,
    sd_ldm,
)

A, B, C = (files.data_url(64, 64, seed) for seed in (3, 4, 5))
TOLERANCE = 1e-5


@dataclass(eq=False)
class InputNoise:
    """An `InputControl`: a change of what attention reads that depends on what it reads."""

    seed: int
    layers: int = 1

    def present(self) -> AbstractContextManager[None]:
        return nullcontext()

    def changes(self, sites: Sequence[InputSite], size: tuple[int, int]) -> Mapping[str, InputChange]:
        return {site.name: InputChange(0, self.change(place)) for place, site in enumerate(sites)}

    def change(self, place: int) -> Callable[[Tensor], Tensor]:
        def of(x: Tensor) -> Tensor:
            generator = torch.Generator().manual_seed(1000 * self.seed + place)
            return torch.tanh(x) * torch.randn(1, *x.shape[1:], generator=generator)

        return of

    def control_map(self, width: int, height: int) -> Image.Image:
        raise NotImplementedError


WAYS: dict[str, Callable[[int], Any]] = {
    "residual": lambda seed: NoiseControl(RESIDUAL_CHANNELS, RESIDUAL_SIZES, seed),
    "attention": TokenControl,
    "features": lambda seed: FeatureNoise(SD_PLACES, seed),
    "inputs": InputNoise,
    "context": ContextNoise,
}


@pytest.fixture(scope="module")
def unet() -> Any:
    return sd_ldm()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save_file(networks.controlnet(1).state_dict(), root / "net.safetensors")
    return root


def controlled(unet: Any, units: Sequence[ActiveUnit], call: Call, step: int = 0) -> Tensor:
    with torch.no_grad(), ControlSession(port_of(unet), units, Script(4, [(step, call.rows)])):
        return run(unet, call)


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
    units = single(request, 1).units
    assert [(unit.image, unit.images, unit.mask) for unit in units] == [(B, (), C), (C, (), "")]


# regions


def half(left: bool, size: int = 64) -> Image.Image:
    """White on one side of the middle."""
    mask = Image.new("L", (size, size))
    mask.paste(255, (0, 0, size // 2, size) if left else (size // 2, 0, size, size))
    return mask


def thirds() -> list[Image.Image]:
    """Three columns of 24, 16 and 24 pixels."""
    masks = []
    for start, end in ((0, 24), (24, 40), (40, 64)):
        masks.append(Image.new("L", (64, 64)))
        masks[-1].paste(255, (start, 0, end, 64))
    return masks


@pytest.mark.parametrize("feather", [0, 6])
def test_three_regions_with_units_of_their_own_are_the_formula(unet: Any, feather: float) -> None:
    """R_k = sum_u s_u,k out_u,k mask_u, on the residuals themselves."""
    controls = [NoiseControl(RESIDUAL_CHANNELS, RESIDUAL_SIZES, seed) for seed in (1, 2, 3)]
    settings: list[dict[str, Any]] = [
        {"weight": 0.5},
        {"weight": 1.5, "mask_strength": 0.75},
        {"control_mode": "prompt"},
    ]
    units = [
        active(control, k, mask, mask_feather=feather, **own)
        for k, (control, mask, own) in enumerate(zip(controls, thirds(), settings, strict=True))
    ]
    call = random_call("c0 u0", 8)
    soft = [0.825 ** (12 - k) for k in range(13)]
    layers = [
        torch.zeros(2, channels, *size)
        for channels, size in zip(RESIDUAL_CHANNELS, RESIDUAL_SIZES, strict=True)
    ]
    weights = ([0.5] * 13, [1.5] * 13, soft)
    for control, mask, by, strength in zip(controls, thirds(), weights, (1, 0.75, 1), strict=True):
        pixels = np.asarray(mask, np.float64) / 255
        if feather:
            pixels = gaussian(pixels, feather)
        cells = torch.from_numpy(1 - strength * (1 - pixels))[None, None]
        for k, (layer, raw) in enumerate(zip(layers, control.raw(2).layers, strict=True)):
            layer.add_(by[k] * raw * functional.adaptive_avg_pool2d(cells, layer.shape[-2:]).float())
    wanted = NoiseControl(RESIDUAL_CHANNELS, RESIDUAL_SIZES, 0)
    wanted.raw = lambda batch: type(controls[0].raw(1))(tuple(layers[:-1]), layers[-1])  # type: ignore[method-assign]
    assert (
        relative_error(controlled(unet, units, call), controlled(unet, [active(wanted)], call)) <= TOLERANCE
    )


def gaussian(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """A dense convolution with the normalised Gaussian as far as four sigmas, the border repeated."""
    reach = int(np.ceil(4 * sigma))
    at = np.arange(-reach, reach + 1)
    kernel = np.exp(-(at**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        around = [(0, 0), (0, 0)]
        around[axis] = (reach, reach)
        padded = np.pad(pixels, around, mode="edge")
        pixels = np.apply_along_axis(lambda line: np.convolve(line, kernel, "valid"), axis, padded)
    return pixels


def test_the_feather_is_a_gaussian_of_its_sigma() -> None:
    pixels = np.asarray(half(True), np.float32) / 255
    assert np.abs(feathered(pixels, 5.0) - gaussian(pixels, 5.0)).max() < 1e-5


@pytest.mark.parametrize("mode", ["just_resize", "crop_and_resize", "resize_and_fill"])
@pytest.mark.parametrize("feather", [0, 3, 40.5])
def test_masks_that_complete_each_other_stay_so(mode: Any, feather: float) -> None:
    rng = np.random.default_rng(1)
    one = Image.fromarray(rng.integers(0, 256, (37, 51), dtype=np.uint8))
    other = one.point(lambda value: 255 - value)
    for size in ((64, 48), (16, 24), (51, 37)):
        total = sum(Frame(mode).mask(mask, *size, feather) for mask in (one, other))
        assert np.abs(total - 1).max() < 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_acting_feathers_alike(unet: Any, way: str) -> None:
    """The same control on both sides of a soft border is the control without masks; on one side it is not."""
    control = WAYS[way](1)
    sides = [active(control, k, half(k == 0), mask_feather=10) for k in range(2)]
    call = random_call("c0 u0", 9)
    with torch.no_grad():
        plain = run(unet, call)
    whole = controlled(unet, [active(control)], call)
    assert relative_error(controlled(unet, sides, call), whole) <= 1e-4
    hard = controlled(unet, [active(control, 0, half(True))], call)
    soft = controlled(unet, sides[:1], call)
    weak = controlled(unet, [active(control, 0, half(True), mask_strength=0)], call)
    assert min(relative_error(soft, whole), relative_error(soft, hard), relative_error(soft, plain)) > 1e-3
    assert relative_error(weak, whole) <= TOLERANCE


def test_a_feathered_mask_on_attention_is_the_dense_formula(unet: Any) -> None:
    """Each layer's term times the mask's mean over the pixels of each of its tokens."""
    unit = active(TokenControl(1), 0, half(True), mask_feather=6)
    call = random_call("c0", 10)
    seen: list[tuple[Tensor, Tensor]] = []
    sites = port_of(unet).attention_sites()
    plain: dict[str, Tensor] = {}
    with torch.no_grad():
        hook = sites[0].to_out.register_forward_pre_hook(lambda _m, args: plain.update(out=args[0]))
        query = sites[0].to_q.register_forward_hook(lambda _m, _a, out: plain.update(query=out))
        run(unet, call)
        hook.remove()
        query.remove()

    class Spy:
        def __call__(self, _module: Any, args: tuple[Tensor, ...]) -> None:
            seen.append((args[0], plain["query"]))

    with torch.no_grad(), ControlSession(port_of(unet), [unit], Script(4, [(0, call.rows)])):
        spy = sites[0].to_out.register_forward_pre_hook(Spy())
        run(unet, call)
        spy.remove()
    found, query_rows = seen[0]
    pair = TokenControl(1).pair(0, sites[0].hidden)
    heads = sites[0].heads
    q, k, v = (
        t.reshape(1, t.shape[1], heads, -1).transpose(1, 2)
        for t in (query_rows, pair.keys[1:], pair.values[1:])
    )
    mixed = (torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v).transpose(1, 2).reshape(found.shape)
    pixels = torch.from_numpy(gaussian(np.asarray(half(True), np.float64) / 255, 6))[None, None]
    tokens = functional.adaptive_avg_pool2d(pixels, level_size(found.shape[1], (8, 8))).reshape(1, -1, 1)
    assert relative_error(found, plain["out"] + mixed * tokens.float()) <= TOLERANCE


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
