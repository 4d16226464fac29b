"""`ctrlgen models list`, `info` and `get`."""

import hashlib
from pathlib import Path

import pytest

from lib_ctrlgen.cli import main as cli
from tests.support import control_files as files
from tests.support.command_line import Captured, fails
from tests.support.hub_server import FakeHub, served

ZOE = "/lllyasviel/Annotators/resolve/main/ZoeD_M12_N.pt"


@pytest.fixture
def webui(tmp_path: Path, bundled: Path) -> Path:
    """A WebUI's folder with a ControlNet under a published name, weights, and a broken file."""
    folder = tmp_path / "webui"
    (folder / "models" / "ControlNet").mkdir(parents=True)
    (folder / "webui.py").touch()
    edges = bundled / "ControlNet" / "ctrlgen-tiny-edges.safetensors"
    copied = folder / "models" / "ControlNet" / "control_v11p_sd15_canny_fp16.safetensors"
    copied.write_bytes(edges.read_bytes())
    (folder / "models" / "ControlNet" / "broken.safetensors").write_bytes(b"half")
    weights = folder / "models" / "ControlNetPreprocessor" / "hed" / "ControlNetHED.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    return folder


def printed(captured: Captured, *arguments: str) -> list[str]:
    assert cli.main(["models", *arguments]) == 0
    return captured.readouterr().out.splitlines()


def test_the_list_has_kind_base_size_and_purpose(webui: Path, capsys: Captured) -> None:
    for arguments in (["list", "--models", str(webui)], ["--models", str(webui), "list"]):
        lines = {line.split()[0]: line for line in printed(capsys, *arguments)}
        row = lines["control_v11p_sd15_canny_fp16"]
        assert row.split("]")[1].split()[:2] == ["controlnet", "custom"]
        assert row.endswith("edges (Canny), half precision")
        assert "cannot be read" in lines["broken"]
        assert lines["ControlNetHED.pth"].split()[1] == "preprocessor"
        assert "ctrlgen-tiny" in lines
    assert printed(capsys, "--models", str(webui)) == printed(capsys, "list", "--models", str(webui))
    (row,) = printed(capsys, "list", "half precision", "--models", str(webui))
    assert row.startswith("control_v11p_sd15_canny_fp16 [")
    assert "no model with 'nothing' in the model folders" in fails(["models", "list", "nothing"], capsys)


def test_published_files_are_marked_if_they_are_here(webui: Path, capsys: Captured) -> None:
    lines = printed(capsys, "list", "--published", "hed", "--models", str(webui))
    marks = {line.split()[0]: " here " in line for line in lines}
    assert marks["ControlNetHED.pth"]
    assert not marks["control_sd15_hed.pth"]


def test_info_says_how_a_file_was_recognised(webui: Path, capsys: Captured) -> None:
    text = "\n".join(printed(capsys, "info", "canny_fp16", "--models", str(webui)))
    for said in (
        "recognised: controlnet, by the names and shapes of its tensors",
        "fits: custom",
        "the published file of this name is for SD1.5: it is another file",
        "content: not that of the published file, whose SHA-256 is 8932b66e",
        "purpose: edges (Canny), half precision, for canny",
        "published: https://huggingface.co/comfyanonymous/ControlNet-v1-1_fp16_safetensors",
    ):
        assert said in text
    path = webui / "models" / "ControlNetPreprocessor" / "hed" / "ControlNetHED.pth"
    text = "\n".join(printed(capsys, "info", str(path)))
    assert "recognised: preprocessor, by its name" in text
    assert hashlib.sha256(b"weights").hexdigest() in text
    assert printed(capsys, "info", "xinsir_controlnet_tile_sdxl")[0].endswith("not in the model folders")
    assert "no model named 'zzz'" in fails(["models", "info", "zzz"], capsys)
    assert "recognised: no, " in "\n".join(printed(capsys, "info", "broken", "--models", str(webui)))


def test_get_asks_for_consent_and_downloads_where_it_is_found(
    webui: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    place = webui / "models" / "ControlNetPreprocessor"
    get = ["models", "get", "depth_zoe", "--models", str(webui)]
    with served(FakeHub({ZOE: files.picture(8, 8).tobytes()})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        asked = fails(get, capsys)
        assert "add --yes to download ZoeD_M12_N.pt (depth (ZoeDepth); size not known; licence: see" in asked
        assert f"from {hub.url}{ZOE} into {place}" in asked
        assert not hub.requests
        assert cli.main([*get, "--yes"]) == 0
        assert capsys.readouterr().out.strip() == str(place / "ZoeD_M12_N.pt")
        lines = printed(capsys, "list", "--models", str(webui))
    assert any(line.startswith("ZoeD_M12_N.pt") for line in lines)
    assert "nearest: " in fails(["models", "get", "control_v11p_sd15_cany", "--yes"], capsys)


def test_get_respects_offline(webui: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = fails(["models", "get", "mlsd", "--yes", "--folder", str(webui)], capsys)
    assert "HF_HUB_OFFLINE is set" in said
    assert f"put it as mlsd_large_512_fp32.pth into {webui}" in said
