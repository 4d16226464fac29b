"""What a page or a REST client asks of a training: its name, its pictures and the fields of its spec.

Imports no WebUI.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Protocol

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import save_bytes, save_picture, save_text
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.recipes.names import recipe_name
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.request.training import TrainingSpec, training_spec
from lib_ctrlgen.request.training_answers import TrainingPicture

OWN = ("name", "install", "unload")  # fields of the body that are not in the spec
MODELS = ("adapter", "encoder")
FOLDERS = ("pictures", "masks", "prior_pictures")
CAPTIONS = (".txt", ".caption")
MOST_PICTURES = 500
SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


class Places(Protocol):
    """Where the host keeps models, and which folders with pictures may be read."""

    def checkpoint(self, name: str) -> Path:
        """The file of a checkpoint. Raises RequestError at `$.base`."""

    def model(self, name: str, path: str) -> Path:
        """The file of a control model or an image encoder. Raises RequestError at `path`."""

    def pictures(self, text: str, path: str) -> Path:
        """A folder with pictures that may be read. Raises RequestError at `path`."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A body that was read.

    name     of the training, and of its file and folder
    install  whether missing packages may be installed into CtrlGen's folder
    unload   whether the WebUI's checkpoint is moved out of the GPU's memory first
    uploads  uploaded pictures; without them the spec names a folder
    fields   the fields of the spec
    """

    name: str
    install: bool
    unload: bool
    uploads: tuple[TrainingPicture, ...]
    fields: Mapping[str, Any]


def asked_for(payload: Mapping[str, Any]) -> Asked:
    """Read a body. Raises RequestError."""
    name = recipe_name(payload.get("name"))
    if payload.get("kind") == "textual-inversion" and len(name.split()) > 1:
        raise RequestError("$.name", "is the embedding's word in prompts: it must be one word")
    for switch in ("install", "unload"):
        if not isinstance(payload.get(switch, False), bool):
            raise RequestError(f"$.{switch}", f"expected true or false, got {payload[switch]!r}")
    if "out" in payload:
        raise RequestError("$.out", "the WebUI decides where the file goes: leave it out, and give a name")
    fields = {key: value for key, value in payload.items() if key not in OWN}
    given = fields.get("pictures", "")
    uploads = _uploads(given) if isinstance(given, list) else ()
    return Asked(
        name=name,
        install=payload.get("install", False),
        unload=payload.get("unload", False),
        uploads=uploads,
        fields=fields,
    )


def _uploads(given: Sequence[Any]) -> tuple[TrainingPicture, ...]:
    if not 1 <= len(given) <= MOST_PICTURES:
        raise RequestError("$.pictures", f"expected 1 to {MOST_PICTURES} pictures, got {len(given)}")
    found = []
    for number, each in enumerate(given):
        content = {"image": each} if isinstance(each, str) else each
        try:
            found.append(parse_request(content, TrainingPicture))
        except RequestError as error:
            place = error.path.removeprefix("$")
            raise RequestError(f"$.pictures[{number}]{place}", error.message) from error
    return tuple(found)


def spec_of(asked: Asked, folder: Path, uploaded: Path, places: Places) -> TrainingSpec:
    """The spec of a training in a folder, with the paths of this machine. Raises RequestError.

    `uploaded` is the folder that gets the uploaded pictures.
    """
    fields = dict(asked.fields)
    if asked.uploads:
        fields["pictures"] = str(uploaded)
    suffix = ".safetensors"
    plain = training_spec({**fields, "out": str(folder / f"{asked.name}{suffix}")})  # checks all fields
    fields |= {name: getattr(plain, name) for name in ("kind",)}
    fields["base"] = str(places.checkpoint(plain.base))
    for name in MODELS:
        if text := getattr(plain, name):
            fields[name] = str(places.model(text, f"$.{name}"))
    for name in FOLDERS:
        if (text := getattr(plain, name)) and not (name == "pictures" and asked.uploads):
            fields[name] = str(places.pictures(text, f"$.{name}"))
    return training_spec({**fields, "out": plain.out})


class UploadedPlaces:
    """Places that also allow the folder of the page's uploaded files."""

    def __init__(self, places: Places, folder: Path) -> None:
        self.checkpoint, self.model = places.checkpoint, places.model
        self._places, self._folder = places, folder

    def pictures(self, text: str, path: str) -> Path:
        """The folder of the uploaded files, or another one that may be read."""
        return self._folder if text == str(self._folder) else self._places.pictures(text, path)


def uploaded_as(asked: Asked, folder: Path) -> Asked:
    """The same body with a folder of pictures in the place of uploaded ones."""
    return Asked(
        name=asked.name,
        install=asked.install,
        unload=asked.unload,
        uploads=(),
        fields={**asked.fields, "pictures": str(folder)},
    )


def save_uploads(uploads: Sequence[TrainingPicture], folder: Path, spec: TrainingSpec) -> None:
    """Write uploaded pictures with their captions beside them. Raises RequestError and HostError."""
    for number, each in enumerate(uploads):
        image = decode_image(each.image, f"$.pictures[{number}].image")
        name = _name(each.name)
        stem = f"{number:03}-{_safe(name)}" if name else f"{number:03}"
        save_picture(image, folder / f"{stem}.png")
        if caption := each.caption.strip() or (name and _named_caption(spec, name)):
            save_text(caption, folder / f"{stem}.txt")


def save_files(files: Sequence[Path], folder: Path, spec: TrainingSpec) -> None:
    """Copy uploaded files, pictures and captions, under names that every system takes.

    A picture and its caption share a name; pictures whose names become the same get numbers. Raises
    RequestError for two files of one name, and HostError.
    """
    stems = _stems(files)
    for path in files:
        target = folder / f"{stems[path.stem]}{path.suffix.lower()}"
        if target.exists():
            raise RequestError("$.files", f"{path.name!r} is there twice: rename one of them")
        save_bytes(path.read_bytes(), target)
    with_caption = {path.stem for path in files if path.suffix.lower() in CAPTIONS}
    for name, stem in stems.items():
        if name not in with_caption and (caption := _named_caption(spec, name)):
            save_text(caption, folder / f"{stem}.txt")


def _stems(files: Sequence[Path]) -> dict[str, str]:
    """The new name without suffix of each name, no two the same, not even but for capital letters."""
    names = list(dict.fromkeys(path.stem for path in files))
    made = [_safe(name) or "picture" for name in names]
    often = Counter(each.casefold() for each in made)
    return {
        name: f"{number:03}-{each}" if often[each.casefold()] > 1 else each
        for number, (name, each) in enumerate(zip(names, made, strict=True))
    }


def _named_caption(spec: TrainingSpec, name: str) -> str:
    """The training's caption with the picture's original name; empty if it does not have the name."""
    return spec.caption(name) if "{name}" in spec.captions else ""


def _name(name: str) -> str:
    """A file name without its folder and without the suffix of a picture."""
    path = Path(name)
    return path.stem if (guess_type(path.name)[0] or "").startswith("image/") else path.name


def _safe(name: str) -> str:
    """The letters of a name that every system takes."""
    return "".join(sign if sign in SAFE else "_" for sign in name)[:60]
