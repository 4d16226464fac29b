"""The table of published files, and the lookup of preprocessors' weights."""

import hashlib
import re
from pathlib import Path

import msgspec
import pytest

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models import weights as module
from lib_ctrlgen.models.listing import listed_weights
from lib_ctrlgen.models.published import NO_CONTROLS, Published, named, published_files, weights_of
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weights import find_weight_folder, find_weights, weight_folders
from lib_ctrlgen.request import catalogue

HED = "ControlNetHED.pth"
PLACES = [
    "models/ControlNetPreprocessor/hed",
    "extensions/sd-webui-controlnet/annotator/downloads/hed",
    "models/ControlNet",
    "own/ControlNetPreprocessor",
    "named",
    "hub/models--lllyasviel--Annotators/snapshots/abc",
]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, ...]:
    monkeypatch.setenv("CTRLGEN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    roots = [tmp_path / "models" / "ControlNet", tmp_path / "extensions" / "sd-webui-controlnet" / "models"]
    return ModelStore(roots, 0, [tmp_path / "named"]).weight_folders


@pytest.mark.parametrize("place", PLACES)
def test_weights_are_found_where_users_have_them(
    tmp_path: Path, folders: tuple[Path, ...], place: str
) -> None:
    path = tmp_path / place / HED
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_weights(HED, folders) == path
    assert [(row.name, row.path) for row in listed_weights(folders)] == [(HED, path)]


def test_the_message_names_file_folder_command_and_address(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        find_weights(HED, folders)
    for said in (
        "ControlNetHED.pth (soft edges (HED), for hed, hed_safe, scribble_hed) are missing",
        f"put the file into {tmp_path / 'named'}",
        f"models get {HED} --folder {tmp_path / 'named'} --yes",
        "https://huggingface.co/lllyasviel/Annotators/resolve/main/ControlNetHED.pth",
    ):
        assert said in str(caught.value)
    with pytest.raises(ModelError, match=r"nearest: ControlNetHED\.pth"):
        find_weights("ControlNetHD.pth", folders)


def test_where_missing_files_go(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    webui, own = tmp_path / "models" / "ControlNet", tmp_path / "own" / "ControlNetPreprocessor"
    assert folders[0] == tmp_path / "named"
    assert weight_folders([webui])[0] == tmp_path / "models" / "ControlNetPreprocessor"
    assert weight_folders([tmp_path / "any"])[0] == own
    assert weight_folders([])[0] == own
    assert weight_folders([module.PACKAGE / "assets" / "tiny"]) == (own,), "not into the bundled model"
    assert weight_folders([tmp_path / "hub"]) == (own,), (
        "not into the Hub's cache, which is searched by repository"
    )


def with_entry(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    entry = msgspec.structs.replace(named(HED), **changes)
    monkeypatch.setattr(module, "named", lambda _name: entry)


def test_a_file_of_the_published_size_is_preferred(
    tmp_path: Path, folders: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_entry(monkeypatch, bytes=3)
    for place, content in (("named", b"half!"), ("models/ControlNet/sub", b"all")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / HED).write_bytes(content)
    assert find_weights(HED, folders).read_bytes() == b"all"
    (tmp_path / "models" / "ControlNet" / "sub" / HED).unlink()
    assert find_weights(HED, folders).read_bytes() == b"half!", "somebody's own weights"


def test_a_program_is_taken_only_with_the_published_hash(
    tmp_path: Path, folders: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "named" / HED
    path.parent.mkdir()
    path.write_bytes(b"program")
    for digest in ("", "0" * 64):
        with_entry(monkeypatch, program=True, sha256=digest)
        with pytest.raises(ModelError, match="a TorchScript program"):
            find_weights(HED, folders)
    with_entry(monkeypatch, program=True, sha256=hashlib.sha256(b"program").hexdigest())
    assert find_weights(HED, folders) == path


def test_a_models_folder_is_found_by_its_repository(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    with pytest.raises(ModelError, match=r"put the files of https://huggingface.co/Own/er .* into"):
        find_weight_folder("Own/er", folders)
    for place in ("hub/models--Own--er/snapshots/abc", "models/ControlNet/er", "named/Own/er"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
        assert find_weight_folder("Own/er", folders) == folder


def test_a_published_folder_has_its_name_and_command(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    """The weights of segmentation are folders, whose files have the same names."""
    repo = "shi-labs/oneformer_ade20k_swin_large"
    with pytest.raises(
        ModelError, match=r"put pytorch_model\.bin, config\.json, .* into .*oneformer_ade20k_swin"
    ) as raised:
        find_weight_folder(repo, folders)
    assert "models get oneformer_ade20k_swin_large --folder" in str(raised.value)
    assert [entry.title for entry in weights_of("oneformer_ade20k")] == ["oneformer_ade20k_swin_large"]
    place = tmp_path / "named" / "oneformer_ade20k_swin_large"
    other = tmp_path / "named" / "another_model"
    for folder in (place, other):
        folder.mkdir(parents=True)
        (folder / "pytorch_model.bin").write_bytes(b"weights")
        (folder / "config.json").touch()
    assert find_weight_folder(repo, folders) == place
    assert [(row.name, row.path) for row in listed_weights(folders)] == [
        ("oneformer_ade20k_swin_large", place / "pytorch_model.bin")
    ]


def test_the_table_says_what_the_commands_need() -> None:
    files = published_files()
    for entry in files:
        assert entry.purpose, entry.title
        assert bool(entry.repo) != bool(entry.url), entry.title
        assert entry.base in {"", "SD1.5", "SD2", "SDXL"}
        assert entry.is_no_control or entry.base, entry.title
        assert re.fullmatch(r"([0-9a-f]{64})?", entry.sha256), entry.title
        assert named(entry.title) == entry, f"another file has the name of {entry.title}"
    families = {entry.name for entry in catalogue.CONTROLS}
    assert {entry.kind for entry in files} <= families | NO_CONTROLS
    known = [entry.sha256 for entry in files if entry.sha256]
    assert len(known) == len(set(known))
    assert {entry.kind for entry in files} >= {*NO_CONTROLS, "controlnet", "lllite", "t2i_adapter"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sub/control_v11f1p_sd15_depth", "controlnet"),
        ("control_v11p_sd15_canny_fp16.safetensors", "controlnet"),
        ("IP_Adapter_plus_sd15.bin", "ip_adapter"),
        ("xinsir_controlnet_union_sdxl_promax", "controlnet_union"),
        ("kohya_controllllite_xl_canny", "lllite"),
        ("t2iadapter_depth_sd14v1", "t2i_adapter"),
        ("my own canny", None),
        ("model.safetensors", None),
    ],
)
def test_files_are_known_by_their_names(name: str, kind: str | None) -> None:
    entry = named(name)
    assert (entry.kind if entry else None) == kind


def test_a_preprocessor_names_its_weights() -> None:
    found = [entry.file for entry in weights_of("openpose_full")]
    assert found == ["body_pose_model.pth", "hand_pose_model.pth", "facenet.pth"]
    assert not [*weights_of("canny")]


def test_a_mirror_replaces_the_hubs_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    entry = Published(file="a.pth", kind="lora", purpose="tests", repo="own/er", path="sub/a.pth")
    assert entry.address == "https://mirror.example/own/er/resolve/main/sub/a.pth"
    assert entry.page == "https://huggingface.co/own/er"
