"""Depth Anything: the network against that of transformers, and the sizes at which it sees pictures."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.depth_anything import seen_size
from lib_ctrlgen.preprocessors.depth_anything_network import (
    DepthAnythingNetwork,
    Encoder,
    first_version,
    second_version,
)
from tests.support.fake_detectors import stripes

WIDTH, INNER, GRID, BLOCKS = 64, 128, 4, 5
OUTS, FUSED, MIDDLE, LAST = (8, 12, 16, 20), 8, 4, 3
CONV = ("weight", "bias")


def published(grid: int = GRID) -> dict[str, Tensor]:
    """Random weights with the names of the published files, for a small network."""
    shapes: dict[str, tuple[int, ...]] = {
        "pretrained.cls_token": (1, 1, WIDTH),
        "pretrained.pos_embed": (1, 1 + grid**2, WIDTH),
        "pretrained.mask_token": (1, WIDTH),
        "pretrained.patch_embed.proj.weight": (WIDTH, 3, 14, 14),
        "pretrained.patch_embed.proj.bias": (WIDTH,),
        "pretrained.norm.weight": (WIDTH,),
        "pretrained.norm.bias": (WIDTH,),
        "depth_head.resize_layers.0.weight": (OUTS[0], OUTS[0], 4, 4),
        "depth_head.resize_layers.0.bias": (OUTS[0],),
        "depth_head.resize_layers.1.weight": (OUTS[1], OUTS[1], 2, 2),
        "depth_head.resize_layers.1.bias": (OUTS[1],),
        "depth_head.resize_layers.3.weight": (OUTS[3], OUTS[3], 3, 3),
        "depth_head.resize_layers.3.bias": (OUTS[3],),
    }
    linear = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    linear |= {"mlp.fc1": (INNER, WIDTH), "mlp.fc2": (WIDTH, INNER)}
    for number in range(BLOCKS):
        block = f"pretrained.blocks.{number}"
        for name, shape in linear.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        shapes |= {f"{block}.{norm}.{part}": (WIDTH,) for norm in ("norm1", "norm2") for part in CONV}
        shapes |= {f"{block}.{scale}.gamma": (WIDTH,) for scale in ("ls1", "ls2")}
    convs = {f"depth_head.projects.{i}": (out, WIDTH, 1, 1) for i, out in enumerate(OUTS)}
    scratch = "depth_head.scratch"
    for place in range(1, 5):
        for unit in ("resConfUnit1", "resConfUnit2"):
            for conv in ("conv1", "conv2"):
                convs[f"{scratch}.refinenet{place}.{unit}.{conv}"] = (FUSED, FUSED, 3, 3)
        convs[f"{scratch}.refinenet{place}.out_conv"] = (FUSED, FUSED, 1, 1)
        shapes[f"{scratch}.layer{place}_rn.weight"] = (FUSED, OUTS[place - 1], 3, 3)
    convs[f"{scratch}.output_conv1"] = (MIDDLE, FUSED, 3, 3)
    convs[f"{scratch}.output_conv2.0"], convs[f"{scratch}.output_conv2.2"] = (
        (LAST, MIDDLE, 3, 3),
        (1, LAST, 1, 1),
    )
    for name, shape in convs.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    generator = torch.Generator().manual_seed(2)
    found = {key: torch.randn(shape, generator=generator) * 0.2 for key, shape in shapes.items()}
    found[f"{scratch}.output_conv2.2.bias"] += 1  # few of the depths are cut off at 0
    return found


NAMES = (  # of transformers' network, version 5
    (r"pretrained\.cls_token", "backbone.embeddings.cls_token"),
    (r"pretrained\.mask_token", "backbone.embeddings.mask_token"),
    (r"pretrained\.pos_embed", "backbone.embeddings.position_embeddings"),
    (r"pretrained\.patch_embed\.proj", "backbone.embeddings.patch_embeddings.projection"),
    (r"pretrained\.norm", "backbone.layernorm"),
    (r"pretrained\.blocks\.(\d+)\.attn\.proj", r"backbone.encoder.layer.\1.attention.o_proj"),
    (r"pretrained\.blocks\.(\d+)\.ls(\d)\.gamma", r"backbone.encoder.layer.\1.layer_scale\2.lambda1"),
    (r"pretrained\.blocks", "backbone.encoder.layer"),
    (r"depth_head\.projects\.(\d)", r"neck.reassemble_stage.layers.\1.projection"),
    (r"depth_head\.resize_layers\.(\d)", r"neck.reassemble_stage.layers.\1.resize"),
    (r"depth_head\.scratch\.output_conv1", "head.conv1"),
    (r"depth_head\.scratch\.output_conv2\.0", "head.conv2"),
    (r"depth_head\.scratch\.output_conv2\.2", "head.conv3"),
)


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that transformers has for them."""
    found: dict[str, Tensor] = {}
    for key, value in weights.items():
        name = key
        for old, new in NAMES:
            name = re.sub(f"^{old}", new, name)
        name = re.sub(r"depth_head\.scratch\.layer(\d)_rn", lambda m: f"neck.convs.{int(m[1]) - 1}", name)
        name = re.sub(
            r"depth_head\.scratch\.refinenet(\d)", lambda m: f"neck.fusion_stage.layers.{4 - int(m[1])}", name
        )
        name = re.sub(r"resConfUnit(\d)\.conv", r"residual_layer\1.convolution", name)
        name = name.replace("out_conv", "projection")
        if ".attn.qkv." in name:
            for part, each in zip("qkv", value.chunk(3), strict=True):
                found[name.replace("attn.qkv", f"attention.{part}_proj")] = each
        else:
            found[name] = value
    return found


def test_the_network_is_that_of_transformers() -> None:
    transformers = pytest.importorskip("transformers", minversion="5")
    backbone = transformers.Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=1,
        mlp_ratio=INNER // WIDTH,
        image_size=GRID * 14,
        patch_size=14,
        out_indices=[2, 3, 4, 5],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=WIDTH,
        neck_hidden_sizes=list(OUTS),
        fusion_hidden_size=FUSED,
        head_hidden_size=LAST,
    )
    weights = published()
    theirs = transformers.DepthAnythingForDepthEstimation(config).eval()
    theirs.load_state_dict(renamed(weights), strict=True)
    ours = DepthAnythingNetwork(weights, ()).eval()
    ours.load_state_dict(weights, strict=True)
    x = torch.randn(1, 3, GRID * 14, GRID * 14, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        depth, wanted = ours(x)[:, 0], theirs(x).predicted_depth
    assert wanted.std() > 0.1
    assert (depth - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_positions_are_resized_like_a_picture() -> None:
    shapes = {key.removeprefix("pretrained."): value.shape for key, value in published(8).items()}
    encoder = Encoder(shapes, ())
    ramp = torch.linspace(0, 7, 8)
    grid = torch.stack(torch.meshgrid(ramp, ramp, indexing="ij"))
    with torch.no_grad():
        encoder.pos_embed[0, 1:, :2] = grid.flatten(1).T
        found = encoder.positions((16, 12))[0, 1:, :2].reshape(16, 12, 2)
        assert torch.equal(encoder.positions((8, 8)), encoder.pos_embed)
    rows, columns = (torch.arange(n) for n in (16, 12))
    inner = slice(3, -3)
    assert (found[inner, 5, 0] - ((rows + 0.5) * 8 / 16.1 - 0.5)[inner]).mean().abs() < 0.01
    assert (found[5, inner, 1] - ((columns + 0.5) * 8 / 12.1 - 0.5)[inner]).mean().abs() < 0.01


@pytest.mark.parametrize(
    ("size", "seen"), [((512, 512), (518, 518)), ((640, 448), (742, 518)), ((64, 192), (518, 1554))]
)
def test_the_short_side_is_518_pixels(size: tuple[int, int], seen: tuple[int, int]) -> None:
    assert seen_size(*size) == seen


def test_depth_of_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_ctrlgen.preprocessors.depth_anything.SIDE", 56)
    store = ModelStore([tmp_path], 1 << 30)
    weights = published()
    for name in ("depth_anything", "depth_anything_v2"):
        made = preprocessor(name).with_store(store)
        path = tmp_path / made.network.weights  # type: ignore[attr-defined]
        if path.suffix == ".safetensors":
            save_file(weights, path)
        else:
            torch.save(weights, path)
        found = np.asarray(made(stripes(100, 60)))
        assert found.shape == (60, 100, 3)
        assert (found == found[..., :1]).all()
        assert found.max() - found.min() > 100
        assert np.asarray(made(Image.new("RGB", (1, 1)))).shape == (1, 1, 3)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "depth_anything_vitl14.pth")
    with pytest.raises(
        ModelError, match=r"depth_anything_vitl14.pth' does not fit its architecture: missing"
    ):
        preprocessor("depth_anything").with_store(store)(stripes())


def test_the_versions_use_other_blocks() -> None:
    block = {key: value for key, value in published().items() if ".blocks.0." in key}
    more = {key.replace("blocks.0", f"blocks.{n}"): value for key, value in block.items() for n in range(12)}
    with torch.device("meta"):
        networks = [version(published() | more) for version in (first_version, second_version)]
    assert [list(network.pretrained.taken) for network in networks] == [[8, 9, 10, 11], [2, 5, 8, 11]]
