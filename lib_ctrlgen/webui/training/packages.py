"""Packages of a training that the WebUI's environment lacks. They are never installed into it.

With the user's consent pip puts them into a folder of CtrlGen's, which only the training's process has on its
path. They come alone (`--no-deps`): what they import is in the WebUI's environment.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.models.published import is_offline
from lib_ctrlgen.models.weights import own_folder
from lib_ctrlgen.preprocessors.isolated.environment import variables

PACKAGES = (
    "peft==0.13.2",  # the last one that works with the WebUI's torch 2.1 and transformers 4.30
    "k-diffusion==0.1.1.post1",  # the samplers of the previews
)
NAMES = " and ".join(PACKAGES)
MODULES = ("peft", "k_diffusion")
SIZE = "3 MB"
WAIT = 600  # seconds for pip
INSTALL = "$.install"


def packages_folder() -> Path:
    """The folder of the packages, from which only trainings import; other versions get another one."""
    digest = hashlib.sha256("\n".join(PACKAGES).encode()).hexdigest()[:8]
    return own_folder() / f"training-{digest}"


def are_missing() -> bool:
    """Whether the packages have yet to be installed."""
    return not all((packages_folder() / name).is_dir() for name in MODULES)


def offer() -> str:
    """What would be installed, and where."""
    return (
        f"{NAMES} ({SIZE}), without its dependencies, into {packages_folder()}; the WebUI's own packages stay"
    )


def require_packages(*, install: bool) -> None:
    """Install what is missing if the user allows it. Raises RequestError at `$.install`, and HostError."""
    if not are_missing():
        return
    if not install:
        raise RequestError(INSTALL, f"training needs packages that are missing: allow to install {offer()}")
    if is_offline():
        raise HostError(
            f"HF_HUB_OFFLINE is set, so {NAMES} are not installed: install them by hand with {command()}"
        )
    install_packages()


def command(folder: Path | None = None) -> str:
    """The command that installs the packages by hand."""
    return " ".join(_command(folder or packages_folder()))


def install_packages() -> None:
    """Install the packages into a folder beside the final one, which is then renamed. Raises HostError."""
    folder = packages_folder()
    part = folder.parent / f".{folder.name}-{uuid4().hex}"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            _command(part), capture_output=True, text=True, timeout=WAIT, env=dict(variables()), check=False
        )
        if done.returncode:
            raise HostError(f"pip could not install {NAMES}: {_reason(done.stderr)}")
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{NAMES} cannot be installed into {folder}: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _reason(output: str) -> str:
    lines = [line for line in output.splitlines() if "ERROR" in line] or output.splitlines()
    return " | ".join(lines[-3:]) or "no message"


def _command(folder: Path) -> list[str]:
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--progress-bar", "off"]
    return [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install"),
        *options,
        *("--target", str(folder), *PACKAGES),
    ]
