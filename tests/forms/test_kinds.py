"""What published files are for by their names, the best file and preprocessor for a kind, and strengths."""

from collections.abc import Collection

import pytest

from lib_ctrlgen.forms import strengths
from lib_ctrlgen.forms.control_files import (
    WEIGHT_TYPE,
    ControlFile,
    best_file,
    best_preprocessor,
    file_of,
    fileless,
    kind_of_unit,
    offered,
    unit_values,
)
from lib_ctrlgen.forms.kinds import KINDS, OTHER, kind_of_preprocessor
from lib_ctrlgen.models.published import published_files
from lib_ctrlgen.request import catalogue
from lib_ctrlgen.request.names import without_suffix
from tests.support import unit_values as panel

ADAPTED = ("image_prompt", "style", "composition")
# (name, family, checkpoint family, kinds): how their publishers and users call the files.
NAMES = [
    ("control_v11p_sd15_canny [d14c016b]", "controlnet", "SD1.5", ("edges",)),
    ("ControlNet-v1-1/control_v11f1p_sd15_depth_fp16", "controlnet", "SD1.5", ("depth",)),
    ("control_v11p_sd15s2_lineart_anime", "controlnet", "SD1.5", ("lines",)),
    ("control_v11p_sd15_softedge", "controlnet", "SD1.5", ("soft_edges",)),
    ("control_v11p_sd15_mlsd", "controlnet", "SD1.5", ("straight_lines",)),
    ("control_v11p_sd15_seg", "controlnet", "SD1.5", ("segmentation",)),
    ("control_v11p_sd15_normalbae", "controlnet", "SD1.5", ("normals",)),
    ("control_v11e_sd15_ip2p", "controlnet", "SD1.5", ("instruct",)),
    ("control_v1p_sd15_qrcode_monster_v2", "controlnet", "SD1.5", ("pattern",)),
    ("ioclab_sd15_recolor", "controlnet", "SD1.5", ("recolour",)),
    ("control_v11p_sd21_canny", "controlnet", "SD2", ("edges",)),
    ("thibaud_xl_openpose_256lora", "control_lora", "SDXL", ("pose",)),
    ("sai_xl_sketch_128lora", "control_lora", "SDXL", ("scribble",)),
    ("noob-sdxl-controlnet-scribble_pidinet.fp16", "controlnet", "SDXL", ("scribble",)),
    ("illustriousXL_tile_v20", "controlnet", "SDXL", ("tile",)),
    ("t2iadapter_color_sd14v1", "t2i_adapter", "SD1.5", ("colours",)),
    ("t2iadapter_style_sd14v1", "t2i_style", "SD1.5", ("style",)),
    ("t2iadapter_keypose_sd14v1", "t2i_adapter", "SD1.5", (OTHER,)),
    ("kohya_controllllite_xl_blur_anime", "lllite", "SDXL", ("tile",)),
    ("ip-adapter-plus_sdxl_vit-h", "ip_adapter", "SDXL", ADAPTED),
    ("ip-adapter-plus-face_sd15", "ip_adapter", "SD1.5", ("face",)),
    ("ip_plus_composition_sd15", "ip_adapter", "SD1.5", ("composition",)),
    ("ip-adapter-faceid-plusv2_sdxl", "ip_adapter_face", "SDXL", ("face",)),
    ("control_instant_id_sdxl", "instant_id", "SDXL", ("face_position",)),
    ("gligen_sd14_textbox_pruned", "gligen", "SD1.5", ("boxes",)),
    ("ctrlgen-tiny-edges", "controlnet", "", ("edges",)),
    ("ctrlgen-tiny-depth", "controlnet", "", ("depth",)),
    ("ctrlgen-tiny-ip", "ip_adapter", "", ADAPTED),
    ("my-own-network", "", "", (OTHER,)),
]


def published(*names: str) -> list[ControlFile]:
    return [*map(file_of, names), *fileless()]


@pytest.mark.parametrize(("name", "family", "base", "kinds"), NAMES, ids=[row[0] for row in NAMES])
def test_a_name_says_family_and_kinds(name: str, family: str, base: str, kinds: Collection[str]) -> None:
    found = file_of(name)
    assert (found.control, found.base, found.kinds) == (family, base, kinds)


def test_every_published_control_has_a_kind_that_suits_its_preprocessors() -> None:
    for entry in published_files():
        file = file_of(without_suffix(entry.file))
        if entry.is_no_control or "keypose" in entry.file:
            continue
        assert (file.control, file.base) == (entry.kind, entry.base)
        assert OTHER not in file.kinds, entry.file
        made = {kind_of_preprocessor(each) for each in file.preprocessors} - {""}
        assert not made or made & set(file.kinds), (entry.file, made, file.kinds)


def test_what_was_read_from_a_file_counts_more_than_its_name() -> None:
    read = file_of("canny-like_sd15", "controlnet_union", "SDXL", "promax")
    assert (read.base, "tile" in read.kinds, "pose" in read.kinds) == ("SDXL", True, True)
    assert "tile" not in file_of("controlnet-union-sdxl-1.0").kinds
    assert file_of("xinsir_controlnet_union_sdxl_promax").kinds[-2:] == ("tile", "inpaint")


def test_only_what_the_files_and_the_checkpoint_allow_is_offered() -> None:
    files = published("control_v11p_sd15_canny", "t2i-adapter_xl_openpose", "ip-adapter_sd15")
    assert offered(files, "SD1.5") == ("edges", *ADAPTED, "reference", "style_aligned")
    assert offered(files, "SDXL") == ("pose", "reference", "style_aligned", "revision")
    assert set(offered(files)) == {*offered(files, "SD1.5"), *offered(files, "SDXL")}


def test_the_best_file_is_general_new_and_fits_the_checkpoint() -> None:
    names = (
        "control_sd15_canny", "control_v11p_sd15_canny_fp16", "t2iadapter_canny_sd15v2",
        "diffusers_xl_canny_small", "noob-sdxl-controlnet-canny.fp16", "controlnet-union-sdxl-1.0",
        "sai_xl_canny_256lora",
    )  # fmt: skip
    files = published(*names)
    chosen = {base: best_file("edges", files, base) for base in ("SD1.5", "SDXL", "SD2")}
    assert {base: file and file.name for base, file in chosen.items()} == {
        "SD1.5": "control_v11p_sd15_canny_fp16", "SDXL": "controlnet-union-sdxl-1.0", "SD2": None
    }  # fmt: skip
    kept = best_file("edges", files, "SD1.5", "t2iadapter_canny_sd15v2")
    assert kept is not None
    assert kept.name == "t2iadapter_canny_sd15v2"
    without = best_file("reference", files, "SDXL")
    assert without is not None
    assert without.control == "reference"


@pytest.mark.parametrize(
    ("kind", "name", "here", "expected"),
    [
        ("depth", "control_v11f1p_sd15_depth", {"depth_zoe", "depth_anything_v2"}, "depth_zoe"),
        ("depth", "control_v11f1p_sd15_depth", {"depth_anything_v2"}, "depth_anything_v2"),
        ("depth", "control_v11f1p_sd15_depth", set(), "depth_anything"),
        ("lines", "control_v11p_sd15_lineart", {"lineart_standard"}, "lineart_standard"),
        ("lines", "control_v11p_sd15s2_lineart_anime", {"lineart", "lineart_anime"}, "lineart_anime"),
        ("scribble", "t2iadapter_sketch_sd15v2", {"scribble_xdog", "pidinet_sketch"}, "pidinet_sketch"),
        ("inpaint", "control_v11p_sd15_inpaint", {"inpaint_only", "inpaint"}, "inpaint_only"),
        ("pattern", "control_v1p_sd15_qrcode_monster", set(), "none"),
        ("style", "ip-adapter_sd15", {"canny"}, "none"),
    ],
)
def test_the_best_preprocessor_is_one_whose_weights_are_here(
    kind: str, name: str, here: set[str], expected: str
) -> None:
    assert best_preprocessor(kind, file_of(name), here.__contains__) == expected


def test_preprocessors_and_fields_are_known() -> None:
    known = catalogue.preprocessor_names()
    assert all(name in known for kind in KINDS.values() for name in kind.preprocessors)
    for name, family, base, kinds in NAMES:
        for kind in kinds:
            if kind == OTHER:
                continue
            values = unit_values(kind, file_of(name, family, base), "none", base)
            assert values.keys() <= panel.with_params(panel.unit_values()).keys()
            assert values["enabled"] is True


def test_a_choice_is_recognised_again() -> None:
    for name in ("control_v11p_sd15_canny", "controlnet-union-sdxl-1.0", "ip-adapter_sdxl", "pulid_v1.1"):
        file = file_of(name)
        for kind in file.kinds:
            values = unit_values(kind, file, best_preprocessor(kind, file, lambda _: True))
            assert kind_of_unit(file, values["preprocessor"], values[WEIGHT_TYPE]) == kind


def test_the_strengths_are_kritas() -> None:
    for kind, low, middle, high in (
        ("edges", (0.7, 0, 0.5), (1, 0, 0.8), (1, 0, 1)),
        ("reference", (0.4, 0.2, 0.8), (0.8, 0.2, 0.8), (1, 0, 1)),
        ("style", (0.4, 0.2, 0.8), (0.8, 0.2, 1), (1.2, 0, 1)),
        ("composition", (0.5, 0, 0.5), (0.8, 0, 0.8), (1, 0, 0.8)),
        ("face", (0.5, 0.4, 0.9), (0.8, 0.2, 1), (1.2, 0.2, 1)),
    ):
        rows = strengths.presets_of(kind, "SD1.5")
        places = [tuple(strengths.at(rows, place)) for place in (0, 50, 100)]
        assert places == [low, middle, high]
        between = [round((a + b) / 2, 3) for a, b in zip(middle, high, strict=True)]
        assert list(strengths.at(rows, 75)) == between
    assert tuple(strengths.presets_of("scribble", "SDXL")[1]) == (0.7, 0, 0.7)
    assert strengths.presets_of("scribble", "SD1.5") == strengths.DEFAULT
    assert strengths.PRESETS.keys() | strengths.SDXL_PRESETS.keys() <= KINDS.keys()
