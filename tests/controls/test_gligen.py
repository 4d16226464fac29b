"""GLIGEN in both hosts' U-Nets, against its formulas written out here and against diffusers' gated U-Net."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.controls.gligen.gligen import PreparedGligen
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.session.session import ControlSession
from tests.support import control_files as files
from tests.support import gligen_files as gligen
from tests.support import networks
from tests.support.lora_files import assert_untouched, snapshot
from tests.support.networks import Call, Script, random_call
from tests.support.unet_calls import port_of, relative_error, run, sd_diffusers, sd_ldm
from tests.support.unet_hosts import structure

HOSTS = {"ldm": sd_ldm, "diffusers": sd_diffusers}


@pytest.fixture(scope="module", params=HOSTS)
def unet(request: pytest.FixtureRequest) -> Any:
    return HOSTS[request.param]()


@pytest.fixture(scope="module")
def folder(unet: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("gligen")
    gligen.save(gligen.tensors_for(unet), made / "gligen.safetensors")
    gligen.save(gligen.tensors_for(unet, images=True), made / "pictures.safetensors")
    return made


def predicted(unet: Any, units: tuple[ActiveUnit, ...], call: Call, step: int = 0) -> Tensor:
    with ControlSession(port_of(unet), units, Script(4, [(step, call.rows)])):
        return run(unet, call)


def prepared(folder: Path, unet: Any, **fields: Any) -> PreparedGligen:
    (active,) = gligen.loaded(folder, unet, gligen.unit(**fields))
    assert isinstance(active.control, PreparedGligen)
    return active.control


def mlp(x: Tensor, own: dict[str, Tensor], name: str) -> Tensor:
    for layer in (0, 2, 4):
        weight, bias = (own[f"position_net.{name}.{layer}.{part}"] for part in ("weight", "bias"))
        x = x @ weight.T + bias
        x = x / (1 + (-x).exp()) if layer < 4 else x
    return x


def waves(box: list[float]) -> Tensor:
    """The frequency varies slowest, then sine and cosine, then the coordinate."""
    return torch.tensor(
        [wave(100 ** (i / 8) * edge) for i in range(8) for wave in (math.sin, math.cos) for edge in box]
    )


def test_the_objects_are_those_of_the_formula(unet: Any, folder: Path) -> None:
    own = load_file(folder / "gligen.safetensors")
    null = torch.cat([own["position_net.null_positive_feature"], own["position_net.null_position_feature"]])
    phrases = gligen.HashedPhrases()
    rows = [torch.cat([phrases.encode(box["text"]), waves(box["box"])]) for box in gligen.BOXES]
    wanted = mlp(torch.stack([*rows, *[null] * 27]), own, "linears")
    objects = prepared(folder, unet).objects
    assert relative_error(objects[1], wanted) <= 1e-5
    assert relative_error(objects[0], mlp(null, own, "linears")) <= 1e-5
    assert objects.shape == (2, 30, gligen.WIDTH)


def test_a_picture_becomes_a_feature_of_length_28_7(unet: Any, folder: Path, tmp_path: Path) -> None:
    vision, projection = gligen.save_clip(tmp_path / "clip")
    picture = files.data_url(seed=5)
    boxes = [
        {**gligen.BOXES[0], "image": picture},
        gligen.BOXES[1],
        {**gligen.BOXES[2], "text": "", "image": picture},
    ]
    store = ModelStore([folder, tmp_path], 1 << 30)
    (active,) = gligen.loaded(folder, unet, gligen.unit(boxes, model="pictures"), store=store)
    control = active.control
    assert isinstance(control, PreparedGligen)
    own = load_file(folder / "pictures.safetensors")
    feature = embedding(vision, files.picture(seed=5)) @ projection
    feature = 28.7 * feature / feature.square().sum().sqrt()
    place = [waves(box["box"]) for box in boxes]
    no_text, no_picture = own["position_net.null_text_feature"], own["position_net.null_image_feature"]
    wanted = {
        2: mlp(torch.cat([no_text, place[2]]), own, "linears_text"),
        30: mlp(torch.cat([feature, place[0]]), own, "linears_image"),
        31: mlp(torch.cat([no_picture, place[1]]), own, "linears_image"),
        59: mlp(torch.cat([no_picture, own["position_net.null_position_feature"]]), own, "linears_image"),
    }
    for row, values in wanted.items():
        assert relative_error(control.objects[1, row], values) <= 1e-5, row
    assert set(control.loaded) == {"image_encoder"}


def embedding(vision: Any, picture: Image.Image) -> Tensor:
    """A square picture's embedding by a vision tower, called as transformers documents it."""
    pixels = torch.from_numpy(np.array(picture.resize((32, 32), Image.Resampling.BICUBIC))).float() / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    with torch.no_grad():
        found: Tensor = vision(((pixels - mean) / std).permute(2, 0, 1)[None]).image_embeds[0]
    return found


def block_formula(x: Tensor, objects: Tensor, own: dict[str, Tensor], heads: int, weight: float) -> Tensor:
    """The published block with both gates times a weight: attention over image tokens and objects."""

    def norm(tensor: Tensor, name: str) -> Tensor:
        middle = tensor - tensor.mean(-1, keepdim=True)
        scaled = middle / (middle.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * own[f"{name}.weight"] + own[f"{name}.bias"]

    def split(tensor: Tensor) -> Tensor:
        return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)

    tokens = norm(torch.cat([x, objects @ own["linear.weight"].T + own["linear.bias"]], 1), "norm1")
    q, k, v = (split(tokens @ own[f"attn.to_{part}.weight"].T) for part in "qkv")
    mixed = ((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v).transpose(1, 2).flatten(2)
    out = mixed @ own["attn.to_out.0.weight"].T + own["attn.to_out.0.bias"]
    x = x + weight * torch.tanh(own["alpha_attn"]) * out[:, : x.shape[1]]
    inner, gate = (norm(x, "norm2") @ own["ff.net.0.proj.weight"].T + own["ff.net.0.proj.bias"]).chunk(2, -1)
    dense = (inner * functional.gelu(gate)) @ own["ff.net.2.weight"].T + own["ff.net.2.bias"]
    return x + weight * torch.tanh(own["alpha_dense"]) * dense


@pytest.mark.parametrize("weight", [1.0, 0.35, -0.5])
def test_a_gated_block_is_that_of_the_formula(unet: Any, folder: Path, weight: float) -> None:
    tensors = load_file(folder / "gligen.safetensors")
    control, shape = prepared(folder, unet), port_of(unet).shape
    for place, site in enumerate(port_of(unet).attention_sites()):
        prefix = site.name.replace("attn2", "fuser.")
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        x = torch.randn(2, 6, site.hidden, generator=torch.Generator().manual_seed(place))
        with torch.no_grad():
            found = x + control.gated(place, x, control.objects_at(place), weight)
        wanted = block_formula(x, control.objects, own, shape.heads[place], weight)
        assert (found - wanted).abs().max() <= 1e-5


@pytest.mark.parametrize("images", [False, True])
def test_a_unet_with_boxes_is_diffusers_gated_unet(unet: Any, folder: Path, images: bool) -> None:
    """Conditional rows get the boxes and unconditional ones null objects, wherever they stand in a call."""
    tensors = gligen.tensors_for(unet, images=images)
    twin = gligen.reference(unet, tensors, images=images)
    active = gligen.loaded(folder, unet, gligen.unit(model="pictures" if images else "gligen"))
    call = random_call("u0 c0 c1 u1 c0", 3)
    rows = dict.fromkeys((1, 2, 4), gligen.BOXES)
    grounding = gligen.grounded(rows, 5, {} if images else None)
    with torch.no_grad():
        wanted = twin(
            call.x, call.timestep[0], call.context, cross_attention_kwargs={"gligen": grounding}
        ).sample
    found = predicted(unet, active, call)
    assert relative_error(found, wanted) <= 1e-4
    assert relative_error(run(unet, call), wanted) > 1e-2


def test_the_order_of_boxes_changes_nothing(unet: Any, folder: Path) -> None:
    call = random_call("c0 u0", 5)
    shuffled = random.Random(2).sample(gligen.BOXES, 3)
    one, other = (
        predicted(unet, gligen.loaded(folder, unet, gligen.unit(boxes)), call)
        for boxes in (gligen.BOXES, shuffled)
    )
    assert shuffled != gligen.BOXES
    assert relative_error(one, other) <= 3e-5


def test_a_row_is_what_it_is_alone(unet: Any, folder: Path) -> None:
    active = gligen.loaded(folder, unet, gligen.unit(weight=0.7))
    call = random_call("c0 c1 u0 u1", 8)
    together = predicted(unet, active, call)
    for row in range(4):
        assert relative_error(together[row], predicted(unet, active, call.row(row))[0]) <= 3e-5


def test_weight_0_and_the_end_of_the_session_leave_the_same_bits(unet: Any, folder: Path) -> None:
    call, before, weights = random_call("c0 u0", 6), structure(unet), snapshot(unet)
    plain = run(unet, call)
    active = gligen.loaded(folder, unet, gligen.unit(weight="1 in 0..0.3"))
    assert relative_error(predicted(unet, active, call, step=1), plain) > 1e-3
    assert torch.equal(predicted(unet, active, call, step=2), plain)
    assert torch.equal(run(unet, call), plain)
    layers = [0.0] * 15 + [0.5]
    last = gligen.loaded(folder, unet, gligen.unit(layer_weights=layers))
    assert not torch.equal(predicted(unet, last, call), plain)
    none = gligen.loaded(folder, unet, gligen.unit(layer_weights=[0.0] * 16))
    assert torch.equal(predicted(unet, none, call), plain)
    assert structure(unet) == before
    assert_untouched(unet, weights)


def test_two_sessions_leave_in_any_order(unet: Any, folder: Path) -> None:
    call, before = random_call("c0 u0", 6), structure(unet)
    plain = run(unet, call)
    for order in ([0, 1], [1, 0]):
        opened = [
            ControlSession(port_of(unet), gligen.loaded(folder, unet), Script(4, [(0, call.rows)] * 2))
            for _ in range(2)
        ]
        for session in opened:
            session.__enter__()
        both = run(unet, call)
        opened[order[0]].__exit__(None, None, None)
        one = run(unet, call)
        opened[order[1]].__exit__(None, None, None)
        assert far(both, one) > 1e-3
        assert torch.equal(run(unet, call), plain)
        assert structure(unet) == before


def far(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def test_a_mask_confines_the_change_of_each_block(unet: Any, folder: Path) -> None:
    """What a block adds at a token is the change without a mask, times the mask there."""
    left = Image.new("L", (64, 64))
    left.paste(255, (0, 0, 32, 64))
    whole, masked = (
        gligen.loaded(folder, unet, gligen.unit(**given))
        for given in ({}, {"mask": files.encode_image(left)})
    )
    call = random_call("c0 u0", 9)
    first = port_of(unet).attention_sites()[0].name.replace("attn2", "norm2")
    changes = []
    for units in ((), whole, masked):
        seen: list[Tensor] = []
        with ControlSession(port_of(unet), units, Script(4, [(0, call.rows)])):
            hook = unet.get_submodule(first).register_forward_pre_hook(
                lambda _m, x, s=seen: s.append(x[0].clone())
            )
            run(unet, call)
            hook.remove()
        changes.append(seen[0])
    plain, full, half = changes
    share = torch.tensor([1.0] * 4 + [0.0] * 4).repeat(8)[None, :, None]
    assert far(half, plain + (full - plain) * share) <= 1e-5
    assert far(full, plain) > 1e-3


def merging(self: Any, x: Tensor, context: Tensor | None = None) -> Tensor:
    """ldm's transformer block with self attention over pairs of tokens, as token merging does it."""
    merged = self.norm1(x).unflatten(1, (-1, 2)).mean(2)
    x = self.attn1(merged).repeat_interleave(2, 1) + x
    x = self.attn2(self.norm2(x), context=context) + x
    return self.ff(self.norm3(x)) + x  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:.*autocast")
def test_merged_tokens_and_checkpoints_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unet, call = sd_ldm(), random_call("c0", 4, (16, 16))
    gligen.save(gligen.tensors_for(unet), tmp_path / "gligen.safetensors")
    own = load_file(tmp_path / "gligen.safetensors")
    active, seen = gligen.loaded(tmp_path, unet), []
    block = unet.get_submodule("input_blocks.1.1.transformer_blocks.0")

    def keep(_module: Any, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0].clone())

    with block.norm2.register_forward_pre_hook(keep):
        wanted = predicted(unet, active, call)
        for module in unet.modules():
            if hasattr(module, "checkpoint"):
                monkeypatch.setattr(module, "checkpoint", True)
        assert torch.equal(predicted(unet, active, call), wanted)
        monkeypatch.setattr(type(block), "_forward", merging)
        del seen[:]
        session = ControlSession(port_of(unet), active, Script(4, [(0, call.rows)]))
        with session, block.norm2.register_forward_pre_hook(keep):
            found = run(unet, call)
    before, after = seen
    prefix = "input_blocks.1.1.transformer_blocks.0.fuser."
    parts = {key.removeprefix(prefix): value for key, value in own.items() if key.startswith(prefix)}
    control = active[0].control
    assert isinstance(control, PreparedGligen)
    assert far(after, block_formula(before, control.objects[1:], parts, networks.HEADS, 1.0)) <= 1e-5
    assert relative_error(found, wanted) > 1e-3
