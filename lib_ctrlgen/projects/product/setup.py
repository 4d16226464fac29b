"""What a folder of results was asked for, so that it can be opened again, diagnosed, and gone on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import CtrlGenError, HostError, RequestError
from lib_ctrlgen.files import save_text
from lib_ctrlgen.headless.job_text import read_mapping
from lib_ctrlgen.request.spec import parse_request, to_payload
from lib_ctrlgen.request.training import TrainingSpec, training_spec
from lib_ctrlgen.request.training_state import TRAINING
from lib_ctrlgen.train.run import SPEC

from .environments import Environment, named
from .settings import ProductSettings, as_inputs
from .views import ProductFolders

SETUP = "product.json"
VERSION = 2  # 1 had no environments
ADVICE = "name the folder with the pictures, and another --out"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What was asked for. `adapter` is a given one; `environments` are empty where they are not known."""

    folders: ProductFolders
    settings: ProductSettings
    environments: tuple[Environment, ...] = ()
    adapter: Path | None = None


def save_setup(setup: Setup, out: Path) -> None:
    """Write a setup into a folder of results. Raises HostError."""
    names = ("pictures", "masks", "others")
    content = {
        "version": VERSION,
        "folders": {name: _text(getattr(setup.folders, name)) for name in names},
        "settings": as_inputs(setup.settings),
        "environments": [to_payload(each) for each in setup.environments],
        "adapter": _text(setup.adapter),
    }
    save_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", out / SETUP)


def read_setup(folder: Path) -> Setup | None:
    """The setup of a folder of results; None for another folder. Raises HostError."""
    file = folder / SETUP
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        if content.get("version", 1) > VERSION:
            raise HostError(f"{file} was written by a newer CtrlGen: update it, or {ADVICE}")
        return _parsed(content)
    except RequestError as error:
        raise HostError(f"{file} was written by another version of CtrlGen ({error}): {ADVICE}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(f"{file} cannot be read ({error}): {ADVICE}") from error


def _parsed(content: dict[str, Any]) -> Setup:
    folders = content["folders"]
    listed = content.get("environments", [])
    return Setup(
        folders=ProductFolders(
            pictures=Path(folders["pictures"]), masks=_path(folders["masks"]), others=_path(folders["others"])
        ),
        settings=parse_request(content["settings"], ProductSettings),
        environments=named(parse_request(each, Environment) for each in listed),
        adapter=_path(content["adapter"]),
    )


def adapter_setup(folder: Path) -> Setup | None:
    """The setup for the adapter that `ctrlgen train ip-adapter` wrote into a folder; None without one.

    Its pictures are those of the training. Raises HostError if they are not there any more.
    """
    found = [spec for spec in _specs(folder) if spec.kind == "ip-adapter" and Path(spec.out).is_file()]
    if len(found) != 1:
        return None
    spec = found[0]
    pictures, masks = Path(spec.pictures), _path(spec.masks)
    if not pictures.is_dir():
        raise HostError(
            f"the pictures of {spec.out} are not in {pictures} any more: name the folder that has them, "
            f"with --adapter {spec.out}"
        )
    folders = ProductFolders(pictures=pictures, masks=masks, others=None)
    return Setup(folders=folders, settings=ProductSettings(model=spec.base), adapter=Path(spec.out))


def _specs(folder: Path) -> Sequence[TrainingSpec]:
    """The trainings whose folders are in a folder; files that cannot be read are none."""
    found = []
    for file in sorted(folder.glob(f"*{TRAINING}/{SPEC}")):
        with suppress(CtrlGenError):
            found.append(training_spec(read_mapping(file)))
    return found


def _text(path: Path | None) -> str:
    return "" if path is None else str(path.resolve())


def _path(text: str) -> Path | None:
    return Path(text) if text else None
