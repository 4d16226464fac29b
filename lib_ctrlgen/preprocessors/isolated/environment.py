"""Environments for packages that do not fit the host's, in CtrlGen's own folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lib_ctrlgen.errors import ModelError, nearest
from lib_ctrlgen.models.weights import command_line, own_folder

PROGRAMS = Path(__file__).with_name("programs")
FOLDER = "environments"
COMPLETE = "installed.json"  # is written last
# Would install into another place, or let the worker import from one.
UNWANTED = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment, and the program that runs in it.

    name      what users call it
    packages  what pip installs, with their versions and everything that they import
    module    a module that can be imported if the installation is complete
    program   the file in `programs` that its worker runs
    size      bytes on the disk
    download  bytes that pip downloads
    users     the preprocessors that need it
    """

    name: str
    packages: tuple[str, ...]
    module: str
    program: Path
    size: int
    download: int
    users: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Its folder, which is another one for other packages: an update of CtrlGen never uses an old one."""
        digest = hashlib.sha256("\n".join(self.packages).encode()).hexdigest()[:8]
        return own_folder() / FOLDER / f"{self.name}-{digest}"

    @property
    def is_installed(self) -> bool:
        """Whether it is there, completely."""
        return (self.folder / COMPLETE).is_file() and python_in(self.folder).exists()

    @property
    def command(self) -> str:
        """The command that installs it."""
        return f"{command_line()} preprocessors install {self.name} --yes"

    @property
    def costs(self) -> str:
        """What its installation takes: disk and download, and the free space, in words."""
        free = shutil.disk_usage(_existing(self.folder)).free
        return (
            f"{self.size / 1e9:.2f} GB in {self.folder.parent}, where {free / 1e9:.1f} GB are free, "
            f"and a download of {self.download / 1e9:.2f} GB by pip"
        )

    def require_installed(self, more: str = "") -> None:
        """Raise ModelError with the command that installs it; `more` is another way to do that."""
        if not self.is_installed:
            raise ModelError(
                f"{self.name}, for {' and '.join(self.users)}, is not installed. Its packages do not fit the "
                f"others, so it gets an environment of its own: run {self.command}{more} (that takes "
                f"{self.costs})"
            )


MEDIAPIPE = Environment(
    name="mediapipe",
    # The last version with `solutions` and with networks in the package. What else it declares (jax, scipy,
    # sentencepiece, sounddevice) is not imported for faces; OpenCV without windows works on servers, too.
    packages=(
        "mediapipe==0.10.21",
        "absl-py==2.1.0",
        "attrs==24.2.0",
        "flatbuffers==24.3.25",
        "numpy==1.26.4",
        "opencv-contrib-python-headless==4.10.0.84",
        "protobuf==4.25.5",
        # what mediapipe's drawing functions import
        "contourpy==1.3.1",
        "cycler==0.12.1",
        "fonttools==4.55.3",
        "kiwisolver==1.4.7",
        "matplotlib==3.10.0",
        "packaging==24.2",
        "pillow==11.0.0",
        "pyparsing==3.2.0",
        "python-dateutil==2.9.0.post0",
        "six==1.17.0",
    ),
    module="mediapipe.python.solutions.face_mesh",
    program=PROGRAMS / "face_mesh.py",
    size=420_000_000,
    download=150_000_000,
    users=("mediapipe_face",),
)
ENVIRONMENTS: tuple[Environment, ...] = (MEDIAPIPE,)


def environment_named(name: str) -> Environment:
    """The environment of this name, or of a preprocessor of this name. Raises ModelError."""
    found = next((each for each in ENVIRONMENTS if name in {each.name, *each.users}), None)
    if found is None:
        known = [each.name for each in ENVIRONMENTS]
        raise ModelError(f"no preprocessor needs an environment {name!r}; {nearest(name, known)}")
    return found


def environment_of(preprocessor: str) -> Environment | None:
    """The environment that a preprocessor needs; None for most."""
    return next((each for each in ENVIRONMENTS if preprocessor in each.users), None)


def python_in(folder: Path) -> Path:
    """The Python of an environment in a folder."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def variables() -> Mapping[str, str]:
    """The environment variables for pip and for workers.

    Proxies, certificates and pip's own settings stay; INDEX_URL, the WebUI's variable, becomes pip's unless
    that is set. What would lead to other packages or to another place is left out.
    """
    found = {key: text for key, text in os.environ.items() if key not in UNWANTED}
    found = {key: text for key, text in found.items() if not key.startswith("PYTHON")}
    index = found.get("INDEX_URL")
    if index:
        found.setdefault("PIP_INDEX_URL", index)
    return {**found, "PIP_USER": "0"}


def _existing(path: Path) -> Path:
    """The nearest folder above a path that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
