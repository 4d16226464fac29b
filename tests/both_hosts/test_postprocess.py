"""What preprocessors do after the U-Net and on finished pictures, in whole headless generations; LaMa."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.controls.postprocess.lama import FourierUnit, LamaNetwork
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling import run as sampling
from lib_ctrlgen.headless.sampling.batch import PromptBatch
from lib_ctrlgen.images.composite import hole_share, lightness, mixed, pixels_of, relit
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload
from tests.support import control_files as files
from tests.support.networks import randomise
from tests.support.pictures import FAR, HOLE, holed, outside

CPU = Place(device=torch.device("cpu"), dtype=torch.float16)


def request(name: str, image: Image.Image | None = None, **fields: Any) -> GenerationRequest:
    whole = {key: fields.pop(key) for key in ("sampler", "steps", "seed") if key in fields}
    picture = encode_image(holed() if image is None else image)
    item = {"model": "ctrlgen-tiny-edges", "image": picture, "preprocessor": name, **fields}
    payload = {"prompt": "a red star", "width": 64, "height": 64, "steps": 3, "sampler": "DDIM", **whole}
    return parse_request({**payload, "units": [item]}, GenerationRequest)


def pixels(engine: Engine, *args: Any, **fields: Any) -> np.ndarray:
    return np.asarray(engine.generate(request(*args, **fields)).images[0])


# Finished pictures


@pytest.mark.parametrize("sampler", ["DDIM", "Euler", "DPM++ 2M", "Heun"])
def test_outside_the_border_the_original_is_exact(engine: Engine, sampler: str) -> None:
    original = np.asarray(holed().convert("RGB"))
    made = pixels(engine, "inpaint_only", sampler=sampler)
    assert np.array_equal(made[outside(FAR)], original[outside(FAR)])
    hard = pixels(engine, "inpaint_only", sampler=sampler, params={"border": 0})
    assert np.array_equal(hard[outside(0)], original[outside(0)])
    assert np.array_equal(hard[~outside(0)], made[~outside(0)])
    assert (made[~outside(0)] != original[~outside(0)]).mean() > 0.9


def test_the_last_latents_are_the_originals_outside_the_hole(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents: list[Any] = []

    def pictures(_pipeline: Any, found: Any) -> list[Image.Image]:
        latents.append(found)
        return [Image.new("RGB", (64, 64))] * len(found)

    monkeypatch.setattr(sampling, "pictures", pictures)
    engine.generate(request("inpaint_only", sampler="DPM++ 2M", control_mode="control"))
    vae = engine.load("ctrlgen-tiny").vae
    picture = torch.tensor(np.asarray(holed().convert("RGB"))).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        wanted = vae.encode(picture).latent_dist.mode() * vae.config.scaling_factor
    cells = torch.ones(8, 8, dtype=torch.bool)
    cells[2:6, 2:5] = False
    assert (latents[0][0, :, cells] - wanted[0, :, cells]).abs().max() < 1e-4
    assert (latents[0][0, :, ~cells] - wanted[0, :, ~cells]).abs().max() > 0.1


def test_a_unit_that_has_stopped_before_the_end_leaves_the_picture(engine: Engine) -> None:
    """Its window ends, so the last steps may change the whole picture, and nothing is pasted."""
    original = np.asarray(holed().convert("RGB"))
    for ended in ({"guidance_end": 0.6}, {"weight": "1@0, 0@0.6"}):
        made = pixels(engine, "inpaint_only", **ended)
        assert (made[outside(FAR)] != original[outside(FAR)]).mean() > 0.5
    late = pixels(engine, "inpaint_only", guidance_start=0.6)
    assert np.array_equal(late[outside(FAR)], original[outside(FAR)])


def test_a_mask_restricts_what_is_pasted(engine: Engine) -> None:
    area = Image.new("RGB", (64, 64))
    area.paste((255, 255, 255), (0, 0, 64, 16))
    original = np.asarray(holed().convert("RGB"))
    made = pixels(engine, "inpaint_only", mask=encode_image(area))
    assert np.array_equal(made[:16], original[:16])
    assert (made[16:][outside(FAR)[16:]] != original[16:][outside(FAR)[16:]]).mean() > 0.5


@pytest.mark.parametrize("space", ["luminance", "intensity"])
def test_recolouring_keeps_the_lightness(engine: Engine, space: Any) -> None:
    name = f"recolor_{space}"
    original = files.picture(seed=4)
    made = pixels(engine, name, original, params={"gamma": 0.8})
    wanted = lightness(pixels_of(original), space, 0.8)
    if space == "intensity":  # the strongest channel, whatever the colours
        assert np.array_equal(made.max(2), wanted)
    plain = pixels(engine, "none", preprocessor(name)(original, gamma=0.8))
    assert np.array_equal(made, relit(plain, wanted, space))
    soft = (made // 4 + 96).astype(np.uint8)  # colours so weak that every lightness is possible
    light = np.full((64, 64), 120, np.uint8)
    assert np.abs(lightness(relit(soft, light, space), space).astype(int) - 120).max() <= 1


def test_the_map_of_recolouring_is_the_lightness() -> None:
    picture = files.picture(seed=4)
    grey = np.asarray(preprocessor("recolor_luminance")(picture, gamma=1.0))[..., 0]
    rgb = np.asarray(picture).astype(np.float32) / 255
    assert np.abs(grey - cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[..., 0] * 2.55).max() < 1.5
    bright = np.asarray(preprocessor("recolor_intensity")(picture, gamma=2.0))
    wanted = np.rint((np.asarray(picture).max(2) / 255) ** 2 * 255)
    assert np.array_equal(bright, np.repeat(wanted[..., None], 3, 2))


def test_a_coarser_tile() -> None:
    tile = preprocessor("tile_resample")
    picture = Image.fromarray(np.random.default_rng(0).integers(60, 200, (64, 64, 3), dtype=np.uint8))
    assert tile(picture, factor=1.0) is picture
    coarse = np.asarray(tile(picture, factor=4.0)).astype(float)
    blocks = np.asarray(picture).reshape(16, 4, 16, 4, 3).mean((1, 3))
    small = cv2.resize(coarse.astype(np.uint8), (16, 16), interpolation=cv2.INTER_AREA)
    assert np.abs(small - blocks).mean() < 8
    assert coarse.std() < np.asarray(picture).std() / 2


def test_shares_of_a_hole() -> None:
    hole = ~outside(0)
    share = hole_share(hole, 7)
    assert (share[hole] == 1).all()
    assert (share[outside(6)] == 0).all()
    ours, theirs = np.full((64, 64, 3), 200, np.uint8), np.full((64, 64, 3), 100, np.uint8)
    row = mixed(ours, theirs, share)[34, : HOLE[0] + 1, 0]
    assert (np.diff(row.astype(int)) >= 0).all()
    assert (row[HOLE[0]], row[HOLE[0] - 7]) == (200, 100)


# Requests


@pytest.mark.parametrize("name", ["inpaint", "inpaint_only", "inpaint_only+lama"])
def test_a_picture_without_a_hole_is_refused(engine: Engine, name: str) -> None:
    with pytest.raises(RequestError, match="no hole to paint: send a PNG that is transparent") as caught:
        engine.generate(request(name, files.picture()))
    assert caught.value.path == "$.units[0].image"


def test_a_picture_that_fills_its_frame_has_no_border_to_paint(engine: Engine) -> None:
    with pytest.raises(RequestError, match="no hole to paint"):
        engine.generate(request("inpaint_only", files.picture(), resize_mode="resize_and_fill"))
    made = pixels(engine, "inpaint_only", files.picture(64, 32), resize_mode="resize_and_fill")
    assert np.array_equal(made[24:40], np.asarray(files.picture(64, 32))[8:24])


def test_the_network_sees_holes_around_a_picture_too(engine: Engine) -> None:
    networks = engine.load("ctrlgen-tiny")
    made = request("inpaint", files.picture(64, 32), resize_mode="resize_and_fill")
    control: Any = engine.units(PromptBatch.of([made]), networks)[0].control
    pixels = control.map.pixels(64, 64)[0].permute(1, 2, 0).numpy()
    assert (np.delete(pixels, slice(16, 48), 0) == -1).all()
    assert np.allclose(pixels[16:48] * 255, np.asarray(files.picture(64, 32)), atol=1e-4)
    assert (np.asarray(control.control_map(64, 64))[:16] == 0).all()


@pytest.mark.parametrize(("params", "field"), [({"variation": 2}, "variation"), ({"border": 3}, "border")])
def test_wrong_parameters_are_refused(engine: Engine, params: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        engine.generate(request("tile_colorfix", params=params))
    assert caught.value.path == f"$.units[0].params.{field}"


@pytest.mark.parametrize("name", ["tile_colorfix+sharp", "inpaint_only", "recolor_luminance"])
def test_cells_in_one_batch_are_as_they_are_alone(engine: Engine, name: str) -> None:
    weights: list[Any] = [1, 0.5, "1 in 0..0.5", 0]
    cells = [request(name, weight=weight) for weight in weights]
    found = engine.together(cells)
    alone = [engine.generate(cell) for cell in cells]
    for one, other in zip(found, alone, strict=True):
        apart = np.abs(np.asarray(one.images[0]).astype(int) - np.asarray(other.images[0]))
        # Recolouring turns 8-bit pictures into Lab and back, which makes more of a last bit.
        assert apart.max() <= (4 if name.startswith("recolor") else 1)
        assert apart.mean() < 0.05
    pictures = {np.asarray(each.images[0]).tobytes() for each in found}
    assert len(pictures) == len(weights)


def test_a_picture_is_encoded_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = engine.load("ctrlgen-tiny").vae
    engine.store.clear()
    networks = engine.load("ctrlgen-tiny")
    assert networks.vae is not vae
    calls: list[int] = []
    original = networks.vae.encode
    monkeypatch.setattr(networks.vae, "encode", lambda x: calls.append(1) or original(x))
    for weight in (1, 0.5):
        engine.generate(request("tile_colorfix", weight=weight))
    assert len(calls) == 1


def test_names_with_a_plus_survive_a_payload() -> None:
    made = request("tile_colorfix+sharp", params={"variation": 4, "sharpness": 0.5})
    assert parse_request(to_payload(made), GenerationRequest) == made


# LaMa


@pytest.fixture(scope="module")
def lama() -> LamaNetwork:
    network = randomise(LamaNetwork(8, 2), 3, 0.3)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) + 0.5)
    return network


@pytest.fixture
def with_lama(root: Path, tmp_path: Path, lama: LamaNetwork) -> Engine:
    tensors = {f"generator.{key}": value for key, value in lama.state_dict().items()}
    (tmp_path / "lama").mkdir()
    torch.save({"state_dict": tensors | {"other": torch.zeros(1)}}, tmp_path / "lama/ControlNetLama.pth")
    return Engine([root, tmp_path], 1 << 30, CPU)


def test_the_fourier_unit_is_a_convolution_of_the_spectrum() -> None:
    unit = randomise(FourierUnit(3), 5, 0.5)
    x = torch.randn(2, 3, 6, 10, generator=torch.Generator().manual_seed(0))
    spectrum = np.fft.rfft2(x.numpy(), norm="ortho")
    parts = np.stack([spectrum.real, spectrum.imag], 2).reshape(2, 6, *spectrum.shape[2:])
    weight = unit.conv_layer.weight[:, :, 0, 0].numpy()
    scale = (unit.bn.weight / (unit.bn.running_var + unit.bn.eps).sqrt()).numpy()
    made = np.einsum("oc,bchw->bohw", weight, parts)
    made = (made - unit.bn.running_mean.numpy()[:, None, None]) * scale[:, None, None]
    made = np.maximum(made + unit.bn.bias.numpy()[:, None, None], 0).reshape(2, 3, 2, *spectrum.shape[2:])
    wanted = np.fft.irfft2(made[:, :, 0] + 1j * made[:, :, 1], s=(6, 10), norm="ortho")
    assert np.abs(unit(x).numpy() - wanted).max() < 1e-5


def test_big_lama_has_the_published_names() -> None:
    """Of `FFCResNetGenerator` with 64 channels and 18 blocks: 51 M parameters."""
    with torch.device("meta"):
        network = LamaNetwork(64, 18)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["model.1.ffc.convl2l.weight"] == (64, 4, 7, 7)
    assert shapes["model.4.ffc.convl2g.weight"] == (384, 256, 3, 3)
    assert shapes["model.5.conv1.ffc.convg2g.fu.conv_layer.weight"] == (384, 384, 1, 1)
    assert shapes["model.22.conv2.bn_g.running_var"] == (384,)
    assert shapes["model.24.weight"] == (512, 256, 3, 3)
    assert shapes["model.34.weight"] == (3, 64, 7, 7)
    assert sum(value.numel() for value in network.parameters()) == 50_975_875


def test_lama_fills_the_holes_and_nothing_else(with_lama: Engine) -> None:
    networks = with_lama.load("ctrlgen-tiny")
    (unit,) = with_lama.units(PromptBatch.of([request("inpaint_only+lama")]), networks)
    source: Any = getattr(unit.later, "source", None)
    assert source.filler.origin[0] == "lama"
    for size in ((64, 64), (80, 56)):
        plain, filled = source.colours(*size), source.picture(*size)
        holes = source.holes(*size)
        assert np.array_equal(np.asarray(plain)[~holes], np.asarray(filled)[~holes])
        assert (np.asarray(plain)[holes] != np.asarray(filled)[holes]).any(1).mean() > 0.9


def test_lama_is_in_the_first_noise_while_the_unit_acts(
    with_lama: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    original = sampling.started

    def started(noise: Any, units: Any, variants: Any) -> Any:
        seen.append((noise, original(noise, units, variants), units))
        return seen[-1][1]

    monkeypatch.setattr(sampling, "started", started)
    weights: list[Any] = [1, 0.5, "1>0.2", {"guidance_start": 0.5}]
    for weight in weights:
        own = weight if isinstance(weight, dict) else {"weight": weight}
        with_lama.generate(request("inpaint_only+lama", **own))
    noise, found, units = seen[0]
    latent = units[0].later.source.latent(8, 8)
    alpha = torch.linspace(0.00085**0.5, 0.012**0.5, 1000).square().neg().add(1).prod()
    wanted = alpha.sqrt() * latent + (1 - alpha).sqrt() * noise
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(seen[1][1], (noise + wanted) / 2, atol=1e-5)
    assert torch.allclose(seen[2][1], wanted, atol=1e-5)
    assert torch.equal(seen[3][1], noise)
    cells = [request("inpaint_only+lama", weight=weight) for weight in (1, 0.5)]
    seen.clear()
    with_lama.together(cells)
    assert torch.allclose(seen[0][1], torch.cat([wanted, (noise + wanted) / 2]), atol=1e-5)


def test_without_lama_the_error_says_what_to_put_where(engine: Engine, root: Path) -> None:
    with pytest.raises(RequestError, match=r"put ControlNetLama\.pth \(huggingface.*Annotators") as caught:
        engine.generate(request("inpaint_only+lama"))
    assert caught.value.path == "$.units[0].preprocessor"
    assert str(root) in caught.value.message


def test_another_file_under_lamas_name_is_refused(root: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "big-lama.pt")
    with pytest.raises(RequestError, match="'big-lama' is no LaMa") as caught:
        Engine([root, tmp_path], 1 << 30, CPU).generate(request("inpaint_only+lama"))
    assert caught.value.path == "$.units[0].preprocessor"


def test_pictures_keep_their_colours_under_transparency(engine: Engine) -> None:
    """What stands in a hole is what the VAE sees there, not white."""
    networks = engine.load("ctrlgen-tiny")
    (unit,) = engine.units(PromptBatch.of([request("inpaint_only")]), networks)
    shown: Any = getattr(unit.later, "source", None)
    assert shown.colours(64, 64).getpixel((30, 30)) == (200, 30, 90)
    assert decode_image(unit.spec.image, "").getpixel((30, 30)) == (200, 30, 90, 0)
