"""ReVision: what takes the place of SDXL's pooled text, on the U-Nets of both hosts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.revision import noised
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from tests.support import control_files as files
from tests.support import networks
from tests.support.networks import Call, Script, random_call
from tests.support.unet_calls import port_of, run, sd_diffusers, sdxl_diffusers

TEXT, POOLED, SIZES = 2048, 1280, 12
PICTURES = [files.picture(40, 40, seed) for seed in (3, 8)]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelStore, Any]:
    folder: Path = tmp_path_factory.mktemp("models")
    network = files.save_vision(folder / "bigG", projection=POOLED)
    return ModelStore([folder], 1 << 30), network


def sgm() -> Any:
    pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
    return networks.sgm_unet(context=TEXT, vector=POOLED + SIZES)


def diffusers() -> Any:
    vector = {**networks.SDXL_VECTOR, "projection_class_embeddings_input_dim": POOLED + SIZES}
    return sdxl_diffusers(cross_attention_dim=TEXT, **vector)


@pytest.fixture(scope="module", params=[sgm, diffusers], ids=["sgm", "diffusers"])
def unet(request: pytest.FixtureRequest) -> Any:
    return request.param()


def call_of() -> Call:
    generator = torch.Generator().manual_seed(2)
    call = random_call("c0 u0", 3)
    context = torch.randn(2, 7, TEXT, generator=generator)
    vector = torch.randn(2, POOLED + SIZES, generator=generator)
    return replace(call, context=context, vector=vector)


def predicted(unet: Any, call: Call) -> Tensor:
    """One call; in diffusers the vector's end stands for two waves of each of six sizes."""
    if hasattr(unet, "input_blocks"):
        return run(unet, call)
    ids = torch.arange(12.0).reshape(2, 6)
    added = {"text_embeds": call.vector[:, :POOLED], "time_ids": ids}
    with torch.no_grad():
        found: Tensor = unet(
            call.x, call.timestep[0], encoder_hidden_states=call.context, added_cond_kwargs=added
        ).sample
    return found


def controlled(unet: Any, store: ModelStore, units: Sequence[dict[str, Any]], call: Call) -> Tensor:
    bodies = [
        {"control": "revision", "image": files.encode_image(PICTURES[k]), **fields}
        for k, fields in enumerate(units)
    ]
    target = Target(store=store, shape=port_of(unet).shape, unet=unet)
    loaded = load_units(parse_request({"units": bodies}).units, target)
    with ControlSession(port_of(unet), loaded, Script(4, [(0, call.rows)])):
        return predicted(unet, call)


def embedding(network: Any, picture: Any) -> Tensor:
    """CLIP's image embedding of a square picture of the encoder's size after resizing, [1, 1280]."""
    import numpy as np

    from lib_ctrlgen.models.clip_vision import MEAN, STD, centre_square

    pixels = torch.from_numpy(np.asarray(centre_square(to_rgb(picture), 32), np.float32) / 255.0)
    normal = (pixels - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        found: Tensor = network(pixel_values=normal.permute(2, 0, 1)[None]).image_embeds
    return found


def with_pooled(call: Call, pooled: Tensor) -> Call:
    """The call with another pooled text on its conditional row."""
    vector = call.vector.clone()
    vector[:1, :POOLED] = pooled
    return replace(call, vector=vector)


def test_embeddings_add_up_in_the_place_of_the_text(unet: Any, tower: tuple[ModelStore, Any]) -> None:
    store, network = tower
    call, plain = call_of(), predicted(unet, call_of())
    first, second = (embedding(network, picture) for picture in PICTURES)
    text = call.vector[:1, :POOLED]
    for weights, pooled in (
        ([1], first),
        ([1, 0.5], first + 0.5 * second),
        ([0.25, 0.5], 0.25 * text + 0.25 * first + 0.5 * second),
    ):
        found = controlled(unet, store, [{"weight": weight} for weight in weights], call)
        wanted = predicted(unet, with_pooled(call, pooled))
        assert torch.allclose(found, wanted, atol=2e-4)
        assert (found[:1] - plain[:1]).abs().max() > 0.1
        assert torch.equal(found[1:], plain[1:]), "the negative prompt's row"


def test_the_prompt_can_be_ignored(unet: Any, tower: tuple[ModelStore, Any]) -> None:
    store, network = tower
    call, half = call_of(), 0.5 * embedding(network, PICTURES[0])
    found = controlled(unet, store, [{"weight": 0.5, "params": {"ignore_prompt": True}}], call)
    context = call.context.clone()
    context[0] = 0
    wanted = predicted(unet, with_pooled(replace(call, context=context), half))
    assert torch.allclose(found, wanted, atol=2e-4)


def test_noise_of_a_level_is_that_of_a_linear_schedule() -> None:
    vector = torch.full((1, 1 << 16), 3.0)
    assert torch.equal(noised(vector, 0), vector)
    for level in (0.3, 1.0):
        betas = [1e-4 + (2e-2 - 1e-4) * step / 999 for step in range(min(int(1000 * level), 999) + 1)]
        alpha = 1.0
        for beta in betas:
            alpha *= 1 - beta
        found = noised(vector, level)
        assert float(found.mean()) == pytest.approx(3 * alpha**0.5, abs=0.02)
        assert float(found.std()) == pytest.approx((1 - alpha) ** 0.5, rel=0.02)
        assert torch.equal(found, noised(vector, level))


def test_what_it_cannot_do_is_an_error_at_its_field(unet: Any, tower: tuple[ModelStore, Any]) -> None:
    store, _ = tower
    mask = files.encode_image(files.Image.new("L", (8, 8), 255))
    for used, fields, path in (
        (sd_diffusers(), {}, "control"),
        (unet, {"mask": mask}, "mask"),
        (unet, {"control_mode": "control"}, "control_mode"),
        (unet, {"preprocessor": "canny"}, "preprocessor"),
        (unet, {"params": {"image_encoder": "nonesuch"}}, "params.image_encoder"),
    ):
        with pytest.raises(RequestError) as caught:
            controlled(used, store, [fields], call_of())
        assert caught.value.path == f"$.units[0].{path}"
    with pytest.raises(RequestError, match="CLIP vision encoder with projection 1280") as caught:
        controlled(unet, ModelStore([], 1 << 30), [{}], call_of())
    assert caught.value.path == "$.units[0].control"
