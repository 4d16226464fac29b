"""Adds what CtrlGen needs to the WebUI's environment: only what is missing, and nothing else.

The WebUI runs this file at every start, in a process of its own, and shows what it prints
only if it exits with 0; so a failure is a message here, and the panel says the rest.
Every package that is already there is held at its version while pip runs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

REQUIREMENTS = Path(__file__).resolve().parent / "requirements" / "webui-extension.txt"
MODULES = {"opencv-python-headless": "cv2"}  # provided by any of several distributions

RunPip = Callable[[str, str], object]


def read_requirements(path: Path = REQUIREMENTS) -> tuple[Requirement, ...]:
    """The lines of a requirements file, without its comments."""
    lines = (line.split("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return tuple(Requirement(line) for line in lines if line)


def installed_version(requirement: Requirement) -> Version | None:
    """The version that is there, or None."""
    try:
        return Version(metadata.version(requirement.name))
    except metadata.PackageNotFoundError:
        return None


def is_needed(requirement: Requirement) -> bool:
    """Whether the package is missing or too old; a newer one is another extension's, and stays."""
    module = MODULES.get(requirement.name)
    if module is not None:
        return find_spec(module) is None
    version = installed_version(requirement)
    if version is None:
        return True
    floors = [Version(s.version) for s in requirement.specifier if s.operator in ("==", ">=")]
    return version < max(floors, default=version)


def held_versions(needed: Iterable[Requirement]) -> str:
    """Constraints that hold everything installed at its version, but for what is `needed`."""
    free = {requirement.name.lower() for requirement in needed}
    pairs = {(d.metadata["Name"] or "", d.version) for d in metadata.distributions()}
    pairs = {(name, version) for name, version in pairs if name and name.lower() not in free}
    return "".join(f"{name}=={version}\n" for name, version in sorted(pairs))


def install(needed: tuple[Requirement, ...], run_pip: RunPip) -> None:
    """Install `needed` through the WebUI's pip; RuntimeError where that fails."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text(held_versions(needed), "utf-8")
        wanted = " ".join(f'"{requirement}"' for requirement in needed)
        run_pip(f'install {wanted} -c "{constraints}"', "requirements of CtrlGen")


def notes(requirements: Iterable[Requirement]) -> list[str]:
    """What to know about packages that are newer than what CtrlGen was tested with."""
    return [
        f"CtrlGen: {r.name} {version} is installed and left alone; tested with {r.specifier}."
        for r in requirements
        if r.name not in MODULES
        and (version := installed_version(r)) is not None
        and version not in r.specifier
        and not is_needed(r)
    ]


def failure(needed: Iterable[Requirement], error: RuntimeError) -> str:
    """The one message for a pip that failed: what is missing, why, and what to do."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line.removeprefix("stderr: ") for line in lines if "ERROR:" in line] or lines[:1]
    wanted = " ".join(f'"{requirement}"' for requirement in needed)
    return (
        f"CtrlGen stays off: it could not install {wanted}.\n"
        f"  {reasons[0]}\n"
        "  Nothing that was there has been changed. When the network is back, restart the WebUI,\n"
        f"  or run in its environment: python -m pip install {wanted}"
    )


def main(run_pip: RunPip) -> str:
    """Install what is missing; returns what to print."""
    requirements = read_requirements()
    needed = tuple(requirement for requirement in requirements if is_needed(requirement))
    if needed:
        try:
            install(needed, run_pip)
        except RuntimeError as error:  # what launch.run_pip raises when pip fails
            return failure(needed, error)
    return os.linesep.join(notes(requirements))


def run_pip_of_the_webui(command: str, description: str) -> object:
    """The WebUI's own pip runner, which knows its index and its `--skip-install`."""
    import launch  # only beside the WebUI, and only when something is missing

    return launch.run_pip(command, description)


if __name__ == "__main__" and (message := main(run_pip_of_the_webui)):
    print(message)
