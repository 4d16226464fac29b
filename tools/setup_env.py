"""Make a virtual environment with one of the pinned sets in requirements/.

    python tools/setup_env.py                     .venv: what `ctrlgen demo` needs
    python tools/setup_env.py --dev               .venv: and what tests and checks need
    python tools/setup_env.py --dev --set webui   .venv-webui: the WebUI's versions

Standard library only, Python 3.10-3.12, every system. A second call does nothing until
one of the files it read, or the interpreter, changes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 10), (3, 13))
TORCH = "torch==2.13.0"  # named in every pip command, see requirements/latest.txt


def folder(pins: str) -> Path:
    """The virtual environment of a pinned set."""
    return ROOT / (".venv" if pins == "latest" else f".venv-{pins}")


def interpreter(environment: Path) -> Path:
    """The environment's python."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(pins: str) -> str:
    """Changes when anything that decides the environment's content does."""
    lists = ("samplers", "unets", "detectors", pins)
    inputs = [ROOT / "pyproject.toml", Path(__file__), *(ROOT / f"requirements/{name}.txt" for name in lists)]
    digest = hashlib.sha256(f"{sys.version} {folder(pins)}".encode())
    for path in inputs:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def pip(environment: Path, *arguments: str) -> None:
    """Run pip in the environment; SystemExit with its exit code when it fails."""
    command = [str(interpreter(environment)), "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"setup_env: pip failed in {environment}; see its message above")


def install(environment: Path, pins: str, *, dev: bool) -> None:
    """Install the project, editable, with the extras that are asked for."""
    extras = "headless"
    if dev:
        extras = "dev" if pins == "latest" else "headless,test,page"
    constraints = f"requirements/{pins}.txt"
    # what is installed without what it declares makes pip complain at every refresh
    quiet = ("-q", "--no-warn-conflicts")
    pip(environment, "install", *quiet, "-c", constraints, TORCH, "-e", f".[{extras}]")
    apart = ("samplers", "unets", "detectors") if dev else ("samplers",)
    for name in apart:
        pip(environment, "install", *quiet, "--no-deps", "-r", f"requirements/{name}.txt")


def main() -> int:
    """Create or refresh the environment; prints what it did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--set", dest="pins", choices=("latest", "webui"), default="latest")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    options = parser.parse_args()
    if not SUPPORTED[0] <= sys.version_info[:2] < SUPPORTED[1]:
        raise SystemExit(f"setup_env: Python 3.10-3.12 is needed, this is {sys.version.split()[0]}")
    environment = folder(options.pins)
    stamps = {True: environment / "ctrlgen-dev.stamp", False: environment / "ctrlgen.stamp"}
    wanted = fingerprint(options.pins)
    current = [dev for dev, path in stamps.items() if path.exists() and path.read_text() == wanted]
    if True in current or (current and not options.dev):
        return 0
    print(f"setup_env: installing the set '{options.pins}' into {environment.name}", flush=True)
    if not interpreter(environment).exists():
        venv.create(environment, with_pip=True)
    install(environment, options.pins, dev=options.dev)
    stamps[options.dev].write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
