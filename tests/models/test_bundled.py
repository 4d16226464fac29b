"""The tiny model is installed in a WebUI completely, repeatably, and without replacing a user's file."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
import yaml

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.models import bundled as tiny
from lib_ctrlgen.request.notices import Notices
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh, served

ROOT = Path(__file__).resolve().parents[2]

FILES = {
    "ctrlgen-tiny.safetensors": "checkpoint",
    "ctrlgen-tiny.yaml": "model:\n  params:\n    cond_stage_config:\n      params:\n        version: text\n",
    "text/config.json": "{}",
    "text/vocab.json": "{}",
    "ControlNet/ctrlgen-tiny-edges.safetensors": "edges",
    "clip_vision/ctrlgen-tiny-vision/config.json": "{}",
    "README.md": "where this comes from",
}
PLACES = {
    "Stable-diffusion/ctrlgen-tiny.safetensors",
    "Stable-diffusion/ctrlgen-tiny.yaml",
    "ctrlgen-tiny-text/config.json",
    "ctrlgen-tiny-text/vocab.json",
    "ControlNet/ctrlgen-tiny-edges.safetensors",
    "clip_vision/ctrlgen-tiny-vision/config.json",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.fixture
def webui(tmp_path: Path) -> Path:
    folder = tmp_path / "web ui ü"
    (folder / "models").mkdir(parents=True)
    (folder / "webui.py").touch()
    return folder


def found(webui: Path) -> dict[str, str]:
    models = webui / "models"
    return {
        str(path.relative_to(models).as_posix()): path.read_text("utf-8")
        for path in models.rglob("*")
        if path.is_file()
    }


def test_every_file_finds_its_place(source: Path, webui: Path) -> None:
    placed = tiny.install(webui, source)
    assert found(webui).keys() == PLACES
    assert {item.action for item in placed} == {"written"}
    assert {item.path for item in placed} == {webui / "models" / name for name in PLACES}


def test_the_text_folder_becomes_absolute(source: Path, webui: Path) -> None:
    tiny.install(webui, source)
    content = yaml.safe_load((webui / "models/Stable-diffusion/ctrlgen-tiny.yaml").read_text("utf-8"))
    version = Path(content["model"]["params"]["cond_stage_config"]["params"]["version"])
    assert version.is_absolute()
    assert version.samefile(webui / "models" / "ctrlgen-tiny-text")


def test_doing_it_again_changes_nothing(source: Path, webui: Path) -> None:
    tiny.install(webui, source)
    before = found(webui)
    assert {item.action for item in tiny.install(webui, source)} == {"already there"}
    assert found(webui) == before


@pytest.mark.parametrize("name", sorted(PLACES))
def test_another_file_in_the_way_stops_everything(source: Path, webui: Path, name: str) -> None:
    path = webui / "models" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(HostError, match="a different file exists already") as raised:
        tiny.install(webui, source)
    assert str(path) in str(raised.value)
    assert found(webui) == {name: "mine"}


def test_a_folder_that_cannot_be_written_is_named(source: Path, webui: Path) -> None:
    (webui / "models" / "ControlNet").touch()
    with pytest.raises(HostError, match=r"cannot write .*ControlNet"):
        tiny.install(webui, source)


def test_replacing_must_be_said(source: Path, webui: Path) -> None:
    tiny.install(webui, source)
    (source / "ControlNet/ctrlgen-tiny-edges.safetensors").write_text("newer")
    with pytest.raises(HostError, match="or use --replace"):
        tiny.install(webui, source)
    placed = tiny.install(webui, source, replace=True)
    assert [item.path.name for item in placed if item.action == "replaced"] == [
        "ctrlgen-tiny-edges.safetensors"
    ]
    assert found(webui)["ControlNet/ctrlgen-tiny-edges.safetensors"] == "newer"


@pytest.mark.parametrize(
    "folder",
    [
        PurePosixPath("/home/me/web ui/models/ctrlgen-tiny-text"),
        PurePosixPath('/odd "quotes" and \\ ü/text'),
        PureWindowsPath("C:\\Users\\new\\web ui\\models\\ctrlgen-tiny-text"),
        PureWindowsPath("\\\\server\\share\\webui\\models\\text"),
    ],
    ids=str,
)
def test_the_text_folder_is_read_back_from_the_yaml(folder: PurePath) -> None:
    written = yaml.safe_load(tiny.rewritten("params:\n  version: text\n", folder))
    assert type(folder)(written["params"]["version"]) == folder


COMMANDS = {"folder": ([str(ROOT)], None), "module": (["-m", "lib_ctrlgen"], ROOT)}


@pytest.mark.parametrize("way", COMMANDS)
def test_the_command_works_from_a_clone_that_is_not_installed(webui: Path, way: str) -> None:
    """`python extensions/ctrlgen tiny --install .` from the WebUI's folder; `-m` from the extension's."""
    command, folder = COMMANDS[way]
    path = "." if folder is None else str(webui)
    done = subprocess.run(
        [sys.executable, *command, "tiny", "--install", path],
        cwd=folder or webui, env=os.environ | {"PYTHONPATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (webui / "models/ControlNet/ctrlgen-tiny-edges.safetensors").is_file()


@pytest.fixture
def page(webui: Path) -> Iterator[Any]:
    with served(FakeWebUI(), webui) as host:
        yield host


def test_the_button_of_the_panel_installs_it(page: Any, webui: Path) -> None:
    model = fresh("panel.tiny_model")
    said = model.install_button("x")
    (button,) = [each for each in Component.made if each.elem_id == "x"]
    (click, options), (refresh, _) = button.events
    assert options["outputs"] == [said]
    assert refresh is None
    assert "files written" in click()
    assert "installed already" in click()
    assert (webui / "models/ControlNet/ctrlgen-tiny-edges.safetensors").is_file()
    assert page.log == ["listed"] * 2
    (webui / "models/Stable-diffusion/ctrlgen-tiny.yaml").write_text("mine")
    assert "a different file exists already" in click()


def test_the_settings_have_the_button_and_save_nothing(page: Any) -> None:
    fresh("panel.tiny_model").register_tiny_setting()
    (option,) = page.opts.data_labels.values()
    assert option.section == ("ctrlgen", "CtrlGen")
    assert option.component(label="", value="", elem_id="setting_x").elem_id == "setting_x_said"
    assert "ctrlgen_tiny_model" not in page.opts.data


@pytest.mark.parametrize(
    ("checkpoint", "width", "height", "warned"),
    [
        ("ctrlgen-tiny", 512, 512, True), ("ctrlgen-tiny", 128, 264, True), ("ctrlgen-tiny", 56, 128, True),
        ("ctrlgen-tiny", 64, 256, False), ("v1-5-pruned", 512, 512, False),
    ],
)  # fmt: skip
def test_sizes_that_the_model_has_not_learnt(checkpoint: str, width: int, height: int, warned: bool) -> None:
    note = tiny.size_note(checkpoint, width, height)
    assert bool(note) == warned
    assert not warned or f"{width} x {height}" in note
    notices = Notices()
    tiny.note_size(f"/models/{checkpoint}.safetensors", width, height, notices)
    assert bool(notices.of()) == warned


@pytest.mark.parametrize("missing", ["webui.py", "models"])
def test_a_folder_that_is_no_webui_is_refused(source: Path, webui: Path, missing: str) -> None:
    path = webui / missing
    path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(HostError, match="is no WebUI folder"):
        tiny.install(webui, source)
    assert not (webui / "models" / "ControlNet").exists()


def test_the_command_says_what_it_did(
    source: Path, webui: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "tiny_folder", lambda: source)
    for action in ("written", "already there"):
        assert cli.main(["tiny", "--install", str(webui)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == len(PLACES)
        assert all(line.strip().startswith(action) for line in lines)


def test_a_missing_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "__file__", str(tmp_path / "tiny.py"))
    with pytest.raises(HostError, match="missing from this installation"):
        tiny.tiny_folder()
