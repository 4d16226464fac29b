"""Names of models as sd-webui-controlnet writes them, `stem [hash8]`, and what such names mean."""

from __future__ import annotations

from contextlib import suppress

from lib_ctrlgen.compat.unit import NO_MODEL
from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.model_files import ModelFiles, hashed_file
from lib_ctrlgen.models.scan import ModelFile
from lib_ctrlgen.models.weight_files import hash8
from lib_ctrlgen.request.names import last_part, split_hash, without_suffix


def stem_of(file: ModelFile) -> str:
    """The name of a model without folders and suffix."""
    return without_suffix(last_part(file.name))


def labels(files: ModelFiles) -> list[str]:
    """Every model as `stem [hash8]`, sorted by the stem; a model that cannot be read is left out."""
    named = {_label(files, file): stem_of(file) for file in files.all()}
    return sorted((label for label in named if label), key=lambda label: (named[label], label))


def resolved(text: str, files: ModelFiles) -> str:
    """The name in the model store of what a unit of sd-webui-controlnet calls `text`.

    As in sd-webui-controlnet: the label itself, then the stem in any case, then the shortest stem that has
    the text in it. With a hash, a file of that stem and hash is taken. A text that fits none is returned as
    it is, so that the model store's error tells which models there are.
    """
    if text == NO_MODEL:
        return text
    name, digest = split_hash(text)
    wanted = last_part(name.replace("\\", "/")).strip().lower()
    known = files.all()
    whole = [file for file in known if file.name == name]
    same = [*whole, *(file for file in known if stem_of(file).lower() == wanted)]
    if digest:
        fitting = [file for file in same if _has_hash(files, file, digest)]
        return _named(files, fitting[0]) if fitting else text
    if same:
        return _named(files, same[0])
    containing = sorted((file for file in known if wanted in stem_of(file).lower()), key=_length)
    return _named(files, containing[0]) if wanted and containing else text


def _length(file: ModelFile) -> int:
    return len(stem_of(file))


def _named(files: ModelFiles, file: ModelFile) -> str:
    """The file's name in the model list; with its hash where another file has the same name."""
    several = sum(each.name == file.name for each in files.all()) > 1
    digest = _hash8(files, file) if several else ""
    return f"{file.name} [{digest}]" if digest else file.name


def _label(files: ModelFiles, file: ModelFile) -> str:
    digest = _hash8(files, file)
    return f"{stem_of(file)} [{digest}]" if digest else ""


def _hash8(files: ModelFiles, file: ModelFile) -> str:
    """The WebUI's old short hash, cached until the file changes; empty for a file that cannot be read."""
    with suppress(ModelError):
        return files.index.computed(hashed_file(file.path), "hash8", hash8)
    return ""


def _has_hash(files: ModelFiles, file: ModelFile, digest: str) -> bool:
    with suppress(ModelError):
        return files.has_hash(file.path, digest)
    return False
