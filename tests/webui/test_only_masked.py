"""Units in img2img: the part that "Only masked" paints, the init images, the mask's holes, later batches."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.images.resize import fit
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.per_picture import shown
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.session.effects.base import at_latent
from tests.support import control_files as files
from tests.support.constant_control import Pushes
from tests.support.fake_webui import FakeWebUI, Processing

INIT = files.picture(96, 80, 1)
OTHER = files.picture(96, 80, 2)
GIVEN = files.picture(48, 40, 3)


def rectangle(box: tuple[int, int, int, int], size: tuple[int, int] = (96, 80)) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def img2img(host: FakeWebUI, mask: Image.Image | None, **fields: Any) -> Processing:
    """A `p` of the img2img tab, with the WebUI's own defaults."""
    plain = {
        "init_images": [INIT], "image_mask": mask, "mask_blur_x": 4, "mask_blur_y": 4, "mask_round": True,
        "inpaint_full_res": True, "inpaint_full_res_padding": 0, "inpainting_mask_invert": 0,
    }  # fmt: skip
    return Processing(host, **plain | fields)


def units_of(p: Any, folder: Path, *units: dict[str, Any]) -> list[ActiveUnit]:
    """A request's units, loaded for a generation as the script loads them."""
    payload = sys.modules["lib_ctrlgen.webui.panel.unit_fields"]
    painted = fresh_painted()
    said = {"units": [{"model": "net", "preprocessor": "none", **unit} for unit in units]}
    request = payload.read_request([said], p.init_images, painted.picture_count(p))
    store = ModelStore([folder], 1 << 30)
    return list(
        load_units(request.units, Target(store=store, shape=files.shape(), canvas=painted.canvas_of(p)))
    )


def fresh_painted() -> Any:
    return __import__("lib_ctrlgen.webui.sampling.inpaint_area", fromlist=["canvas_of"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name in ("net", "net_inpaint"):
        tensors = {k: v.contiguous() for k, v in files.controlnet().state_dict().items()}
        save_file(tensors, root / f"{name}.safetensors")
    return root


def grown(low: int, high: int, more: int, limit: int) -> tuple[int, int]:
    return max(0, low - more), min(limit, high + more)


@pytest.mark.parametrize("blur", [(0, 0), (4, 4), (0, 8), (2, 0)])
@pytest.mark.parametrize("padding", [0, 8])
def test_the_part_is_the_blurred_masks_box_grown_to_the_generations_proportions(
    host: FakeWebUI, script: Any, blur: tuple[int, int], padding: int
) -> None:
    """The box, grown by the reach of the blur and the padding; then the shorter side, about its middle."""
    p = img2img(host, rectangle((30, 20, 50, 28)), mask_blur_x=blur[0], mask_blur_y=blur[1])
    p.inpaint_full_res_padding, p.width, p.height = padding, 64, 64
    reach = [int(2.5 * sigma + 0.5) if sigma else 0 for sigma in blur]
    left, right = grown(30, 50, reach[0] + padding, 96)
    top, bottom = grown(20, 28, reach[1] + padding, 80)
    more = (right - left) - (bottom - top)
    if more > 0:
        top, bottom = top - more // 2, bottom + more - more // 2
        top, bottom = (0, bottom - top) if top < 0 else (top, bottom)
    else:
        left, right = left - -more // 2, right + -more - -more // 2
    canvas = fresh_painted().canvas_of(p)
    assert canvas.crop.box == (left, top, right, bottom)
    assert canvas.crop.whole == (96, 80)
    assert canvas.img2img


def test_an_inverted_mask_a_blank_one_and_the_whole_picture(host: FakeWebUI, script: Any) -> None:
    painted = fresh_painted()
    hollow = rectangle((0, 0, 96, 80))
    hollow.paste(0, (40, 30, 60, 50))
    plain = {"mask_blur_x": 0, "mask_blur_y": 0, "width": 64, "height": 64}
    inverted = painted.canvas_of(img2img(host, hollow, inpainting_mask_invert=1, **plain))
    assert inverted.crop.box == (40, 30, 60, 50)
    assert inverted.mask.getpixel((50, 40)) == 255
    blank = painted.canvas_of(img2img(host, rectangle((0, 0, 0, 0)), **plain))
    assert blank == Canvas(pictures=1, img2img=True)
    whole = painted.canvas_of(img2img(host, hollow, inpaint_full_res=False, **plain))
    assert whole.crop is None
    assert whole.mask.tobytes() == hollow.tobytes()
    clear = Image.new("RGBA", (96, 80), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (8, 8, 16, 16))
    assert painted.canvas_of(img2img(host, clear, **plain)).crop.box == (8, 8, 16, 16)
    assert painted.canvas_of(img2img(host, None)) == Canvas(pictures=1, img2img=True)
    assert painted.canvas_of(Processing(host, batch_size=2, n_iter=3)) == Canvas(pictures=6)


def masked(host: FakeWebUI, **fields: Any) -> Processing:
    """A part of exactly 64 x 64 pixels at (24, 8), so that nothing is resized."""
    sizes = {"width": 64, "height": 64, "mask_blur_x": 0, "mask_blur_y": 0}
    return img2img(host, rectangle((24, 8, 88, 72)), **sizes | fields)


PART = (24, 8, 88, 72)


@pytest.mark.parametrize("mode", ["just_resize", "crop_and_resize", "resize_and_fill"])
def test_a_given_picture_and_its_mask_are_cut_to_the_part(
    host: FakeWebUI, script: Any, folder: Path, mode: Any
) -> None:
    mask = rectangle((0, 0, 48, 80))
    (unit,) = units_of(
        masked(host), folder, {"image": encode_image(GIVEN), "mask": encode_image(mask), "resize_mode": mode}
    )
    wanted = fit(GIVEN, 96, 80, mode).crop(PART)
    assert unit.control.control_map(64, 64).tobytes() == wanted.tobytes()
    cells = at_latent(unit, unit.mask, (8, 8))[0, 0]
    assert cells[:, :3].eq(1).all(), "the left half of the whole: 48 pixels, of which the part has 24"
    assert cells[:, 3:].eq(0).all()


def test_a_unit_may_keep_its_picture_for_the_part_itself(host: FakeWebUI, script: Any, folder: Path) -> None:
    given = {"image": encode_image(GIVEN), "mask": encode_image(rectangle((0, 0, 32, 64), (64, 64)))}
    (unit,) = units_of(masked(host), folder, given | {"inpaint_crop": False, "resize_mode": "just_resize"})
    assert unit.control.control_map(64, 64).tobytes() == fit(GIVEN, 64, 64, "just_resize").tobytes()
    assert at_latent(unit, unit.mask, (8, 8))[0, 0].sum(0).tolist() == [8] * 4 + [0] * 4


def test_detection_runs_on_the_part_at_the_generations_size(
    host: FakeWebUI, script: Any, folder: Path
) -> None:
    low = {"low_threshold": 10, "high_threshold": 20}
    unit = {"image_from": "init", "preprocessor": "canny", "params": low}
    (found,) = units_of(masked(host, width=128, height=128), folder, unit)
    part = np.asarray(INIT.crop(PART))
    import cv2

    from lib_ctrlgen.preprocessors.canny import Canny

    larger = Image.fromarray(cv2.resize(part, (128, 128), interpolation=cv2.INTER_CUBIC))
    assert found.control.control_map(128, 128).tobytes() == Canny()(larger, **low).tobytes()


def test_the_inpainting_mask_is_holes_in_the_init_image_alone(
    host: FakeWebUI, script: Any, folder: Path
) -> None:
    """An inpainting ControlNet sees c (1 - m) - m; others and given pictures see no holes."""
    p = img2img(host, rectangle((40, 24, 64, 48)), inpaint_full_res=False, width=96, height=80)
    p.mask_blur_x = p.mask_blur_y = 3
    clear = INIT.convert("RGBA")
    clear.putalpha(Image.eval(rectangle((0, 0, 8, 8)), lambda value: 255 - value))
    units = units_of(
        p,
        folder,
        {"model": "net_inpaint", "image_from": "init"},
        {"model": "net", "image_from": "init"},
        {"model": "net_inpaint", "image": encode_image(INIT)},
        {"model": "net_inpaint", "image": encode_image(clear)},
    )
    seen = [unit.control.map.pixels(96, 80)[0] for unit in units]  # type: ignore[union-attr]
    picture = torch.from_numpy(np.array(INIT)).permute(2, 0, 1) / 255
    m = torch.zeros(1, 80, 96)
    m[:, 24:48, 40:64] = 1
    holes = seen[0].eq(-1).all(0)
    inner, outer = holes[26:46, 42:62], holes.clone()
    outer[22:50, 38:66] = False
    assert inner.all()
    assert not outer.any()
    wide = (holes != m[0].bool()).sum()
    assert wide <= 40, "a blurred straight border stays where it is, a corner of 24 pixels loses a few"
    assert torch.allclose(seen[0][:, ~holes], picture[:, ~holes])
    assert torch.allclose(seen[1], picture)
    assert torch.allclose(seen[2], picture)
    assert seen[3][:, :8, :8].eq(-1).all()
    assert not seen[3][:, 24:48, 40:64].eq(-1).any(), "a picture's own transparency comes first"


def test_the_own_transparency_of_the_init_image_comes_before_the_mask(
    host: FakeWebUI, script: Any, folder: Path
) -> None:
    clear = INIT.convert("RGBA")
    clear.putalpha(Image.eval(rectangle((0, 0, 8, 8)), lambda value: 255 - value))
    p = img2img(host, rectangle((40, 24, 64, 48)), inpaint_full_res=False, init_images=[clear])
    (unit,) = units_of(p, folder, {"model": "net_inpaint", "image_from": "init"})
    seen = unit.control.map.pixels(96, 80)[0]  # type: ignore[union-attr]
    assert int(seen.eq(-1).all(0).sum()) == 64


def test_each_picture_of_a_batch_has_its_own_init_image(host: FakeWebUI, script: Any, folder: Path) -> None:
    p = img2img(host, None, init_images=[INIT, OTHER], batch_size=3, n_iter=2, width=96, height=80)
    assert fresh_painted().picture_count(p) == 4, "the WebUI makes the batch as large as the pictures"
    units = units_of(p, folder, {"image_from": "init"})
    assert [unit.pictures for unit in units] == [(0, 2), (1, 3)]
    for unit, wanted in zip(units, (INIT, OTHER), strict=True):
        assert unit.control.control_map(96, 80).tobytes() == wanted.tobytes()
    same = img2img(host, None, init_images=[INIT] * 2, batch_size=2)
    assert [unit.pictures for unit in units_of(same, folder, {"image_from": "init"})] == [None]


def test_a_list_that_does_not_fit_the_batches_says_both_numbers(
    host: FakeWebUI, script: Any, folder: Path
) -> None:
    p = Processing(host, batch_size=2, n_iter=2, init_images=[])
    with pytest.raises(RequestError, match="3 pictures for a generation of 4") as caught:
        units_of(p, folder, {"images": [encode_image(GIVEN)] * 3})
    assert caught.value.path == "$.units[0].images"
    txt2img = Processing(host)
    txt2img.init_images = ()  # type: ignore[attr-defined]
    with pytest.raises(RequestError, match="no img2img picture"):
        units_of(txt2img, folder, {"image_from": "init"})


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
            for each in shown(unit, canvas.pictures, f"$.units[{k}]")
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
    stacked = __import__("lib_ctrlgen.webui.sampling.cell_batch", fromlist=["Stacked"])
    texts = [encode_image(files.picture(8, 8, seed)) for seed in (1, 2)]
    cells = [
        parse_request({"units": [{"model": "m", "images": texts, "weight": weight}]}) for weight in (1, 0.5)
    ]
    stack = stacked.Stacked(tuple(c for c in cells for _ in range(2)), scales=(7.0,) * 4, each=2)
    p = Processing(host, prompts=[["a"]] * 4, batch_size=4, steps=2)
    script.process(p, stack)
    held = vars(p)["sample"]
    assert [unit.pictures for unit in held.parts[0].units] == [(0, 2), (1, 3)]
    p.sample()
    assert all(made.calls for made in pushing.values())
    entries = [json.loads(text)["units"][0] for text in p.extra_generation_params["CtrlGen"]]
    assert [entry.get("weight", 1) for entry in entries] == [1, 1, 0.5, 0.5]
    assert [entry["image"] for entry in entries[:2]] == [entry["image"] for entry in entries[2:]]
    script.process(p, stacked.Stacked(tuple(cells), scales=(7.0,) * 2, each=1))
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
    payload = sys.modules["lib_ctrlgen.webui.panel.unit_fields"]
    off = {"units": [{"model": "m", "image_from": "init", "enabled": False}]}
    assert payload.read_request([off]) == parse_request(off)
