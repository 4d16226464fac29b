"""Controls by reference pictures and by boxes in the real WebUI: as headless, restored, refused where wrong.

Needs CTRLGEN_WEBUI_ROOT; for SDXL also CTRLGEN_WEBUI_SDXL (a small random checkpoint will do).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.live.conftest import EDGES, PICTURE, PLAIN, SIZE, WebUI, close, encoded, scene

pytest.importorskip("diffusers")

from tests.support import face_adapters, gligen_files
from tests.support.live_checkpoints import Checkpoint, checkpoint_of, sdxl_name
from tests.support.unet_calls import port_of

pytestmark = pytest.mark.live
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "None", "denoising_strength": 0.7}
LOOK = {"image": encoded(scene())}
OTHER = {"image": encoded(Image.new("RGB", (SIZE, SIZE), "blue"))}
BOXES = [{"text": "a red circle", "box": [0, 0, 0.5, 1]}, {"text": "a blue square", "box": [0.5, 0.5, 1, 1]}]
METHODS = ("attention", "adain", "both")


def reference(method: str = "attention", **fields: Any) -> dict[str, Any]:
    return {"control": "reference", "params": {"method": method, "style_fidelity": 1.0}, **LOOK, **fields}


def face_adapter(variant: str) -> Any:
    """A random IP-Adapter for faces in the sizes of a checkpoint."""

    def make(base: Any) -> dict[str, Any]:
        shape = port_of(base.unet).shape
        shapes = face_adapters.whole(variant, shape.family.context_dim, shape.attention_hidden, rank=4)
        return face_adapters.random_tensors(shapes)

    return make


FACES = {"faceid": face_adapter("faceid"), "faceid-portrait": face_adapter("portrait")}
FACE = json.dumps([(place % 7 - 3) / 20 for place in range(512)])


@pytest.fixture(scope="module")
def sd15(webui: WebUI, webui_root: Path) -> Iterator[Checkpoint]:
    makes = {"gligen": lambda base: gligen_files.tensors_for(base.unet), **FACES}
    yield from checkpoint_of(webui, webui_root, "ctrlgen-tiny.safetensors", makes, PLAIN)


@pytest.fixture(scope="module")
def sdxl(webui: WebUI, webui_root: Path) -> Iterator[Checkpoint]:
    yield from checkpoint_of(
        webui, webui_root, sdxl_name(), {f"xl-{kind}": make for kind, make in FACES.items()}, PLAIN
    )


@pytest.fixture(params=["sd15", "sdxl"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    found: Checkpoint = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_picture_acts_and_leaves_nothing(checkpoint: Checkpoint, method: str) -> None:
    seen = checkpoint.made(reference(method))
    assert not seen.same(checkpoint.plain)
    assert seen.same(checkpoint.made(reference(method))), "its noise is that of the seed"
    assert not seen.same(checkpoint.made(reference(method, **OTHER)))
    assert close(seen.images[0], checkpoint.headless(reference(method))[0])
    assert checkpoint.made(reference(method, weight=0)).same(checkpoint.plain)
    assert checkpoint.made().same(checkpoint.plain)


@pytest.mark.parametrize(
    "fields",
    [HIRES, {"batch_size": 2, "sampler_name": "DPM++ 2M"}, {"prompt": "a cat AND a dog:0.5"}],
    ids=["hires", "batch", "and"],
)
def test_ways_of_sampling_with_a_reference(checkpoint: Checkpoint, fields: dict[str, Any]) -> None:
    count = fields.get("batch_size", 1)
    others = [EDGES] if checkpoint.checkpoint.startswith("ctrlgen-tiny") else []
    seen = checkpoint.made(reference("both", weight="1>0.3"), *others, **fields)
    assert not seen.same(checkpoint.made(**fields), count)
    assert checkpoint.made().same(checkpoint.plain)


def test_two_references_share_a_step(sd15: Checkpoint) -> None:
    both = sd15.made(reference(weight=0.5), reference(weight=0.5, **OTHER))
    assert not both.same(sd15.made(reference(weight=0.5)))
    assert sd15.made().same(sd15.plain)


def test_style_aligned_keeps_the_first_picture(checkpoint: Checkpoint) -> None:
    batch = {"batch_size": 3}
    free, aligned = checkpoint.made(**batch), checkpoint.made({"control": "style_aligned"}, **batch)
    apart = [
        np.abs(one.astype(int) - other).max() for one, other in zip(free.images, aligned.images, strict=True)
    ]
    assert apart[1] > 8
    assert apart[2] > 8
    assert checkpoint.made(**batch).same(free, 3)
    hires = checkpoint.made({"control": "style_aligned"}, **batch, **HIRES)
    assert not hires.same(checkpoint.made(**batch, **HIRES), 3)


def test_style_aligned_needs_a_batch(sd15: Checkpoint) -> None:
    answer = sd15.answer({"control": "style_aligned"})
    assert answer.status == 422 or "batch" in answer.json["info"], answer.json


def test_revision_is_for_sdxl(sd15: Checkpoint) -> None:
    answer = sd15.answer({"control": "revision", **LOOK})
    assert answer.status == 422
    assert answer.detail["path"] == "$.units[0].control"
    assert "SDXL" in answer.detail["message"]


def test_boxes_act_as_headless_and_leave_nothing(sd15: Checkpoint) -> None:
    unit = {"model": sd15.files["gligen"], "boxes": BOXES, "weight": "1 in 0..0.75"}
    boxed = sd15.made(unit)
    assert not boxed.same(sd15.plain)
    assert close(boxed.images[0], sd15.headless(unit)[0])
    assert not boxed.same(sd15.made({**unit, "boxes": BOXES[:1]}))
    assert sd15.made({**unit, "weight": 0}).same(sd15.plain)
    assert sd15.made().same(sd15.plain)


def test_boxes_are_for_gligen_alone(sd15: Checkpoint) -> None:
    answer = sd15.answer({**PICTURE, "boxes": BOXES})
    assert (answer.status, answer.detail["path"]) == (422, "$.units[0].boxes")
    answer = sd15.answer({"model": sd15.files["gligen"]})
    assert (answer.status, answer.detail["path"]) == (422, "$.units[0].boxes")


def test_an_infotext_names_the_control(sd15: Checkpoint, webui: WebUI) -> None:
    text = webui.infotext(sd15.made(reference()))
    assert "reference" in text.replace("\\", "")


@pytest.mark.parametrize(
    "params",
    [
        {"weight_type": "style transfer"},
        {"weight_type": "composition precise"},
        {"embeds_scaling": "K+V"},
        {"layers": "3:1.0, 6:0.5"},
    ],
    ids=lambda params: "-".join(map(str, params.values())),
)
def test_weight_types_act_as_headless(sd15: Checkpoint, params: dict[str, Any]) -> None:
    unit = {**PICTURE, "params": params, "weight": "1>0.4"}
    made = sd15.made(unit)
    assert not made.same(sd15.made({**PICTURE, "weight": "1>0.4"}))
    assert close(made.images[0], sd15.headless(unit)[0])
    assert sd15.made().same(sd15.plain)


@pytest.mark.parametrize("combine", ["concat", "average", "norm_average", "subtract"])
def test_several_references_act_as_headless(sd15: Checkpoint, combine: str) -> None:
    more = [{**OTHER, "weight": "1>0"}, {**LOOK, "role": "negative"}]
    unit = {**PICTURE, "references": more, "combine": combine}
    made = sd15.made(unit)
    assert not made.same(sd15.made(PICTURE))
    assert close(made.images[0], sd15.headless(unit)[0])
    assert sd15.made({**PICTURE, "weight": -0.5}).status == 200


@pytest.mark.parametrize("kind", list(FACES))
def test_face_adapters_act_as_headless_and_leave_nothing(checkpoint: Checkpoint, kind: str) -> None:
    name = checkpoint.files.get(kind) or checkpoint.files[f"xl-{kind}"]
    unit = {"model": name, **LOOK, "params": {"face": FACE}}
    made = checkpoint.made(unit)
    assert not made.same(checkpoint.plain)
    assert close(made.images[0], checkpoint.headless(unit)[0])
    if kind == "faceid":
        assert not made.same(checkpoint.made({**unit, "params": {"face": FACE, "lora_weight": 0}}))
    assert checkpoint.made({**unit, "guidance_end": 0.5}).status == 200
    assert checkpoint.made().same(checkpoint.plain)


def test_a_face_that_cannot_be_found_is_an_error(webui: WebUI) -> None:
    answer = webui.post("/ctrlgen/v1/faces", {"image": encoded(scene())})
    assert answer.status_code == 422, answer.text
    assert json.loads(answer.text)["detail"]["path"].startswith("$")
