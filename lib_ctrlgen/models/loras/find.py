"""Finds LoRA files by the names that prompts use: the file's name without folders, or kohya's alias in it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from lib_ctrlgen.errors import ModelError, WrongModelError, nearest
from lib_ctrlgen.models.model_files import ModelFiles
from lib_ctrlgen.request.names import several

from .file import alias_of, is_lora, lora_hash

FORBIDDEN = ("none", "addams")  # aliases by which the WebUI finds no file


def find_lora(files: ModelFiles, name: str) -> Path:
    """The LoRA that `<lora:NAME>` means: by file name, else by path in a model folder, else by alias.

    As in the WebUI, letters are compared exactly, and an alias that several files share finds none. Raises
    ModelError; the error lists the nearest names.
    """
    with suppress(LookupError):
        return _found(files, name)
    files.refresh()
    try:
        return _found(files, name)
    except LookupError:
        known = sorted({each for path in loras_in(files) for each in (path.stem, _alias(files, path))})
    raise WrongModelError(f"no LoRA named {name!r}; {nearest(name, known)}")


def _found(files: ModelFiles, name: str) -> Path:
    """The file of a name. Raises LookupError, or ModelError for a name that several files have."""
    listed = files.all()
    by_stem = [file.path for file in listed if file.path.stem == name]
    by_path = [file.path for file in listed if name in (file.name, str(file.path))]
    for paths in (by_stem, by_path):
        found = [path for path in dict.fromkeys(paths) if not paths[1:] or _is_lora(files, path)]
        distinct = list({path.resolve(): path for path in found}.values())
        if len(distinct) > 1:
            raise ModelError(several(name, [files.name(path) for path in distinct], "LoRA"))
        if distinct:
            return distinct[0]
    if name.lower() not in FORBIDDEN:
        aliased = [path for path in loras_in(files) if _alias(files, path) == name]
        if len(aliased) == 1:
            return aliased[0]
        if aliased:
            raise ModelError(several(name, [path.stem for path in aliased], "LoRA"))
    raise LookupError(name)


def loras_in(files: ModelFiles) -> list[Path]:
    """All LoRA files, from an index of their headers."""
    return [file.path for file in files.all() if not file.whole and _is_lora(files, file.path)]


def hash_of(files: ModelFiles, path: Path) -> str:
    """A LoRA's hash for infotexts, cached until the file changes. Raises ModelError."""
    return files.index.computed(path, "lora_hash", lora_hash)


def _is_lora(files: ModelFiles, path: Path) -> bool:
    """Whether a file is a LoRA; False for one that cannot be read."""
    with suppress(ModelError):
        return files.index.computed(path, "lora", lambda file: str(is_lora(file))) == str(True)
    return False


def _alias(files: ModelFiles, path: Path) -> str:
    with suppress(ModelError):
        return files.index.computed(path, "lora_alias", alias_of)
    return path.stem
