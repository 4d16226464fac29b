"""Preprocessors of sd-webui-controlnet that make no map: encoders of IP-Adapters, `reference_only`."""

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.controls.checked import check_unit
from lib_ctrlgen.controls.encoder_fit import needed_encoder
from lib_ctrlgen.controls.registry import identify_file
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.request.detection import DetectionSettings
from lib_ctrlgen.request.encoder_names import ENCODER_NAMES, control_and_params, encoder_name
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files
from tests.support import face_adapters as adapters
from tests.support import pulid_files as pulid

H, G, FACE, PLUS = "ip-adapter_clip_h", "ip-adapter_clip_g", "ip-adapter_face_id", "ip-adapter_face_id_plus"
# The 23 model names of ip-adapter-auto, each with its preprocessor there, the layout of the published file
# (width of the text features, layout, width of the image features), and the variant that CtrlGen finds.
PRESETS: dict[str, tuple[str, int, str, int, str]] = {
    "ip-adapter_sd15_light": (H, 768, "plain", 1024, "plain"),
    "ip-adapter_sd15_light_v11": (H, 768, "plain", 1024, "plain"),
    "ip-adapter_sd15": (H, 768, "plain", 1024, "plain"),
    "ip-adapter-plus_sd15": (H, 768, "plus", 1280, "plus"),
    "ip-adapter_sd15_plus": (H, 768, "plus", 1280, "plus"),
    "ip-adapter_plus_composition_sd15": (H, 768, "plus", 1280, "plus"),
    "ip-adapter-plus-face_sd15": (H, 768, "plus", 1280, "plus"),
    "ip-adapter-full-face_sd15": (H, 768, "full", 1280, "full"),
    "ip-adapter_sdxl_vit-h": (H, 2048, "plain", 1024, "plain"),
    "ip-adapter-plus_sdxl_vit-h": (H, 2048, "plus", 1280, "plus"),
    "ip-adapter_plus_composition_sdxl": (H, 2048, "plus", 1280, "plus"),
    "ip-adapter-plus-face_sdxl_vit-h": (H, 2048, "plus", 1280, "plus"),
    "ip-adapter_sd15_vit-G": (G, 768, "plain", 1280, "plain"),
    "ip-adapter_sdxl": (G, 2048, "plain", 1280, "plain"),
    "ip-adapter-faceid_sd15": (FACE, 768, "faceid", 0, "faceid"),
    "ip-adapter-faceid-portrait_sd15": (FACE, 768, "portrait", 0, "portrait"),
    "ip-adapter-faceid-portrait-v11_sd15": (FACE, 768, "portrait", 0, "portrait"),
    "ip-adapter-faceid_sdxl": (FACE, 2048, "faceid", 0, "faceid"),
    "ip-adapter-faceid-portrait_sdxl": (FACE, 2048, "portrait", 0, "portrait"),
    "ip-adapter-faceid-plus_sd15": (PLUS, 768, "faceid_plus", 1280, "faceid_plus"),
    "ip-adapter-faceid-plusv2_sd15": (PLUS, 768, "faceid_plus", 1280, "faceid_plus_v2"),
    "ip-adapter-faceid-plusv2_sdxl": (PLUS, 2048, "faceid_plus", 1280, "faceid_plus_v2"),
    "ip-adapter_pulid_sdxl_fp16": ("ip-adapter_pulid", 2048, "pulid", 0, "v1"),
}
INSTANT, STYLE, LINES = "ip-adapter_instant_id_sdxl", "t2iadapter_style_sd14v1", "control_v11p_sd15_lineart"


def write_header(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file with these shapes, whose tensors are a hole in the file: it takes no space."""
    header, end = {}, 0
    for key, shape in shapes.items():
        header[key] = {"dtype": "F16", "shape": shape, "data_offsets": (end, end + 2 * prod(shape))}
        end += 2 * prod(shape)
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def published(layout: str, context: int, clip: int) -> dict[str, tuple[int, ...]]:
    if layout == "pulid":
        return pulid.converted(pulid.published(pulid.version_1()))
    return adapters.whole(layout, context, clip=clip)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("presets")
    for name, (_, context, layout, clip, _) in PRESETS.items():
        write_header(folder / f"{name}.safetensors", published(layout, context, clip))
    write_header(folder / f"{INSTANT}.safetensors", published("instant_id", 2048, 0))
    write_header(folder / f"{STYLE}.safetensors", files.style_adapter_shapes(1024, 768, 8))
    shapes = {key: tuple(value.shape) for key, value in files.controlnet_tensors().items()}
    write_header(folder / f"{LINES}.safetensors", shapes)
    return ModelStore([folder], 1 << 30)


def checked(store: ModelStore, model: str, preprocessor: str, **fields: Any) -> Any:
    body = {"model": model, "image": "x", "preprocessor": preprocessor, **fields}
    (unit,) = parse_request({"units": [body]}).units
    check_unit(unit, "$.units[0]", store)
    return unit


@pytest.mark.parametrize("model", PRESETS)
def test_the_presets_of_ip_adapter_auto(store: ModelStore, model: str) -> None:
    own, _, _, _, variant = PRESETS[model]
    kind = identify_file(store.resolve(model))
    assert kind.variant == variant
    for name in ("ip-adapter-auto", own):
        unit = checked(store, model, name)
        assert encoder_name(name) == encoder_name(unit.preprocessor), "a label becomes the name"
        assert chain_of(unit.preprocessor).is_none
        assert unit.preprocessor_label == "none"
    for other in {H, G, FACE, PLUS, "ip-adapter_pulid", "clip_vision", "instant_id_face_embedding"} - {own}:
        with pytest.raises(RequestError, match="does not fit") as raised:
            checked(store, model, other)
        assert raised.value.path == "$.units[0].preprocessor"
        named = encoder_name(own)
        assert named is not None
        assert f"write {named.shown} or" in raised.value.message
        assert raised.value.message.endswith("or 'ip-adapter-auto'")


def test_other_files_have_encoders_too(store: ModelStore) -> None:
    unit = checked(store, INSTANT, "InsightFace (InstantID)")
    assert (unit.preprocessor, unit.params) == ("instant_id_face_embedding", {"variant": "instant_id"})
    assert checked(store, STYLE, "t2ia_style_clipvision").preprocessor == "clip_vision"
    assert checked(store, "ip-adapter-plus_sdxl_vit-h", "ip-adapter_clip_sdxl_plus_vith")
    assert checked(store, "ip-adapter-faceid_sd15", "InsightFace+CLIP-H (IPAdapter)")


@pytest.mark.parametrize(
    ("model", "name", "words"),
    [
        ("ip-adapter_sdxl", H, "'ip-adapter_sdxl' needs ViT-bigG; write 'ip-adapter_clip_sdxl'"),
        (LINES, H, "of the family 'controlnet'; write 'none', or the preprocessor of its control maps"),
        (STYLE, "ip-adapter-auto", "of the family 't2i_style'; write 'clip_vision' (t2ia_style_clipvision)"),
        ("ip-adapter_pulid_sdxl_fp16", "facexlib", "name a PuLID file in `model`"),
        ("ip-adapter-faceid_sd15", PLUS, "(variant 'faceid'); write 'ip-adapter_face_id' or"),
    ],
)
def test_what_does_not_fit_says_what_to_write(store: ModelStore, model: str, name: str, words: str) -> None:
    with pytest.raises(RequestError) as raised:
        checked(store, model, name)
    assert raised.value.path == "$.units[0].preprocessor"
    assert words in raised.value.message


def test_a_file_of_another_width_says_which(tmp_path: Path) -> None:
    write_header(tmp_path / "a.safetensors", adapters.whole("plus", 768, clip=48))
    assert needed_encoder(tmp_path / "a.safetensors").endswith("penultimate features have width 48")


@pytest.mark.parametrize("name", [each.name for each in ENCODER_NAMES if each.fileless])
def test_a_control_without_a_file_takes_the_names_place(name: str) -> None:
    control, params = control_and_params(name) or ("", {})
    (unit,) = parse_request({"units": [{"image": "x", "preprocessor": name, "params": {"a": 1}}]}).units
    assert (unit.control, unit.preprocessor, unit.params) == (control, "none", {"a": 1, **params})
    check_unit(parse_request({"units": [{"image": "x", "preprocessor": name}]}).units[0], "$", None)


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"preprocessor": "reference_only", "model": "a"}, "$.units[0].model", "must be empty"),
        ({"preprocessor": "reference_only", "control": "revision"}, "$.units[0].preprocessor", "'reference'"),
        (
            {"preprocessor": "revision_clipvision", "params": {"ignore_prompt": True}},
            "$.units[0].params.ignore_prompt",
            "stands for False",
        ),
        (
            {"preprocessor": [G], "model": "a"},
            "$.units[0].preprocessor[0]",
            "leave it out, or write it alone",
        ),
        ({"preprocessor": f"canny | {G}", "model": "a"}, "$.units[0].preprocessor", "makes no control map"),
    ],
)
def test_a_contradiction_is_an_error_at_its_place(fields: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(RequestError) as raised:
        parse_request({"units": [{"image": "x", **fields}]})
    assert raised.value.path == path
    assert words in raised.value.message


@pytest.mark.parametrize("name", [name for each in ENCODER_NAMES for name in (each.name, *each.labels)])
def test_a_detection_has_no_map_of_them(name: str) -> None:
    with pytest.raises(RequestError, match="makes no control map") as raised:
        parse_request({"preprocessor": name}, DetectionSettings)
    assert raised.value.path == "$.preprocessor"
