"""PuLID's vision encoder and face parser against forward passes written with plain operations."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.controls.pulid import towers
from lib_ctrlgen.controls.pulid.eva_clip import EvaTower
from lib_ctrlgen.controls.pulid.face_parser import FaceParser
from lib_ctrlgen.controls.pulid.towers import ENCODER, PARSER, Towers
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.clip_vision import MEAN, STD
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.storage import CPU, Placement
from lib_ctrlgen.models.store import ModelStore
from tests.support import control_files as files
from tests.support.face_adapters import Shapes, linear, norm, random_tensors

WIDTH, INNER, PATCH, SIDE, DEPTH, OUT = 128, 96, 4, 3, 22, 24
HOME = Placement(device=CPU, dtype=torch.float32)
Weights = dict[str, Tensor]


def encoder_shapes() -> Shapes:
    found: Shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, SIDE * SIDE + 1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        **norm("norm", WIDTH),
        **linear("head", WIDTH, OUT),
    }
    for block in (f"blocks.{i}" for i in range(DEPTH)):
        found |= {f"{block}.attn.{part}_proj.weight": (WIDTH, WIDTH) for part in "qkv"}
        found |= {f"{block}.attn.{part}_bias": (WIDTH,) for part in "qv"}
        found |= {
            **norm(f"{block}.attn.inner_attn_ln", WIDTH),
            **linear(f"{block}.attn.proj", WIDTH, WIDTH),
            **norm(f"{block}.norm1", WIDTH),
            **norm(f"{block}.norm2", WIDTH),
            **linear(f"{block}.mlp.w1", WIDTH, INNER),
            **linear(f"{block}.mlp.w2", WIDTH, INNER),
            **norm(f"{block}.mlp.ffn_ln", INNER),
            **linear(f"{block}.mlp.w3", INNER, WIDTH),
        }
    return found


def normal(x: Tensor, t: Weights, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return centred / deviation * t[f"{name}.weight"] + t[f"{name}.bias"]


def affine(x: Tensor, t: Weights, name: str) -> Tensor:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def rotated(x: Tensor) -> Tensor:
    """Patches [P, 64] turned as complex numbers: 16 pairs by the row, 16 by the column."""
    speed = 10000.0 ** -(torch.arange(16) / 16)
    places = torch.tensor([(row, column) for row in range(SIDE) for column in range(SIDE)]) / SIDE * 16
    angle = torch.cat([places[:, :1] * speed, places[:, 1:] * speed], 1)
    pairs = torch.view_as_complex(x.reshape(len(x), 32, 2).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).reshape(len(x), 64)


def official(t: Weights, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
    patches = pixels.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)[0].permute(1, 2, 0, 3, 4)
    kernel = t["patch_embed.proj.weight"].flatten(1).T
    x = torch.cat((t["cls_token"][0], patches.reshape(SIDE * SIDE, -1) @ kernel + t["patch_embed.proj.bias"]))
    x, maps = x + t["pos_embed"][0], []
    for block in (f"blocks.{i}" for i in range(DEPTH)):
        if block in {f"blocks.{i}" for i in (4, 8, 12, 16, 20)}:
            maps.append(x[None])
        seen, heads = normal(x, t, f"{block}.norm1"), []
        q, k, v = (seen @ t[f"{block}.attn.{part}_proj.weight"].T for part in "qkv")
        q, v = q + t[f"{block}.attn.q_bias"], v + t[f"{block}.attn.v_bias"]
        for part in (slice(0, 64), slice(64, 128)):
            turned = [torch.cat((y[:1, part], rotated(y[1:, part]))) for y in (q, k)]
            heads.append((turned[0] @ turned[1].T / 8).softmax(-1) @ v[:, part])
        mixed = normal(torch.cat(heads, 1), t, f"{block}.attn.inner_attn_ln")
        x = x + affine(mixed, t, f"{block}.attn.proj")
        seen = normal(x, t, f"{block}.norm2")
        gate = affine(seen, t, f"{block}.mlp.w1")
        inner = normal(gate * gate.sigmoid() * affine(seen, t, f"{block}.mlp.w2"), t, f"{block}.mlp.ffn_ln")
        x = x + affine(inner, t, f"{block}.mlp.w3")
    return affine(normal(x[:1], t, "norm"), t, "head"), maps


def test_the_encoder_is_the_official_one() -> None:
    t = random_tensors(encoder_shapes())
    with torch.device("meta"):
        network = EvaTower(t)
    fill(network, t, "eva", CPU, torch.float32)
    pixels = torch.randn(1, 3, network.size, network.size, generator=torch.Generator().manual_seed(2))
    found, maps = network(pixels)
    wanted, shown = official(t, pixels)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert len(maps) == 5
    for one, other in zip(maps, shown, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def parser() -> FaceParser:
    network = FaceParser().eval()
    generator = torch.Generator().manual_seed(4)
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            spread = 1.0 if value.ndim < 2 else 1.4 / value[0].numel() ** 0.5
            value.copy_(torch.randn(value.shape, generator=generator) * spread)
            if key.endswith(("running_var", "bn1.weight", "bn2.weight", "bn.weight")):
                value.abs_().add_(0.5)
    return network


def official_parts(t: Weights, x: Tensor) -> Tensor:
    """facexlib's BiSeNet: a ResNet-18, two refined features brought together, the scores enlarged."""

    def norm2d(x: Tensor, name: str) -> Tensor:
        mean, var = (t[f"{name}.running_{part}"][:, None, None] for part in ("mean", "var"))
        weight, bias = (t[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = t[f"{name}.weight"]
        return functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def unit(x: Tensor, name: str) -> Tensor:
        return norm2d(conv(x, f"{name}.conv"), f"{name}.bn").relu()

    def mean(x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def refined(x: Tensor, name: str) -> Tensor:
        x = unit(x, f"{name}.conv")
        return x * norm2d(conv(mean(x), f"{name}.conv_atten"), f"{name}.bn_atten").sigmoid()

    def larger(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    net = "cp.resnet"
    x = functional.max_pool2d(norm2d(conv(x, f"{net}.conv1", 2), f"{net}.bn1").relu(), 3, 2, 1)
    levels = []
    for layer in range(1, 5):
        for block in (f"{net}.layer{layer}.{i}" for i in range(2)):
            stride = 2 if layer > 1 and block.endswith("0") else 1
            inner = norm2d(conv(x, f"{block}.conv1", stride), f"{block}.bn1").relu()
            inner = norm2d(conv(inner, f"{block}.conv2"), f"{block}.bn2")
            down = f"{block}.downsample"
            x = norm2d(conv(x, f"{down}.0", stride), f"{down}.1") if f"{down}.0.weight" in t else x
            x = (x + inner).relu()
        levels.append(x)
    context = larger(refined(levels[3], "cp.arm32") + unit(mean(levels[3]), "cp.conv_avg"))
    context = larger(refined(levels[2], "cp.arm16") + unit(context, "cp.conv_head32"))
    both = unit(torch.cat((levels[1], unit(context, "cp.conv_head16")), 1), "ffm.convblk")
    share = conv(conv(mean(both), "ffm.conv1").relu(), "ffm.conv2").sigmoid()
    scores = conv(unit(both + both * share, "conv_out.conv"), "conv_out.conv_out")
    return functional.interpolate(scores, scale_factor=8, mode="bilinear", align_corners=True).argmax(1)


def test_the_parser_is_the_official_one() -> None:
    network = parser()
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2
    with torch.no_grad():
        found, wanted = network(pixels), official_parts(network.state_dict(), pixels)
    assert len(wanted.unique()) > 2
    assert float((found != wanted).float().mean()) < 0.01, "rounding may move a border"


class Half(torch.nn.Module):
    """A parser for which the right half of a picture is not the face."""

    def forward(self, pixels: Tensor) -> Tensor:
        parts = torch.ones(len(pixels), *pixels.shape[2:], dtype=torch.long)
        parts[..., pixels.shape[3] // 2 :] = 17
        parts[..., -8:] = 16
        return parts


def test_the_encoder_sees_the_face_in_grey_on_white(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t = random_tensors(encoder_shapes())
    rope = {"visual.rope.freqs_cos": torch.zeros(2), "text.positional_embedding": torch.zeros(2)}
    tensors = {f"visual.{key}": value for key, value in t.items()} | rope
    torch.save(tensors, tmp_path / f"{ENCODER}.pt")
    save_file({"none": torch.zeros(1)}, tmp_path / f"{PARSER}.safetensors")
    monkeypatch.setattr(towers, "read_parser", lambda *_: (Half(), towers.placed([], HOME, "half")))
    both = Towers.of(ModelStore([tmp_path], 1 << 30), HOME)
    face = files.picture(512, 512)
    alone = both.isolated(face)[0]
    assert torch.equal(alone[:, :, -8:], torch.ones(3, 512, 8)), "clothes, painted white"
    r, g, b = (torch.tensor(list(face.getpixel((100, 200)))) / 255).tolist()  # type: ignore[arg-type]
    assert alone[:, 200, 100].tolist() == pytest.approx([0.299 * r + 0.587 * g + 0.114 * b] * 3, abs=1e-5)
    embedding, *maps = both.features(face)
    assert float(embedding.norm()) == pytest.approx(1.0, abs=1e-5)
    small = functional.interpolate(alone[None], (12, 12), mode="bicubic", antialias=True)
    normed = (small - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    wanted, shown = official(t, normed)
    torch.testing.assert_close(embedding, wanted / wanted.norm(), rtol=0, atol=1e-5)
    torch.testing.assert_close(maps[4], shown[4], rtol=0, atol=1e-4)


def test_a_missing_parser_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / f"{ENCODER}.pt")
    with pytest.raises(ModelError, match=r"parsing_bisenet\.pth.*put it into"):
        Towers.of(ModelStore([tmp_path], 1 << 30), HOME)
    torch.save({"a": torch.zeros(1)}, tmp_path / f"{PARSER}.pth")
    both = Towers.of(ModelStore([tmp_path], 1 << 30), HOME)
    with pytest.raises(ModelError, match="parsing_bisenet"):
        both.isolated(files.picture(64, 64))
