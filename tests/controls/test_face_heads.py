"""The heads of IP-Adapters against the official formulas, written here with plain matrix products."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.loaders.unet import UNet2DConditionLoadersMixin
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import gelu

from lib_ctrlgen.controls.ip_adapter.file import load_head
from lib_ctrlgen.controls.ip_adapter.heads import head_of
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.faces.face import WIDTH
from lib_ctrlgen.models.storage import CPU, Placement
from tests.support import face_adapters as adapters
from tests.support.properties import examples

CONTEXT, CLIP = 128, 48
HOME = Placement(device=CPU, dtype=torch.float32)
VARIANTS = ("plain", "full", "plus", "faceid", "faceid_plus", "portrait", "portrait_unnorm")
Weights = dict[str, Tensor]


def normal(x: Tensor, t: Weights, name: str) -> Tensor:
    """A layer norm by its definition."""
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * t[f"{name}.weight"] + t[f"{name}.bias"]


def affine(x: Tensor, t: Weights, name: str) -> Tensor:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def official_layers(latents: Tensor, seen: Tensor, t: Weights) -> Tensor:
    """tencent-ailab's resampler: attention of latents to features and latents, then a network, four times."""
    for i in range(4):
        x, own = normal(seen, t, f"layers.{i}.0.norm1"), normal(latents, t, f"layers.{i}.0.norm2")
        both = torch.cat((x, own), -2) @ t[f"layers.{i}.0.to_kv.weight"].T
        q, (k, v) = own @ t[f"layers.{i}.0.to_q.weight"].T, both.chunk(2, -1)
        heads = []
        for at in range(0, q.shape[-1], 64):
            part = slice(at, at + 64)
            scores = (q[..., part] @ k[..., part].mT / 8).softmax(-1)
            heads.append(scores @ v[..., part])
        latents = latents + torch.cat(heads, -1) @ t[f"layers.{i}.0.to_out.weight"].T
        inner = gelu(normal(latents, t, f"layers.{i}.1.0") @ t[f"layers.{i}.1.1.weight"].T)
        latents = latents + inner @ t[f"layers.{i}.1.3.weight"].T
    return normal(affine(latents, t, "proj_out"), t, "norm_out")


def official(variant: str, t: Weights, face: Tensor, seen: Tensor, scale: float | None = None) -> Tensor:
    """The tokens of a variant; `seen` is the CLIP feature, pooled for plain."""
    if variant == "plain":
        return normal(affine(seen, t, "proj").reshape(len(seen), -1, CONTEXT), t, "norm")
    if variant == "full":
        return normal(affine(gelu(affine(seen, t, "proj.0")), t, "proj.2"), t, "proj.3")
    if "latents" in t:
        read = affine(seen if variant == "plus" else face[:, None], t, "proj_in")
        return official_layers(t["latents"].repeat(len(read), 1, 1), read, t)
    tokens = affine(gelu(affine(face, t, "proj.0")), t, "proj.2").reshape(len(face), -1, CONTEXT)
    tokens = normal(tokens, t, "norm")
    if variant in {"faceid", "portrait"}:
        return tokens
    inner = {key.removeprefix("perceiver_resampler."): value for key, value in t.items()}
    out = official_layers(tokens, affine(seen, inner, "proj_in"), inner)
    return out if scale is None else tokens + scale * out


def inputs(variant: str, rows: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    face = torch.randn(rows, WIDTH, generator=generator)
    seen = torch.randn(rows, *(() if variant == "plain" else (17,)), CLIP, generator=generator)
    return face, seen


def tensors_of(variant: str) -> Weights:
    return adapters.random_tensors(adapters.head(variant, CONTEXT, CLIP), seed=len(variant))


def found(variant: str, t: Weights, face: Tensor, seen: Tensor, scale: float | None = None) -> Tensor:
    head = load_head(t, variant, HOME)
    if variant == "faceid_plus":
        return head(face, seen, scale)  # type: ignore[no-any-return]
    if variant in {"plain", "full", "plus"}:
        return head(seen)  # type: ignore[no-any-return]
    return head(face[:, None] if "latents" in t else face)  # type: ignore[no-any-return]


@pytest.mark.parametrize("variant", VARIANTS)
def test_tokens_are_the_official_ones(variant: str) -> None:
    t, (face, seen) = tensors_of(variant), inputs(variant)
    tokens = found(variant, t, face, seen)
    count = {"full": 17, "plain": 4, "faceid": 4, "faceid_plus": 4}.get(variant, 16)
    assert tokens.shape == (2, count, CONTEXT)
    torch.testing.assert_close(tokens, official(variant, t, face, seen), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0, 2.5])
def test_v2_adds_the_scaled_picture_to_the_identity(scale: float) -> None:
    t, (face, seen) = tensors_of("faceid_plus"), inputs("faceid_plus")
    tokens = found("faceid_plus", t, face, seen, scale)
    torch.testing.assert_close(tokens, official("faceid_plus", t, face, seen, scale), rtol=0, atol=1e-5)


def test_an_adapter_has_as_many_tokens_as_its_weights() -> None:
    for count in (1, 7, 16):
        t = adapters.random_tensors(adapters.face_mlp(CONTEXT, count))
        assert found("faceid", t, *inputs("faceid")).shape == (2, count, CONTEXT)


@pytest.mark.parametrize("variant", ["full", "plus", "faceid", "faceid_plus", "portrait", "portrait_unnorm"])
def test_tokens_are_those_of_diffusers(variant: str) -> None:
    t, (face, seen) = tensors_of(variant), inputs(variant)
    convert: Any = UNet2DConditionLoadersMixin._convert_ip_adapter_image_proj_to_diffusers
    loader = SimpleNamespace(device=CPU, dtype=torch.float32)
    other = convert(loader, dict(t), low_cpu_mem_usage=False)
    with torch.no_grad():
        if variant == "faceid_plus":
            other.clip_embeds, other.shortcut, other.shortcut_scale = seen[:, None], True, 1.5
            wanted = other(face[:, None]).reshape(2, 4, CONTEXT)
            torch.testing.assert_close(found(variant, t, face, seen, 1.5), wanted, rtol=0, atol=1e-4)
            return
        own = {"full": seen, "plus": seen, "portrait_unnorm": face[:, None]}.get(variant, face)
        wanted = other(own)
    torch.testing.assert_close(found(variant, t, face, seen), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("context", [768, 2048])
@pytest.mark.parametrize("variant", [*VARIANTS, "instant_id"])
def test_published_layouts_fit_their_heads(variant: str, context: int) -> None:
    for clip in (1024, 1280):
        shapes = adapters.head(variant, context, clip)
        with torch.device("meta"):
            head = head_of({key: torch.empty(shape) for key, shape in shapes.items()})
        assert {key: tuple(value.shape) for key, value in head.state_dict().items()} == shapes


@examples(40)
@given(st.data())
def test_a_damaged_head_is_a_model_error(data: st.DataObject) -> None:
    """Any tensor left out, or of another shape: an error with a name, never a traceback."""
    variant = data.draw(st.sampled_from(VARIANTS))
    t = {key: torch.empty(shape) for key, shape in adapters.head(variant, 64, 16).items()}
    key = data.draw(st.sampled_from(sorted(t)))
    shape = data.draw(st.none() | st.lists(st.integers(0, 70), max_size=3))
    if shape is None:
        del t[key]
    elif tuple(shape) == tuple(t[key].shape):
        return
    else:
        t[key] = torch.empty(shape)
    try:
        load_head(t, "broken", HOME)
    except (ModelError, KeyError, IndexError, ValueError, RuntimeError):
        return
    assert tuple(shape or ()) != ()
