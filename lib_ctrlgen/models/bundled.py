"""The bundled tiny model: its folder, its installation into a WebUI, the sizes that it was trained for."""

from __future__ import annotations

import filecmp
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.request.notices import Notices

NAME = "ctrlgen-tiny"
TEXT_FOLDER = f"{NAME}-text"
VISION = f"{NAME}-vision"  # its CLIP vision encoder, which has seen nothing but coloured shapes
TEXT_WIDTH = 64  # channels of its text features
SIZES = range(64, 257)  # pixels per side that it was trained for; it is best at 128
VERSION = re.compile(r"^(?P<head>[ \t]*version:[ \t]*)(?P<value>\S.*?)[ \t]*$", re.MULTILINE)


def tiny_folder() -> Path:
    """The folder of the bundled model. Raises HostError if this installation does not contain it."""
    folder = Path(__file__).parents[1] / "assets" / "tiny"
    if not (folder / f"{NAME}.safetensors").is_file():
        raise HostError(f"the bundled model is missing from this installation: {folder}")
    return folder


def bundled_folders() -> tuple[Path, ...]:
    """The folder of the bundled model as a model folder; none when this installation lacks it."""
    with suppress(HostError):
        return (tiny_folder(),)
    return ()


def bundled_tokenizer() -> Path | None:
    """The folder of the bundled model's tokenizer, None when this installation lacks it."""
    return next((folder / "text" for folder in bundled_folders()), None)


@dataclass(frozen=True, kw_only=True)
class InstalledFile:
    """One file of an installation: its path in the WebUI, and whether it was written."""

    path: Path
    action: Literal["written", "replaced", "already there"]


def install(webui: Path, source: Path | None = None, *, replace: bool = False) -> tuple[InstalledFile, ...]:
    """Copy the bundled model into the model folders of the WebUI in `webui`; existing copies are kept.

    Raises HostError if the folder is no WebUI, and for the reasons that `install_into` has.
    """
    return install_into(_models_folder(webui), source, replace=replace)


def install_into(
    models: Path, source: Path | None = None, *, replace: bool = False
) -> tuple[InstalledFile, ...]:
    """Copy the bundled model into a WebUI's `models` folder, which may be anywhere.

    Raises HostError if the folder cannot be written. Without `replace`, it also raises HostError, and writes
    nothing, if a different file with the name of one of its files exists.
    """
    source = source or tiny_folder()
    plan = [(path, target) for path, target in _plan(source, models) if not _is_yaml(path)]
    config = models / "Stable-diffusion" / f"{NAME}.yaml"
    text = (models / TEXT_FOLDER).resolve()
    content = rewritten((source / config.name).read_text("utf-8"), text)
    blocked = [target for path, target in plan if target.exists() and not _same(path, target)]
    blocked += [config] if config.exists() and config.read_text("utf-8") != content else []
    if blocked and not replace:
        names = ", ".join(str(path) for path in blocked)
        raise HostError(f"a different file exists already: {names}; move it away, or use --replace")
    try:
        placed = [_put(target, path.read_bytes()) for path, target in plan]
        return (*placed, _put(config, content.encode("utf-8")))
    except OSError as error:
        raise HostError(f"cannot write {error.filename or models}: {error.strerror or error}") from error


def _models_folder(webui: Path) -> Path:
    models = webui / "models"
    if not (webui / "webui.py").is_file() or not models.is_dir():
        raise HostError(f"{webui} is no WebUI folder: it has no webui.py and models/")
    return models


def _plan(source: Path, models: Path) -> Iterator[tuple[Path, Path]]:
    """Every file of the bundled model, and its place in the WebUI."""
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_dir() or path.name == "README.md":
            continue
        if len(relative.parts) == 1:
            yield path, models / "Stable-diffusion" / relative
        elif relative.parts[0] == "text":
            yield path, models / TEXT_FOLDER / relative.relative_to("text")
        else:
            yield path, models / relative


def _is_yaml(path: Path) -> bool:
    return path.name == f"{NAME}.yaml"


def _same(path: Path, target: Path) -> bool:
    return target.is_file() and filecmp.cmp(path, target, shallow=False)


def size_note(checkpoint: str, width: int, height: int) -> str:
    """The warning for a size that the tiny model was not trained for; otherwise an empty text.

    >>> size_note("ctrlgen-tiny", 512, 512)[:43]
    'ctrlgen-tiny was trained with pictures of 6'
    >>> size_note("ctrlgen-tiny", 128, 128) or size_note("another", 512, 512)
    ''
    """
    if checkpoint != NAME or (width in SIZES and height in SIZES):
        return ""
    return (
        f"{NAME} was trained with pictures of {SIZES[0]} to {SIZES[-1]} pixels per side; at {width} x "
        f"{height} its shapes are distorted, with or without controls: take 128 x 128"
    )


def note_size(checkpoint: str, width: int, height: int, notices: Notices) -> None:
    """Add the warning of `size_note` to a generation's warnings; `checkpoint` is a name or a path."""
    if note := size_note(PurePath(checkpoint).stem, width, height):
        notices.add("$.width" if width not in SIZES else "$.height", note)


def rewritten(config: str, text: PurePath) -> str:
    r"""The checkpoint's yaml with the text folder as an absolute path.

    >>> rewritten("  params:\n    version: text\n", Path("/models/text"))
    '  params:\n    version: "/models/text"\n'
    """
    quoted = json.dumps(text.as_posix(), ensure_ascii=False)
    return VERSION.sub(lambda match: match["head"] + quoted, config)


def _put(target: Path, content: bytes) -> InstalledFile:
    """Write a file unless it has this content already."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return InstalledFile(path=target, action="written")
    if target.read_bytes() == content:
        return InstalledFile(path=target, action="already there")
    target.write_bytes(content)
    return InstalledFile(path=target, action="replaced")
