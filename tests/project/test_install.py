"""install.py adds missing packages and never changes a version that the WebUI pins."""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import install
import preload

ROOT = Path(__file__).resolve().parents[2]
PINS_FILE = ROOT / "tests" / "data" / "webui_pins.txt"
PINS = {
    canonicalize_name(r.name): next(iter(r.specifier)).version for r in install.read_requirements(PINS_FILE)
}
EXTENSION = install.read_requirements()
# The pinned packages that share what we add depends on; the rest only costs time.
NEIGHBOURS = tuple(Requirement(name) for name in ("transformers", "safetensors", "pillow"))

in_the_webuis_set = pytest.mark.skipif(
    metadata.version("diffusers") != "0.31.0", reason="not the WebUI's set (make test ENV=webui)"
)


def clashes(
    requirements: tuple[Requirement, ...], needs: Mapping[str, list[str]], pins: Mapping[str, str]
) -> list[str]:
    """Everything that `requirements` pull in and that excludes a pinned version.

    `needs` maps a canonical name to what that package requires; absent means a leaf.
    """
    found, seen, queue = [], set(), list(requirements)
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in pins and Version(pins[name]) not in requirement.specifier:
            found.append(f"{requirement} against {name}=={pins[name]}")
        if name not in seen:
            seen.add(name)
            wanted = (Requirement(text) for text in needs.get(name, []))
            queue += [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return sorted(found)


def installed_needs() -> dict[str, list[str]]:
    """What each installed distribution requires."""
    return {
        canonicalize_name(d.metadata["Name"]): list(d.requires or [])
        for d in metadata.distributions()
        if d.metadata["Name"]
    }


def resolve(tmp_path: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    """Ask pip to resolve our requirements under the WebUI's pins, installing nothing."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
    command += ["--retries", "1", "--report", str(tmp_path / "report.json"), "-c", str(PINS_FILE)]
    command += ["-r", str(install.REQUIREMENTS), *map(str, NEIGHBOURS), *extra]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if "from versions: none" in done.stderr:
        pytest.skip("no package index within reach")
    return done


@in_the_webuis_set
def test_pip_resolves_our_requirements_under_the_pins(tmp_path: Path) -> None:
    done = resolve(tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    chosen = {
        canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"] for item in report["install"]
    }
    assert {"diffusers", "numpy", "huggingface-hub"} <= chosen.keys()
    moved = {n: v for n, v in chosen.items() if n in PINS and Version(v) != Version(PINS[n])}
    assert moved == {}


@in_the_webuis_set
@pytest.mark.parametrize("conflict", ["numpy>=2", "transformers>=4.31"])
def test_pip_refuses_a_requirement_that_moves_a_pin(tmp_path: Path, conflict: str) -> None:
    done = resolve(tmp_path, conflict)
    assert done.returncode != 0
    assert "conflict" in done.stderr


@in_the_webuis_set
def test_the_installed_packages_accept_the_pins() -> None:
    assert clashes(EXTENSION, installed_needs(), PINS) == []


def test_a_clash_deep_down_is_found() -> None:
    needs = {"diffusers": ["opencv-python; extra == 'x'", "middle"], "middle": ["numpy>=2"]}
    found = clashes(EXTENSION, needs, {"numpy": "1.26.2"})
    assert found == ["numpy>=2 against numpy==1.26.2"]


def test_nothing_that_we_add_is_pinned_by_the_webui() -> None:
    assert not {canonicalize_name(r.name) for r in EXTENSION} & PINS.keys()


def test_the_webui_extra_is_the_same_list() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = {Requirement(text) for text in project["optional-dependencies"]["webui"]}
    assert extra == set(EXTENSION)


class FakeHost:
    """An environment with given packages, and a pip that notes what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str]) -> None:
        self.commands: list[str] = []
        self.constraints = ""
        self.error: RuntimeError | None = None
        monkeypatch.setattr(install, "installed_version", lambda r: _version(versions.get(r.name)))
        monkeypatch.setattr(install, "find_spec", versions.get)

    def run_pip(self, command: str, _description: str) -> None:
        self.commands.append(command)
        self.constraints = Path(command.split('-c "')[1].rstrip('"')).read_text("utf-8")
        if self.error:
            raise self.error


def _version(text: str | None) -> Version | None:
    return None if text is None else Version(text)


COMPLETE = {
    "diffusers": "0.31.0",
    "filelock": "3.20.0",
    "huggingface-hub": "0.36.2",
    "msgspec": "0.22.0",
    "cv2": "x",
}


def test_a_complete_environment_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost(monkeypatch, COMPLETE)
    assert install.main(host.run_pip) == ""
    assert host.commands == []


def test_only_what_is_missing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost(monkeypatch, {**COMPLETE, "msgspec": None})
    assert install.main(host.run_pip) == ""
    (command,) = host.commands
    assert command.startswith('install "msgspec==0.22.0" -c ')


def test_everything_installed_is_held_while_pip_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost(monkeypatch, {**COMPLETE, "msgspec": None})
    install.main(host.run_pip)
    assert f"numpy=={metadata.version('numpy')}" in host.constraints.splitlines()
    assert f"torch=={metadata.version('torch')}" in host.constraints.splitlines()
    assert "msgspec" not in host.constraints


def test_any_build_of_opencv_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost(monkeypatch, {**COMPLETE, "cv2": None})
    install.main(host.run_pip)
    assert host.commands[0].startswith('install "opencv-python-headless<4.12,>=4.8" -c ')


def test_an_old_package_is_raised_and_a_newer_one_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost(monkeypatch, {**COMPLETE, "diffusers": "0.25.0"})
    assert install.main(host.run_pip) == ""
    assert host.commands[0].startswith('install "diffusers==0.31.0" -c ')
    host = FakeHost(monkeypatch, {**COMPLETE, "diffusers": "0.36.0"})
    message = install.main(host.run_pip)
    assert "diffusers 0.36.0 is installed and left alone; tested with ==0.31.0" in message
    assert host.commands == []


def test_a_failing_pip_gives_a_readable_message(monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost(monkeypatch, {**COMPLETE, "diffusers": None})
    host.error = RuntimeError(
        "Couldn't install requirements of CtrlGen.\nCommand: python -m pip install ...\n"
        "Error code: 1\nstderr: ERROR: No matching distribution found for diffusers==0.31.0"
    )
    message = install.main(host.run_pip)
    assert message.startswith('CtrlGen stays off: it could not install "diffusers==0.31.0".\n')
    assert "No matching distribution found" in message
    assert 'python -m pip install "diffusers==0.31.0"' in message


def test_the_flags() -> None:
    parser = argparse.ArgumentParser()
    preload.preload(parser)
    flags = parser.parse_args(
        ["--ctrlgen-models-path", "a", "--ctrlgen-models-path", "b", "--ctrlgen-cache-gb", "1.5"]
    )
    assert flags.ctrlgen_models_path == ["a", "b"]
    assert flags.ctrlgen_cache_gb == 1.5
    assert parser.parse_args([]).ctrlgen_models_path == []
    assert parser.parse_args(["--controlnet-dir", "c"]).controlnet_dir == "c"


def test_flags_of_another_extension_are_left_to_it(tmp_path: Path) -> None:
    """argparse would stop that extension's preload.py at a flag that exists already."""
    own, old = tmp_path / "extensions" / "ctrlgen", tmp_path / "extensions" / "sd-webui-controlnet"
    for folder in (own, old):
        folder.mkdir(parents=True)
    (own / "preload.py").write_text((ROOT / "preload.py").read_text())
    (old / "preload.py").write_text('parser.add_argument("--controlnet-dir")')
    parser = argparse.ArgumentParser()
    parser.add_argument("--controlnet-annotator-models-path")
    preload.add_old_flags(parser, own)
    parser.add_argument("--controlnet-dir")
    assert parser.parse_args(["--controlnet-dir", "c"]).controlnet_dir == "c"
