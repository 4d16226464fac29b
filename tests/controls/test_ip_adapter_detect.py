"""Which variant an IP-Adapter's file is: keys, then metadata, then the name, then the unit."""

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lib_ctrlgen.controls.ip_adapter.variants import FACE_RESAMPLER, FACEID_PLUS, chosen
from lib_ctrlgen.controls.registry import identify, identify_file
from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.tensor_files import read_header
from tests.support import face_adapters as adapters

CONTEXTS = {"SD1.5": 768, "SDXL": 2048}
FAMILIES = {"plain": "ip_adapter", "plus": "ip_adapter", "full": "ip_adapter"}
KEYS_TELL = {
    "faceid_plus": FACEID_PLUS,
    "faceid_plus_v2": FACEID_PLUS,
    "portrait_unnorm": FACE_RESAMPLER,
    "instant_id": FACE_RESAMPLER,
}


@pytest.mark.parametrize("checkpoint", CONTEXTS)
@pytest.mark.parametrize("variant", [*FAMILIES, "faceid", "portrait", *KEYS_TELL])
def test_published_files_are_recognised(variant: str, checkpoint: str) -> None:
    kind = identify(adapters.whole(variant, CONTEXTS[checkpoint]))
    assert kind.control == FAMILIES.get(variant, "ip_adapter_face")
    assert kind.family.name == checkpoint
    assert kind.variant == KEYS_TELL.get(variant, variant)


def small(variant: str) -> dict[str, torch.Tensor]:
    shapes = adapters.whole(variant, 64, (32, 64), clip=16, rank=2)
    return adapters.random_tensors(shapes)


@pytest.mark.parametrize(
    ("layout", "name", "metadata", "wanted"),
    [
        ("faceid_plus", "ip-adapter-faceid-plus_sd15.bin", {}, "faceid_plus"),
        ("faceid_plus", "ip-adapter-faceid-plusv2_sd15.safetensors", {}, "faceid_plus_v2"),
        ("faceid_plus", "FaceID_Plus-V2.safetensors", {}, "faceid_plus_v2"),
        ("faceid_plus", "my-face.safetensors", {}, FACEID_PLUS),
        ("faceid_plus", "my-face.safetensors", {"modelspec.title": "FaceID PlusV2"}, "faceid_plus_v2"),
        ("faceid_plus", "faceid-plus.safetensors", {"title": "IP-Adapter plus-v2"}, "faceid_plus_v2"),
        ("portrait_unnorm", "ip-adapter-faceid-portrait_sdxl_unnorm.bin", {}, "portrait_unnorm"),
        ("portrait_unnorm", "ip-adapter_instant_id_sdxl.bin", {}, "instant_id"),
        ("portrait_unnorm", "InstantID/ip-adapter.bin", {}, "instant_id"),
        ("portrait_unnorm", "ip-adapter.bin", {}, FACE_RESAMPLER),
        ("faceid", "ip-adapter-faceid-plusv2_sd15.bin", {}, "faceid"),
        ("plus", "ip-adapter-faceid-portrait_sdxl_unnorm.safetensors", {}, "plus"),
    ],
)
def test_metadata_then_the_name_decide_what_keys_leave_open(
    tmp_path: Path, layout: str, name: str, metadata: dict[str, str], wanted: str
) -> None:
    path = adapters.write(tmp_path / name, small(layout), metadata)
    assert identify_file(path).variant == wanted


def test_the_unit_has_the_last_word_between_equal_layouts() -> None:
    assert chosen("faceid_plus", "faceid_plus_v2", "$") == "faceid_plus_v2"
    assert chosen(FACE_RESAMPLER, "portrait_unnorm", "$") == "portrait_unnorm"
    assert chosen("portrait", "auto", "$") == "portrait"
    for known, asked, words in (
        ("faceid", "instant_id", "those of faceid, not of instant_id"),
        (FACEID_PLUS, "instant_id", "those of faceid_plus or faceid_plus_v2"),
        (FACEID_PLUS, "auto", "whether it is faceid_plus or faceid_plus_v2: say it"),
    ):
        with pytest.raises(RequestError, match=words) as raised:
            chosen(known, asked, "$.units[0].params.variant")
        assert raised.value.path == "$.units[0].params.variant"


def test_kolors_is_refused_by_its_name() -> None:
    plus = {
        **adapters.whole("plus", 2048),
        **{f"image_proj.layers.{i}.0.to_out.weight": (2048, 768) for i in range(4)},
    }
    face = {
        **adapters.whole("faceid_plus", 2048),
        "image_proj.perceiver_resampler.layers.0.0.to_out.weight": (4096, 2048),
    }
    for shapes, kind in ((plus, "plus"), (face, "FaceID")):
        with pytest.raises(ModelError, match=rf"for Kolors \({kind}\)"):
            identify(shapes)


def test_the_prefixes_of_training_are_read(tmp_path: Path) -> None:
    tensors = small("plain")
    renamed = {
        key.replace("ip_adapter.", "adapter_modules."): value.clone() for key, value in tensors.items()
    }
    save_file(renamed, tmp_path / "noobai-mark-ipa.safetensors")
    assert read_header(tmp_path / "noobai-mark-ipa.safetensors").keys() == tensors.keys()
    assert identify_file(tmp_path / "noobai-mark-ipa.safetensors").variant == "plain"


HEADS = ("faceid_plus", "plus", "full", "plain")
ALL = sorted({key for kind in HEADS for key in adapters.head(kind, 64)})


@given(
    st.dictionaries(
        st.sampled_from([f"image_proj.{key}" for key in ALL])
        | st.sampled_from(["ip_adapter.1.to_k_ip.weight", "ip_adapter.0.to_q_lora.down.weight"]),
        st.lists(st.sampled_from([0, 1, 4, 64, 512, 1280, 2048, 4096]), max_size=4).map(tuple),
    )
)
def test_any_shapes_are_a_kind_or_a_model_error(shapes: dict[str, tuple[int, ...]]) -> None:
    with suppress(ModelError):
        assert isinstance(identify(shapes), ModelKind)
