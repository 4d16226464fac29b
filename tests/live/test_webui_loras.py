"""LoRAs and embeddings: headless as in the real WebUI, and LoRAs with schedules in the WebUI.

The test writes random files into the WebUI's folders `models/Lora` and `embeddings`.
"""

import os
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_ctrlgen.headless.checkpoints.networks import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.bundled import bundled_tokenizer
from lib_ctrlgen.models.places import places_of_webui
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.live.conftest import EDGES, PLAIN, SIZE, Answer, WebUI, close
from tests.support import lora_kinds as kinds

pytestmark = pytest.mark.live
TINY, XL = "ctrlgen-tiny", os.environ.get("CTRLGEN_WEBUI_SDXL", "")
NAME = "ctrlgen-live"


@cache
def engine() -> Engine:
    root = Path(os.environ["CTRLGEN_WEBUI_ROOT"])
    place = Place(device=torch.device("cpu"), dtype=torch.float32, tokenizer=bundled_tokenizer())
    return Engine(places_of_webui(root).models, 1 << 31, place=place)


def write_files(root: Path) -> list[Path]:
    networks = engine().load(TINY)
    unet, text = networks.unet, networks.text_encoders[0].encoder
    found = []
    for kind in kinds.KINDS:
        tensors = kinds.kohya(unet, "unet", kind)
        if kind != "norm":
            tensors |= kinds.kohya(text, "te", kind, kinds.TEXT, 1)
        metadata = {"ss_output_name": "ctrlgen live alias"} if kind == "lora" else {}
        found.append(kinds.write(root / f"models/Lora/{NAME}-{kind}.safetensors", tensors, **metadata))
    random = kinds.Random(5)
    found.append(kinds.write(root / f"embeddings/{NAME}.safetensors", {"emb_params": random(3, 64)}))
    torch.save({"string_to_param": {"*": random(2, 64)}, "name": "x"}, root / f"embeddings/{NAME}pt.pt")
    found.append(root / f"embeddings/{NAME}pt.pt")
    if XL:
        found += write_sdxl(root)
    return found


def write_sdxl(root: Path) -> list[Path]:
    networks = engine().load(XL)
    tensors = kinds.kohya(networks.unet, pattern=kinds.ATTENTION)
    for number, tower in enumerate(networks.text_encoders):
        tensors |= kinds.kohya(tower.encoder, "te2" if number else "te1", "lora", kinds.TEXT, number)
    random = kinds.Random(6)
    names = zip(("clip_l", "clip_g"), networks.text_encoders, strict=True)
    vectors = {name: random(2, tower.width) for name, tower in names}
    return [
        kinds.write(root / f"models/Lora/{NAME}-xl.safetensors", tensors),
        kinds.write(root / f"embeddings/{NAME}xl.safetensors", vectors),
    ]


@pytest.fixture(scope="module")
def host(webui: WebUI) -> Iterator[WebUI]:
    if "CTRLGEN_WEBUI_ROOT" not in os.environ:
        pytest.skip("live test: set CTRLGEN_WEBUI_ROOT to the WebUI's folder")
    files = write_files(Path(os.environ["CTRLGEN_WEBUI_ROOT"]))
    engine().store.refresh()
    webui.post("/sdapi/v1/refresh-loras", {})
    webui.post("/sdapi/v1/refresh-embeddings", {})
    yield webui
    for file in files:
        file.unlink()
    webui.post("/sdapi/v1/refresh-loras", {})


def made(webui: WebUI, prompt: str, *units: Any, **fields: Any) -> Answer:
    answer = webui.generate(*units, prompt=prompt, **fields)
    assert answer.status == 200, answer.json
    return answer


def headless(prompt: str, model: str = TINY, **fields: Any) -> tuple[Any, dict[str, str]]:
    names = ("steps", "width", "height", "seed", "cfg_scale", "negative_prompt")
    payload = {name: PLAIN[name] for name in names} | {"sampler": PLAIN["sampler_name"], "model": model}
    found = engine().generate(parse_request(payload | {"prompt": prompt} | fields, GenerationRequest))
    return np.asarray(found.images[0]), dict(found.networks)


def same_everywhere(webui: WebUI, prompt: str, **fields: Any) -> Answer:
    """Make a picture in both hosts; assert that they are equal to 1/255, and the hashes in the infotext.

    The WebUI leaves out the hashes of embeddings in prompts that it has in its cache.
    """
    theirs, (mine, hashes) = made(webui, prompt, **fields), headless(prompt, **fields)
    assert close(theirs.images[0], mine)
    if "Lora hashes" in hashes:
        assert f'Lora hashes: "{hashes["Lora hashes"]}"' in webui.infotext(theirs)
    if "TI hashes" in hashes:
        assert any(each in webui.infotext(theirs) for each in hashes["TI hashes"].split(", "))
    return theirs


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_is_as_in_the_webui(host: WebUI, plain: Answer, kind: str) -> None:
    weight = 0.1 if kind == "full" else 0.7
    prompt = f"a red circle<lora:{NAME}-{kind}:{weight}>"
    answer = same_everywhere(host, prompt)
    assert not close(answer.images[0], plain.images[0])
    ramp = same_everywhere(host, f"a red circle<lora:{NAME}-{kind}:{weight}:{weight}>0>")
    assert not close(ramp.images[0], answer.images[0])
    still = same_everywhere(host, f"a red circle<lora:{NAME}-{kind}:{weight}@0, {weight}@1>")
    assert close(still.images[0], answer.images[0])
    assert made(host, prompt).same(answer)


@pytest.mark.parametrize(
    "tags",
    [
        "<lora:ctrlgen live alias:-0.5>",
        f"<lora:{NAME}-lora:0.8:0.3>",
        f"<lora:{NAME}-lora:te=0.3:unet=-0.4:dyn=2>",
        f"<lyco:{NAME}-lora:0.5><lora:{NAME}-loha:0.5>",
        f"<lora:{NAME}-lora:0>1><lora:{NAME}-loha:0.5>",
        f"<lora:{NAME}-lora:1@0 hold, 0@0.5:0.2>",
        f"<lora:{NAME}-lora:1@0 hold, 0@0.5>",
        f"<lora:{NAME}-lora:0.4:1@0, -1@0.6:2>",
    ],
)
def test_weights_and_schedules_are_as_headless(host: WebUI, tags: str) -> None:
    same_everywhere(host, f"a (red:1.2) circle {tags}")


def test_a_tag_in_a_negative_prompt_is_words(host: WebUI) -> None:
    same_everywhere(host, "a red circle", negative_prompt=f"blue <lora:{NAME}-lora:1>")


@pytest.mark.parametrize(
    "prompt",
    [
        f"a {NAME} circle",
        f"a ({NAME}:1.3), [{NAME}pt] circle BREAK {NAME.upper()}",
        f"a {NAME} AND (red {NAME}pt:0.8) circle",
        f"a ({NAME}:1.5>0.5) circle <lora:{NAME}-lora:0.5>",
        "word, " * 36 + f"{NAME}, {NAME}pt and more",
        "word " * 73 + f"{NAME} and more",
        "word " * 60 + "comma, " + "word " * 12 + f"{NAME} words and more",
    ],
)
def test_embeddings_are_read_as_in_the_webui(host: WebUI, plain: Answer, prompt: str) -> None:
    answer = same_everywhere(host, prompt, negative_prompt=f"blue {NAME}pt")
    assert not close(answer.images[0], plain.images[0])


@pytest.mark.skipif(not XL, reason="live test: set CTRLGEN_WEBUI_SDXL")
@pytest.mark.parametrize("weights", ["0.8", "1>0", "0.5:1@0 hold, 0@0.5", "1@0 hold, 0.2@0.5:0.6"])
def test_sdxl_is_as_headless(host: WebUI, weights: str) -> None:
    prompt = f"a {NAME}xl circle<lora:{NAME}-xl:{weights}>"
    settings = {"sd_model_checkpoint": f"{XL}.safetensors"}
    theirs = made(host, prompt, override_settings=settings)
    assert close(theirs.images[0], headless(prompt, XL)[0])
    other = made(host, "a circle", override_settings=settings)
    assert not close(other.images[0], theirs.images[0])


RAMP = f"a red circle<lora:{NAME}-lora:0:1>0>"


def test_batches_keep_the_users_text_and_leave_nothing(host: WebUI, plain: Answer) -> None:
    one = made(host, RAMP)
    assert RAMP in host.infotext(one)
    assert f'Lora hashes: "{NAME}-lora: ' in host.infotext(one)
    batch = made(host, RAMP, batch_size=2, n_iter=2)
    assert close(batch.images[0 if len(batch.images) == 4 else 1], one.images[0])
    assert made(host, PLAIN["prompt"]).same(plain)


def test_the_hires_pass_has_its_own_steps_and_tags(host: WebUI) -> None:
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}
    tag = f"<lora:{NAME}-lora:0:{{}}>"
    both = made(host, f"a circle{tag.format('1@0, 1@1')}", **hires)
    constant = made(host, f"a circle{tag.format(1)}", **hires)
    assert close(both.images[0], constant.images[0])
    mixed = {"hr_prompt": f"a circle{tag.format('0.5@0, 0.5@1')}"}
    other = made(host, f"a circle{tag.format('1@0, 1@1')}", **hires, **mixed)
    wanted = made(host, f"a circle{tag.format(1)}", **hires, hr_prompt=f"a circle{tag.format(0.5)}")
    assert close(other.images[0], wanted.images[0])
    assert not close(other.images[0], both.images[0])
    assert mixed["hr_prompt"] in host.infotext(other)


def test_img2img_and_units_go_together(host: WebUI) -> None:
    unit = {**EDGES, "weight": 0.6}
    scheduled = made(host, f"a circle<lora:{NAME}-lora:0.5@0, 0.5@1>", unit)
    assert close(scheduled.images[0], made(host, f"a circle<lora:{NAME}-lora:0.5>", unit).images[0])
    fields = {"tab": "img2img", "init_images": [EDGES["image"]], "denoising_strength": 0.6}
    scheduled = made(host, f"a circle<lora:{NAME}-lora:0.5@0, 0.5@1>", **fields)
    assert close(scheduled.images[0], made(host, f"a circle<lora:{NAME}-lora:0.5>", **fields).images[0])


def test_the_requests_weights_rule_the_tag(host: WebUI) -> None:
    request = [{"prompt_weights": {f"lora:{NAME}-lora": "1>0"}}]
    found = made(host, f"a circle<lora:{NAME}-lora:0.3>", args=request)
    assert found.same(made(host, f"a circle<lora:{NAME}-lora:1>0>"))


def test_x_y_z_compares_schedules(host: WebUI) -> None:
    info = host.get("/sdapi/v1/script-info").json()
    script = next(each for each in info if each["name"] == "x/y/z plot" and not each["is_img2img"])
    arguments = [each["value"] for each in script["args"]]
    arguments[:10] = [7, ":1>0>,:0>,:1>0.5>", [], 0, "", [], 0, "", [], False]  # without a legend
    plot = {"script_name": "X/Y/Z plot", "script_args": arguments, "send_images": True}
    grid = made(host, f"a red circle<lora:{NAME}-lora:1>0>", **plot).images[0]
    cells = [grid[-SIZE:, x : x + SIZE] for x in (0, SIZE, 2 * SIZE)]
    for weight, cell in zip(("1>0", "0", "1>0.5"), cells, strict=True):
        assert close(cell, made(host, f"a red circle<lora:{NAME}-lora:{weight}>").images[0])


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (f"a<lora:{NAME}-lorra:1>0>", f"nearest: {NAME}-lora"),
        (f"a<lora:{NAME}-lora:1@0, 0@x>", "expected"),
        (f"a<lora:{NAME}-lora:1@0.5, 0@0.2>", "progress must rise"),
    ],
)
def test_a_wrong_schedule_is_an_error_with_its_place(host: WebUI, prompt: str, said: str) -> None:
    answer = host.generate(prompt=prompt)
    assert answer.status == 422
    assert answer.detail["path"] == "$.prompt"
    assert said in answer.detail["message"]


def test_a_lora_for_sdxl_is_refused(host: WebUI) -> None:
    if not XL:
        pytest.skip("live test: set CTRLGEN_WEBUI_SDXL")
    answer = host.generate(prompt=f"a<lora:{NAME}-xl:1>0>")
    assert answer.status == 422
    assert "width" in answer.detail["message"]


def test_an_interruption_leaves_nothing(host: WebUI, plain: Answer) -> None:
    stop = threading.Timer(1.0, lambda: host.post("/sdapi/v1/interrupt", {}))
    stop.start()
    answer = host.generate(prompt=RAMP, steps=150)
    stop.join()
    assert answer.status == 200
    time.sleep(0.2)
    assert made(host, PLAIN["prompt"]).same(plain)
