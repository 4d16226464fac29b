"""PuLID: its files, its heads against the official formulas, and its units."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import gelu

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.ip_adapter import unit_faces
from lib_ctrlgen.controls.ip_adapter.mixed import MixedIPAdapter
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.pulid import pulid
from lib_ctrlgen.controls.pulid.heads import pulid_head
from lib_ctrlgen.controls.registry import identify
from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.faces.embeddings import encoded
from lib_ctrlgen.faces.ffhq import ffhq_crop
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.storage import CPU
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files
from tests.support import face_adapters as adapters
from tests.support import pulid_files as layouts
from tests.support.face_adapters import POINTS, embedding, found_faces
from tests.support.properties import examples

CONTEXT, SEEN = files.CONTEXT, layouts.SMALL_MAP
SMALL = {
    "v1": layouts.version_1(CONTEXT, 24, SEEN),
    "v1.1": layouts.version_1_1(CONTEXT, 128, SEEN, 7, 24),
}
Weights = dict[str, Tensor]


@pytest.mark.parametrize("form", ["published", "converted"])
@pytest.mark.parametrize(("version", "head"), [("v1", layouts.version_1()), ("v1.1", layouts.version_1_1())])
def test_published_files_are_recognised_and_fit(version: str, head: dict[str, Any], form: str) -> None:
    shapes = layouts.published(head)
    kind = identify(shapes if form == "published" else layouts.converted(shapes))
    assert (kind.control, kind.variant, kind.family.name) == ("pulid", version, "SDXL")
    with torch.device("meta"):
        made = pulid_head({key: torch.empty(shape) for key, shape in head.items()})
    assert {key: tuple(value.shape) for key, value in made.state_dict().items()} == head


def normal(x: Tensor, t: Weights, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * t[f"{name}.weight"] + t[f"{name}.bias"]


def mlp(x: Tensor, t: Weights, name: str) -> Tensor:
    for place in (0, 3):
        x = normal(x @ t[f"{name}.{place}.weight"].T + t[f"{name}.{place}.bias"], t, f"{name}.{place + 1}")
        x = torch.where(x < 0, 0.01 * x, x)
    return x @ t[f"{name}.6.weight"].T + t[f"{name}.6.bias"]


def official_1(t: Weights, identity: Tensor, maps: list[Tensor]) -> Tensor:
    found = [mlp(identity, t, "body").reshape(len(identity), 5, CONTEXT)]
    for i, seen in enumerate(maps):
        patches = mlp(seen[:, 1:], t, f"mapping_patch_{i}").mean(1, keepdim=True)
        found.append(mlp(seen[:, :1], t, f"mapping_{i}") + patches)
    return torch.cat(found, 1)


def official_1_1(t: Weights, identity: Tensor, maps: list[Tensor]) -> Tensor:
    own = mlp(identity, t, "id_embedding_mapping").reshape(len(identity), 5, 128)
    latents = torch.cat((t["latents"].repeat(len(own), 1, 1), own), 1)
    for i in range(10):
        seen = torch.cat((own, mlp(maps[i // 2], t, f"mapping_{i // 2}")), 1)
        x, mine = normal(seen, t, f"layers.{i}.0.norm1"), normal(latents, t, f"layers.{i}.0.norm2")
        q = mine @ t[f"layers.{i}.0.to_q.weight"].T
        k, v = (torch.cat((x, mine), 1) @ t[f"layers.{i}.0.to_kv.weight"].T).chunk(2, -1)
        heads = [
            (q[..., at : at + 64] @ k[..., at : at + 64].mT / 8).softmax(-1) @ v[..., at : at + 64]
            for at in (0, 64)
        ]
        latents = latents + torch.cat(heads, -1) @ t[f"layers.{i}.0.to_out.weight"].T
        inner = gelu(normal(latents, t, f"layers.{i}.1.0") @ t[f"layers.{i}.1.1.weight"].T)
        latents = latents + inner @ t[f"layers.{i}.1.3.weight"].T
    return latents[:, :7] @ t["proj_out"]


def features(rows: int = 2) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(6)
    maps = [torch.randn(rows, layouts.SMALL_TOKENS, SEEN, generator=generator) for _ in range(5)]
    return torch.randn(rows, layouts.IDENTITY, generator=generator), maps


@pytest.mark.parametrize("version", SMALL)
def test_tokens_are_the_official_ones(version: str) -> None:
    t = adapters.random_tensors(SMALL[version])
    with torch.device("meta"):
        head = pulid_head(t)
    fill(head, t, version, CPU, torch.float32)
    identity, maps = features()
    official = official_1 if version == "v1" else official_1_1
    wanted = official(t, identity, maps)
    assert wanted.shape == (2, 10 if version == "v1" else 7, CONTEXT)
    torch.testing.assert_close(head(identity, *maps), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pulid")
    widths = files.shape().attention_hidden
    for version, head in SMALL.items():
        tensors = adapters.random_tensors(layouts.published(head, widths, CONTEXT))
        adapters.write(root / f"pulid_{version}.safetensors", tensors)
        adapters.write(root / f"converted_{version}.safetensors", layouts.converted(tensors))
    return root


def prepared(folder: Path, model: str, **params: Any) -> MixedIPAdapter:
    body = {"model": model, "image": files.data_url(70, 64, seed=9), "params": params}
    target = Target(store=ModelStore([folder], 1 << 30), shape=files.shape())
    (active,) = load_units(parse_request({"units": [body]}).units, target)
    assert isinstance(active.control, MixedIPAdapter)
    return active.control


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces and their features are stand-ins."""
    monkeypatch.setattr(unit_faces, "find_faces", found_faces)
    monkeypatch.setattr(pulid, "Towers", layouts.SeenFaces)


@pytest.mark.parametrize("version", SMALL)
def test_a_picture_becomes_tokens_and_zeros(folder: Path, seen: None, version: str) -> None:
    del seen
    control = prepared(folder, f"pulid_{version}")
    picture = to_rgb(decode_image(files.data_url(70, 64, seed=9), ""))
    numbers, *maps = layouts.SeenFaces(None).features(ffhq_crop(picture, POINTS))
    identity = torch.cat((torch.tensor([embedding(picture)]), numbers), 1)
    tensors = adapters.random_tensors(
        layouts.published(SMALL[version], files.shape().attention_hidden, CONTEXT)
    )
    t = {key.removeprefix("id_adapter."): value for key, value in tensors.items()}
    official = official_1 if version == "v1" else official_1_1
    for tokens, wanted in (
        (control.whole.cond, official(t, identity, maps)),
        (control.whole.uncond, official(t, identity * 0, [each * 0 for each in maps])),
    ):
        torch.testing.assert_close(tokens[:, :-8], wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
        assert not tokens[:, -8:].any()


def test_a_converted_file_is_the_same(folder: Path, seen: None) -> None:
    del seen
    for version in SMALL:
        one, other = (prepared(folder, f"{name}_{version}").whole for name in ("pulid", "converted"))
        torch.testing.assert_close(one.cond, other.cond)


def test_the_preset_sets_form_and_zeros(folder: Path, seen: None) -> None:
    del seen
    for preset, form, zeros in (
        ("fidelity", "ortho_v2", 8),
        ("style", "ortho", 16),
        ("neutral", "neutral", 0),
    ):
        control = prepared(folder, "pulid_v1", preset=preset)
        assert (control.weighting.form, control.whole.cond.shape[1]) == (form, 10 + zeros)
    assert prepared(folder, "pulid_v1", zero_tokens=3).whole.cond.shape[1] == 13


def test_missing_files_are_named_with_their_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_faces, "find_faces", found_faces)
    with pytest.raises(RequestError, match=r"EVA02_CLIP_L_336_psz14_s6B\.pt.*put it into") as raised:
        prepared(folder, "pulid_v1")
    assert raised.value.path == "$.units[0].model"
    assert str(folder) in raised.value.message
    monkeypatch.setattr(pulid, "Towers", layouts.SeenFaces)
    body = {"model": "pulid_v1", "params": {"face": encoded([(1.0,) * 512])}}
    target = Target(store=ModelStore([folder], 1 << 30), shape=files.shape())
    with pytest.raises(RequestError, match="picture"):
        load_units(parse_request({"units": [body]}).units, target)


KEYS = sorted(layouts.published(SMALL["v1"], (32,), 64) | layouts.published(SMALL["v1.1"], (32,), 64))


@examples(40)
@given(
    st.dictionaries(
        st.sampled_from([*KEYS, *layouts.converted(dict.fromkeys(KEYS))]),
        st.lists(st.sampled_from([0, 1, 64, 2048]), max_size=3).map(tuple),
        max_size=8,
    )
)
def test_any_shapes_are_a_kind_or_a_model_error(shapes: dict[str, tuple[int, ...]]) -> None:
    with suppress(ModelError):
        assert isinstance(identify(shapes), ModelKind)
