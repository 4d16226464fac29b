"""Latent blend in the real WebUI: against its own AND, its own seeds, and plain runs."""

import json
import threading
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.live.conftest import BLUE, DEPTH, EDGES, PICTURE, RED, SIZE, Answer, WebUI, encoded, scene

pytestmark = pytest.mark.live

ROWS = ("prediction", "perpendicular", "saliency")
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}
SAMPLERS = ("Euler", "Euler a", "DPM++ 2M", "DPM++ SDE", "Heun", "DDIM", "UniPC", "PLMS")


def half(left: bool) -> str:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:, : SIZE // 2] = 255
    return encoded(Image.fromarray(mask if left else 255 - mask))


def blended(
    webui: WebUI, *concepts: dict[str, Any], fields: Any = None, units: Any = (), **blend: Any
) -> Answer:
    request = {"blend": {"concepts": list(concepts), **blend}, "units": list(units)}
    answer = webui.generate(args=[request], **({"prompt": ""} | (fields or {})))
    assert answer.status == 200, answer.json
    return answer


def made(webui: WebUI, **fields: Any) -> Answer:
    answer = webui.generate(**fields)
    assert answer.status == 200, answer.json
    return answer


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_prediction_with_constant_weights_is_the_webuis_and(webui: WebUI, sampler: str) -> None:
    fields = {"sampler_name": sampler, "batch_size": 2}
    ours = blended(webui, RED | {"weight": 0.7}, BLUE | {"weight": -0.3}, fields=fields)
    theirs = made(webui, prompt="a red circle :0.7 AND a blue square :-0.3", **fields)
    assert ours.same(theirs, 2)


def test_white_masks_and_normalised_weights_change_nothing(webui: WebUI) -> None:
    theirs = made(webui, prompt="a red circle :0.75 AND a blue square :0.25")
    white = encoded(Image.new("L", (8, 8), 255))
    for extra in ({}, {"mask": white}):
        ours = blended(webui, RED | {"weight": 3} | extra, BLUE | {"weight": 1}, normalise=True)
        gaps = np.abs(ours.images[0].astype(int) - theirs.images[0])
        assert gaps.max() <= 1


def test_the_prompt_of_the_request_and_its_parts(webui: WebUI) -> None:
    request = {"blend": {"concepts": [{"prompt": "{prompt}, red"}, {"weight": 0.5}]}}
    ours = made(webui, prompt="a circle AND a star :2", args=[request])
    theirs = made(webui, prompt="a circle AND a star :2, red AND a circle :0.5 AND a star :1")
    assert ours.same(theirs) or np.abs(ours.images[0].astype(int) - theirs.images[0]).max() <= 1
    refused = webui.generate(prompt="a ring", args=[{"blend": {"concepts": [RED, BLUE]}}])
    assert refused.status == 422
    assert refused.detail["path"] == "$.blend.concepts"


@pytest.mark.parametrize("mode", ROWS)
def test_masks_give_each_concept_its_side(webui: WebUI, mode: str) -> None:
    left, right = RED | {"mask": half(True)}, BLUE | {"mask": half(False)}
    both, swapped = (blended(webui, *pair, mode=mode) for pair in ((left, right), (right, left)))
    plain = blended(webui, RED, BLUE, mode=mode)
    assert not both.same(plain)
    if mode != "perpendicular":  # there the first concept leads
        assert np.abs(both.images[0].astype(int) - swapped.images[0]).max() <= 1


@pytest.mark.parametrize("mode", [*ROWS, "embedding"])
def test_schedules_hires_units_and_what_comes_after(webui: WebUI, plain: Answer, mode: str) -> None:
    ramp = (RED | {"weight": "1>0"}, BLUE | {"weight": "0>1"})
    first = blended(webui, *ramp, mode=mode)
    other = (RED | {"weight": "0>1"}, BLUE | {"weight": "1>0"})
    assert not first.same(blended(webui, *other, mode=mode))
    controlled = blended(webui, *ramp, mode=mode, units=[EDGES, DEPTH, PICTURE], fields={"batch_size": 2})
    assert not controlled.same(first)
    late = {"hires": 0}
    second = blended(webui, *ramp, mode=mode, fields=HIRES)
    assert not second.same(blended(webui, ramp[0], ramp[1] | late, mode=mode, fields=HIRES))
    assert first.same(blended(webui, *ramp, mode=mode))
    assert made(webui).same(plain)
    assert f'""mode"":""{mode}""' in webui.infotext(first).replace('\\"', '""') or mode == "prediction"


def test_embedding_ends_are_the_plain_prompts(webui: WebUI) -> None:
    for turn in ("lerp", "slerp"):
        mix = [RED | {"weight": 1}, BLUE | {"weight": 0}]
        ours = blended(webui, *mix, mode="embedding", interpolation=turn)
        theirs = made(webui, prompt="a red circle")
        assert np.abs(ours.images[0].astype(int) - theirs.images[0]).max() <= 1
    long = ", ".join(["a blue square"] * 40)
    assert blended(webui, RED, {"prompt": long, "weight": 0.5}, mode="embedding", normalise=True).images


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_ends_of_a_trajectory_are_plain_runs(webui: WebUI, sampler: str) -> None:
    fields = {"sampler_name": sampler, "batch_size": 5, "steps": 6}
    strip = blended(webui, RED | {"seed": 5}, BLUE | {"seed": 9}, mode="trajectory", fields=fields)
    alone = {"sampler_name": sampler, "steps": 6}
    for index, prompt, seed in ((0, "a red circle", 5), (4, "a blue square", 9)):
        end = made(webui, prompt=prompt, seed=seed, **alone)
        assert np.abs(strip.images[index].astype(int) - end.images[0]).max() <= 1, (sampler, index)
    uncrossed = blended(
        webui, RED | {"seed": 5}, BLUE | {"seed": 9}, mode="trajectory", crossfeed=0, fields=fields
    )
    assert not np.array_equal(strip.images[2], uncrossed.images[2])
    assert np.array_equal(strip.images[0], uncrossed.images[0])


def test_a_trajectory_needs_pictures_between_its_ends(webui: WebUI) -> None:
    request = {"blend": {"mode": "trajectory", "concepts": [RED, BLUE, RED]}}
    answer = webui.generate(prompt="", args=[request], batch_size=4)
    assert answer.status == 422
    assert answer.detail["path"] == "$.batch_size"


def test_seeds_mix_between_two_pictures(webui: WebUI, plain: Answer) -> None:
    def mixed(weight: float, **fields: Any) -> Answer:
        concepts = [{"weight": 1 - weight}, {"seed": 77, "weight": weight}]
        return made(webui, args=[{"blend": {"mode": "seeds", "concepts": concepts}}], **fields)

    assert mixed(0).same(plain)
    other = made(webui, seed=77)
    assert mixed(1).same(other)
    between = mixed(0.5).images[0].astype(int)
    apart = np.abs(plain.images[0].astype(int) - other.images[0]).mean()
    assert max(np.abs(between - end.images[0]).mean() for end in (plain, other)) < apart
    assert mixed(0.5, **HIRES).images


def test_two_pictures_start_img2img_together(webui: WebUI) -> None:
    one, other = scene(), Image.new("RGB", (SIZE, SIZE), "blue")
    left = {"image": encoded(one), "mask": half(True)}
    right = {"image": encoded(other), "mask": half(False)}
    fields = {"tab": "img2img", "init_images": [encoded(one)], "denoising_strength": 0.05, "steps": 20}
    plain = made(webui, **fields)
    both = made(webui, args=[{"blend": {"mode": "seeds", "concepts": [left, right]}}], **fields)
    near, far = both.images[0][:, : SIZE // 4], both.images[0][:, 3 * SIZE // 4 :]
    assert np.abs(near.astype(int) - plain.images[0][:, : SIZE // 4]).mean() < 16
    assert far[..., 2].mean() > far[..., 0].mean() + 60
    refused = webui.generate(args=[{"blend": {"mode": "seeds", "concepts": [left, right]}}])
    assert refused.status == 422


@pytest.mark.parametrize(
    ("blend", "path"),
    [
        ({"concepts": [RED]}, "$.blend.concepts"),
        ({"concepts": [RED, BLUE | {"mask": "x"}]}, "$.blend.concepts[1].mask"),
        ({"concepts": [RED, {"prompt": "a (b:1@0, 0@1"}]}, "$.blend.concepts[1].prompt"),
        ({"concepts": [RED, BLUE | {"seed": 1}]}, "$.blend.concepts[1].seed"),
        ({"mode": "embedding", "concepts": [RED, {"prompt": "a AND b"}]}, "$.blend.concepts[1].prompt"),
        ({"mode": "saliency", "concepts": [RED, BLUE | {"weight": "1>-1"}]}, "$.blend.concepts[1].weight"),
    ],
)
def test_a_wrong_blend_makes_no_picture(webui: WebUI, blend: dict[str, Any], path: str) -> None:
    answer = webui.generate(prompt="", args=[{"blend": blend}])
    assert answer.status == 422
    assert answer.detail["path"] == path


def test_a_trajectory_comes_with_its_strip(webui: WebUI) -> None:
    fields = {"batch_size": 3, "n_iter": 2}
    answer = blended(webui, RED, BLUE, mode="trajectory", animation="webp", fields=fields)
    strips = [picture for picture in answer.images if picture.shape[1] > 3 * SIZE]
    assert [strip.shape for strip in strips] == [(SIZE, 3 * SIZE + 4, 3)] * 2
    first = next(k for k, picture in enumerate(answer.images) if picture.shape == (SIZE, SIZE, 3))
    assert np.array_equal(strips[0][:, :SIZE], answer.images[first])
    assert not np.array_equal(strips[0], strips[1])


def alone(answer: Answer) -> list[Any]:
    """The pictures without grids and strips."""
    smallest = min(picture.size for picture in answer.images)
    return [picture for picture in answer.images if picture.size == smallest]


@pytest.mark.parametrize("fields", [{}, HIRES, {"sampler_name": "DPM++ SDE"}, {"n_iter": 2}])
def test_even_spacing_keeps_the_ends(webui: WebUI, plain: Answer, fields: dict[str, Any]) -> None:
    given = {"batch_size": 5, "steps": 8, **fields}
    answers = [blended(webui, RED, BLUE, mode="trajectory", spacing=n, fields=given) for n in (0, 2)]
    rows = [alone(answer)[:5] for answer in answers]
    ends, between = (0, 4), (1, 2, 3)
    assert all(np.array_equal(rows[0][k], rows[1][k]) for k in ends)
    assert any(not np.array_equal(rows[0][k], rows[1][k]) for k in between)
    assert made(webui).same(plain)


def test_rows_and_mixed_noise_with_units_and_hires(webui: WebUI) -> None:
    units = [EDGES, PICTURE]
    for blend, words in (
        ({"mode": "trajectory"}, [RED, BLUE]),
        ({"mode": "seeds"}, [{"seed": 3}, {"seed": 4}]),
    ):
        fields = {"batch_size": 3, "prompt": "" if blend["mode"] == "trajectory" else "a ring", **HIRES}
        free = blended(webui, *words, fields=fields, **blend)
        held = blended(webui, *words, fields=fields, units=units, **blend)
        assert not held.same(free)
        assert held.same(blended(webui, *words, fields=fields, units=units, **blend), 3)


@pytest.mark.parametrize("mode", ["saliency", "trajectory"])
def test_an_interrupt_in_the_middle_leaves_nothing(webui: WebUI, plain: Answer, mode: str) -> None:
    found: list[Answer] = []
    fields = {"steps": 60, "batch_size": 3, "width": 128, "height": 128}
    run = threading.Thread(target=lambda: found.append(blended(webui, RED, BLUE, mode=mode, fields=fields)))
    run.start()
    while webui.get("/sdapi/v1/progress?skip_current_image=true").json()["state"]["sampling_step"] < 2:
        time.sleep(0.1)
    webui.post("/sdapi/v1/interrupt", {})
    run.join(600)
    assert found[0].images
    assert made(webui).same(plain)


def test_an_infotext_makes_the_picture_again(webui: WebUI) -> None:
    for mode in (*ROWS, "embedding"):
        fields = {"batch_size": 2, "prompt": "a ring"}
        words = [{"prompt": "{prompt}, red", "weight": "1>0.2"}, BLUE | {"weight": "0@0, 1@0.7"}]
        first = blended(webui, *words, mode=mode, fields=fields)
        info = webui.infotext(first)
        start = info.index('CtrlGen: "') + len("CtrlGen: ")
        entry, _ = json.JSONDecoder().raw_decode(info[start:])
        again = made(webui, args=[json.loads(entry)], **fields)
        assert again.same(first, 2)


@pytest.mark.parametrize("mode", ["prediction", "embedding", "seeds"])
def test_a_map_has_a_concept_in_each_corner(webui: WebUI, plain: Answer, mode: str) -> None:
    third = {"prompt": "a star"}
    corners = [RED, BLUE, third] if mode != "seeds" else [{"seed": 5}, {"seed": 6}, {"seed": 7}]
    fields = {"prompt": ""} if mode != "seeds" else {"prompt": "a ring"}
    answer = blended(webui, *corners, mode=mode, explore=3, fields=fields)
    side = 3 * SIZE + 4
    sheet = next(picture for picture in answer.images if picture.shape == (side, side, 3))
    ends = [(0, 0), (0, side - SIZE), (side - SIZE, 0)]
    for (top, left), corner in zip(ends, corners, strict=True):
        alone = {"prompt": corner.get("prompt", "a ring"), "seed": corner.get("seed", 1)}
        wanted = made(webui, **alone).images[0]
        found = sheet[top : top + SIZE, left : left + SIZE]
        assert np.abs(found.astype(int) - wanted).max() <= 1
    assert made(webui).same(plain)
    refused = webui.generate(prompt="", n_iter=2, args=[{"blend": {"concepts": [RED, BLUE], "explore": 3}}])
    assert refused.status == 422


def test_a_reference_picture_acts_on_its_concept_alone(webui: WebUI) -> None:
    seen = RED | {"image": PICTURE["image"]}
    model = PICTURE["model"]
    with_picture = blended(webui, seen, BLUE, model=model)
    assert not with_picture.same(blended(webui, RED, BLUE))
    nothing = blended(webui, seen | {"weight": 0}, BLUE, model=model)
    assert np.abs(nothing.images[0].astype(int) - made(webui, prompt="a blue square").images[0]).max() <= 1
    wrong = webui.generate(prompt="", args=[{"blend": {"concepts": [seen, BLUE], "model": EDGES["model"]}}])
    assert wrong.status == 422
    assert wrong.detail["path"] == "$.blend.model"


def test_concepts_of_a_batch_may_differ_in_their_parts(webui: WebUI) -> None:
    """Each picture of a batch has its own prompt, here with one and with two AND parts."""
    request = {"blend": {"concepts": [{"prompt": "{prompt}"}, BLUE | {"mask": half(True), "weight": "0>1"}]}}
    for tab, extra in (("txt2img", {}), ("img2img", {"init_images": [encoded(scene())]})):
        fields: dict[str, Any] = {"tab": tab, "prompt": "a ring AND a star :0.5", "batch_size": 2, **extra}
        both = made(webui, args=[request], **fields)
        assert both.same(made(webui, args=[request], **fields), 2)
        assert not both.same(made(webui, **fields), 2)


def test_the_plan_tells_the_cost(webui: WebUI) -> None:
    payload = {"blend": {"concepts": [{}, BLUE | {"weight": "1>0"}]}, "prompt": "a AND b", "steps": 4}
    plan = webui.post("/ctrlgen/v1/plan", payload).json()
    assert plan["note"] == "U-Net rows per step and picture: 4 (2 without the blend)"
    assert plan["weights"][1] == [1, 0.75, 0.5, 0.25]
