"""Control files are recognised by their keys, and read."""

import hashlib
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lib_ctrlgen.controls.registry import identify
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.tensor_files import read_header, read_tensors
from lib_ctrlgen.models.weight_files import hash8
from lib_ctrlgen.unet.family import Family
from tests.support import control_files as files

Shapes = dict[str, tuple[int, ...]]

LDM: Shapes = {
    "input_hint_block.0.weight": (16, 3, 3, 3),
    "input_blocks.5.1.transformer_blocks.0.attn2.to_k.weight": (640, 768),
}
DIFFUSERS: Shapes = {
    "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 1024),
}
MARKER: Shapes = {"lora_controlnet": (0,)}
HINT: Shapes = {"input_hint_block.0.weight": (16, 3, 3, 3)}
LLLITE: Shapes = {
    "lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.conditioning1.0.weight": (16, 3, 4, 4),
    "lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight": (64, 640),
}


def lora_keys(context: int) -> Shapes:
    """Some of a ControlLoRA's keys."""
    text = "input_blocks.5.1.transformer_blocks.0.attn2.to_k"
    return {**MARKER, **HINT, f"{text}.down": (64, context), f"{text}.up": (640, 64)}


LAYERS: Shapes = {"ip_adapter.1.to_k_ip.weight": (320, 768), "ip_adapter.1.to_v_ip.weight": (320, 768)}


@pytest.mark.parametrize(
    ("shapes", "control", "layout", "family", "variant"),
    [
        (LDM, "controlnet", "ldm", "SD1.5", ""),
        ({f"control_model.{k}": v for k, v in LDM.items()}, "controlnet", "ldm", "SD1.5", ""),
        (DIFFUSERS, "controlnet", "diffusers", "SD2", ""),
        (
            {"input_hint_block.0.weight": (16, 3, 3, 3), "label_emb.0.0.weight": (1280, 2816)},
            "controlnet",
            "ldm",
            "SDXL",
            "",
        ),
        ({"difference": (), **LDM}, "controlnet", "ldm", "SD1.5", "difference"),
        (
            {"control_add_embedding.linear_1.bias": (1280,), "task_embedding": (6, 320), **LDM},
            "controlnet_union",
            "ldm",
            "SD1.5",
            "",
        ),
        ({"task_embedding": (8, 320), **DIFFUSERS}, "controlnet_union", "diffusers", "SD2", "promax"),
        (lora_keys(768), "control_lora", "ldm", "SD1.5", ""),
        (lora_keys(2048), "control_lora", "ldm", "SDXL", ""),
        ({f"control_model.{k}": v for k, v in lora_keys(768).items()}, "control_lora", "ldm", "SD1.5", ""),
        ({**MARKER, "label_emb.0.0.down": (64, 2816), **HINT}, "control_lora", "ldm", "SDXL", ""),
        (LLLITE, "lllite", "ldm", "SDXL", ""),
        ({"image_proj.proj.weight": (3072, 1024), **LAYERS}, "ip_adapter", "diffusers", "SD1.5", "plain"),
        ({"image_proj.latents": (1, 16, 768), **LAYERS}, "ip_adapter", "diffusers", "SD1.5", "plus"),
        ({"image_proj.proj.3.weight": (768,), **LAYERS}, "ip_adapter", "diffusers", "SD1.5", "full"),
    ],
)
def test_supported_families(shapes: Shapes, control: str, layout: str, family: str, variant: str) -> None:
    kind = identify(shapes)
    assert (kind.control, kind.layout, kind.family.name, kind.variant) == (control, layout, family, variant)


def test_other_widths_are_a_custom_family() -> None:
    kind = identify({**LDM, "input_blocks.5.1.transformer_blocks.0.attn2.to_k.weight": (64, 64)})
    assert str(kind.family) == "custom (context 64)"


@pytest.mark.parametrize(
    ("shapes", "name"),
    [
        (
            {"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": (320,)},
            "SparseCtrl (scribble)",
        ),
        (
            {"difference": (), "task_embedding": (6, 320), **LDM},
            "a ControlNet Union stored as the difference",
        ),
    ],
)
def test_other_families_are_recognised_and_refused(shapes: Shapes, name: str) -> None:
    with pytest.raises(ModelError, match="recognised as") as raised:
        identify(shapes)
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", "a checkpoint"),
        ("lora_unet_down_blocks_0.lora_up.weight", "a LoRA"),
        ("vision_model.embeddings.class_embedding", "a CLIP encoder"),
    ],
)
def test_what_is_no_control_is_named(key: str, name: str) -> None:
    with pytest.raises(ModelError, match=f"recognised as {name}"):
        identify({key: (1,)})


def test_unknown_keys_are_shown() -> None:
    with pytest.raises(ModelError, match=r"first keys: alpha, beta"):
        identify({"beta": (1,), "alpha": (2, 3)})


KEYS = [
    *LDM,
    *DIFFUSERS,
    *LAYERS,
    *lora_keys(768),
    *LLLITE,
    "label_emb.0.0.weight",
    "difference",
    "task_embedding",
    "control_add_embedding.linear_1.bias",
    "label_emb.0.0.down",
    "image_proj.proj.weight",
    "image_proj.latents",
    "image_proj.proj_in.weight",
    "image_proj.proj.0.weight",
    "image_proj.proj.2.weight",
    "image_proj.proj.3.weight",
    "image_proj.norm.weight",
    "control_model.input_hint_block.0.weight",
    "adapter.conv_in.weight",
    "body.0.in_conv.weight",
    "body.0.out_conv.weight",
    "adapter.body.0.resnets.0.block1.weight",
    "style_embedding",
    "conv_in.weight",
    "",
]


@given(
    st.dictionaries(
        st.sampled_from(KEYS) | st.text(max_size=9),
        st.tuples() | st.lists(st.integers(0, 9), max_size=4).map(tuple),
    )
)
def test_any_keys_are_a_kind_or_a_model_error(shapes: Shapes) -> None:
    with suppress(ModelError):
        assert isinstance(identify(shapes), ModelKind)


def test_headers_agree_with_tensors(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4, dtype=torch.float16)}
    save_file(tensors, tmp_path / "m.safetensors")
    torch.save({"state_dict": {**tensors, "step": 3}}, tmp_path / "m.ckpt")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("m.safetensors", "m.ckpt", "old.pth"):
        assert read_header(tmp_path / name) == {"a.weight": (2, 3), "b": (4,)}
        read = read_tensors(tmp_path / name)
        assert all(torch.equal(read[key], value) for key, value in tensors.items())


def test_nested_adapter_pickle_is_flattened(tmp_path: Path) -> None:
    _, projection = files.plain_projection()
    files.save_adapter(tmp_path / "a.bin", projection, (32, 64))
    files.save_adapter(tmp_path / "a.safetensors", projection, (32, 64))
    nested, flat = read_tensors(tmp_path / "a.bin"), read_tensors(tmp_path / "a.safetensors")
    assert nested.keys() == flat.keys()
    assert all(torch.equal(nested[key], flat[key]) for key in flat)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of one small model in every format."""
    folder = tmp_path_factory.mktemp("whole")
    tensors = {"image_proj.proj.weight": torch.ones(8, 4), "ip_adapter.1.to_k_ip.weight": torch.ones(4, 2)}
    save_file(tensors, folder / "m.safetensors")
    torch.save(tensors, folder / "m.pth")
    torch.save(tensors, folder / "m.bin", _use_new_zipfile_serialization=False)
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


def read_or_model_error(path: Path) -> None:
    with suppress(ModelError):
        assert isinstance(read_header(path), dict)
    with suppress(ModelError):
        assert isinstance(read_tensors(path), dict)


@given(st.data())
def test_damaged_files_are_read_or_a_model_error(
    whole: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from(sorted(whole)))
    content = bytearray(whole[suffix])
    start = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[start:]
    else:
        noise = data.draw(st.binary(min_size=1, max_size=12))
        content[start : start + len(noise)] = noise
    path = tmp_path_factory.mktemp("damaged") / f"m{suffix}"
    path.write_bytes(content)
    read_or_model_error(path)


@given(st.binary(max_size=200), st.sampled_from([".safetensors", ".pth", ".bin"]))
def test_garbage_is_a_model_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("garbage") / f"m{suffix}"
    path.write_bytes(data)
    read_or_model_error(path)


class Evil:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code of a pickle was run')",)


def test_pickles_that_could_run_code_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "evil": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "bare.pth"):
        with pytest.raises(ModelError, match="convert it to safetensors"):
            read_tensors(tmp_path / name)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        read_header(tmp_path / "gone.safetensors")
    with pytest.raises(ModelError, match="no such file"):
        read_tensors(tmp_path / "gone.pth")
    torch.save({"note": "nothing"}, tmp_path / "empty.pth")
    with pytest.raises(ModelError, match="no tensors"):
        read_header(tmp_path / "empty.pth")
    with pytest.raises(ModelError, match="no such file"):
        hash8(tmp_path / "gone.pth")


def test_short_hash_is_of_64_kib_at_1_mib(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(b"a" * (1 << 20) + b"b" * (1 << 16) + b"c")
    assert hash8(path) == hashlib.sha256(b"b" * (1 << 16)).hexdigest()[:8]


def test_family_names() -> None:
    assert [str(Family.of(dim)) for dim in (768, 2048)] == ["SD1.5 (context 768)", "SDXL (context 2048)"]
