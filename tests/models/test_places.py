"""Model files are found where users of the WebUI, the old extension and the Hub keep them."""

import json
import os
from pathlib import Path

import pytest

from lib_ctrlgen.models.model_files import ModelFiles
from lib_ctrlgen.models.places import folder_for, is_webui, places_of_webui, webui_places
from lib_ctrlgen.models.published import named


def put(*parts: Path | str) -> Path:
    path = Path(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())
    return path


@pytest.fixture
def webui(tmp_path: Path) -> Path:
    folder = tmp_path / "stable diffusion ü"
    put(folder, "webui.py")
    for name in ("ControlNet", "ipadapter", "T2I-Adapter", "InstantID", "Stable-diffusion", "VAE"):
        put(folder, "models", name, f"in_{name}.safetensors")
    put(folder, "extensions", "sd-webui-controlnet", "models", "in_old.pth")
    put(folder, "extensions", "my-sd-webui-controlnet-fork", "models", "in_fork.pth")
    put(tmp_path, "elsewhere", "in_setting.pth")
    settings = {
        "control_net_models_path": str(tmp_path / "elsewhere"),
        "control_net_modules_path": "/weights",
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_every_place_of_a_webui_is_searched(webui: Path) -> None:
    assert is_webui(webui)
    places = places_of_webui(webui)
    names = ModelFiles(places.models).names()
    found = (
        "ControlNet",
        "ipadapter",
        "T2I-Adapter",
        "InstantID",
        "Stable-diffusion",
        "old",
        "fork",
        "setting",
    )
    assert names == sorted(f"in_{name}" for name in found)
    assert places.weights == (Path("/weights"),)


def test_flags_and_a_damaged_config_count(webui: Path, tmp_path: Path) -> None:
    options = {"controlnet_dir": str(tmp_path / "elsewhere"), "controlnet_annotator_models_path": "/w"}
    places = webui_places(webui / "models", [], options)
    assert places.models[-1] == tmp_path / "elsewhere"
    assert places.weights == (Path("/w"),)
    (webui / "config.json").write_text("{")
    assert places_of_webui(webui).weights == ()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of the Hub: two revisions of a ControlNet, an adapter, a checkpoint, a language model."""
    hub = tmp_path / "hub"
    for revision in ("aaa", "bbb"):
        blob = put(hub, "models--own--er-controlnet", "blobs", revision)
        link = (
            hub
            / "models--own--er-controlnet"
            / "snapshots"
            / revision
            / "diffusion_pytorch_model.safetensors"
        )
        link.parent.mkdir(parents=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
        put(link.parent, "config.json")
    put(hub, "models--own--er-controlnet", "refs", "main").write_text("aaa")
    put(hub, "models--h94--IP-Adapter", "snapshots", "ccc", "models", "ip-adapter_sd15.bin")
    put(hub, "models--h94--IP-Adapter", "snapshots", "ccc", "models", "image_encoder", "config.json")
    put(hub, "models--a--pipe", "snapshots", "ddd", "model_index.json")
    put(hub, "models--a--pipe", "snapshots", "ddd", "unet", "diffusion_pytorch_model.safetensors")
    put(hub, "models--some--llm", "snapshots", "eee", "model-00001-of-00002.safetensors")
    return hub


def test_the_hubs_cache_lists_controls_and_checkpoints_by_repository(cache: Path) -> None:
    files = ModelFiles([cache])
    assert files.names() == ["h94/IP-Adapter/models/ip-adapter_sd15", "own/er-controlnet"]
    assert files.find("er-controlnet").parent.name == "aaa", "the revision of the branch main"
    assert files.find("own/er-controlnet").read_bytes() == b"aaa"
    assert files.find_checkpoint("a/pipe") == cache / "models--a--pipe" / "snapshots" / "ddd"
    assert "h94/IP-Adapter/models/image_encoder" in files.folders()
    label = files.label(files.find("ip-adapter_sd15"))
    assert files.find(label) == files.find("ip-adapter_sd15")


def test_the_hubs_cache_changes_no_name_that_meant_something_before(cache: Path, tmp_path: Path) -> None:
    """A download of another program must not make a user's jobs ambiguous, or mean another file."""
    own = [put(tmp_path, "own", name) for name in ("my_er-controlnet_v2.pth", "ip-adapter_sd15_light.pth")]
    files = ModelFiles([tmp_path / "own", cache])
    assert files.find("er-controlnet") == own[0], (
        "contained in the own name, the whole last part of the other"
    )
    assert files.find("ip-adapter") == own[1]
    exact = files.find("own/er-controlnet")
    assert exact.read_bytes() == b"aaa"
    assert files.find(files.label(exact)) == exact
    assert files.find(f"er-controlnet [{files.hash(exact)}]") == exact, "the hash says which"
    assert files.find("models/ip-adapter_sd15").suffix == ".bin"


def test_read_only_folders_and_links_are_read(tmp_path: Path) -> None:
    real = put(tmp_path, "disk", "control 模型.pth")
    root = tmp_path / "models"
    root.mkdir()
    (root / "link.pth").symlink_to(real)
    (root / "gone.pth").symlink_to(tmp_path / "nothing.pth")
    (root / "folder").symlink_to(real.parent, target_is_directory=True)
    root.chmod(0o555)
    try:
        files = ModelFiles([root])
        assert files.names() == ["folder/control 模型", "gone", "link"]
        assert files.labels()[1] == "gone", "a link that leads nowhere has no hash"
        assert files.find("control 模型").read_bytes() == real.read_bytes()
    finally:
        root.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("control_v11p_sd15_canny.pth", "models/ControlNet"),
        ("ip-adapter-plus_sd15.safetensors", "models/ipadapter"),
        ("CLIP-ViT-H-14", "models/clip_vision"),
        ("ControlNetHED.pth", "models/ControlNetPreprocessor"),
    ],
)
def test_downloads_go_where_they_are_found(webui: Path, name: str, place: str) -> None:
    entry = named(name)
    assert entry is not None
    assert folder_for(entry, [webui]) == webui / place
    assert folder_for(entry, []).is_relative_to(os.environ["CTRLGEN_CACHE"])
