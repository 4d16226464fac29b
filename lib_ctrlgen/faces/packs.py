"""The model packs of insightface, and the folders in which their ONNX files are searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.files import expanded

HOME = "~/.insightface"
OLD_EXTENSION = Path("annotator", "downloads", "insightface")  # beside sd-webui-controlnet/models


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A model pack: its name, and the names of its detector's and its recogniser's file."""

    name: str
    detector: str
    recogniser: str


FACE_ID, INSTANT_ID = "buffalo_l", "antelopev2"
PACKS: Mapping[str, Pack] = MappingProxyType(
    {
        pack.name: pack
        for pack in (
            Pack(name=FACE_ID, detector="det_10g.onnx", recogniser="w600k_r50.onnx"),
            Pack(name=INSTANT_ID, detector="scrfd_10g_bnkps.onnx", recogniser="glintr100.onnx"),
        )
    }
)


@dataclass(frozen=True, kw_only=True)
class PackFiles:
    """The files of a pack that were found.

    `root` is the folder above `models/PACK`, from which insightface itself would load the pack; None where
    the files are in a folder of another name.
    """

    pack: Pack
    detector: Path
    recogniser: Path
    root: Path | None


def pack_named(name: str, path: str = "") -> Pack:
    """The pack of that name. Raises RequestError at `path`."""
    if name not in PACKS:
        raise RequestError(path, f"unknown model pack {name!r}; there are {' and '.join(PACKS)}")
    return PACKS[name]


def find_pack(pack: Pack, folders: Sequence[Path]) -> PackFiles:
    """The files of a pack in insightface's own folder, or in or beside the model folders `folders`.

    Raises ModelError that names the missing files and the folders where they were searched.
    """
    places = list(dict.fromkeys(pack_folders(pack, folders)))
    missing = {place: _missing(pack, place) for place, _ in places}
    for place, root in places:
        if not missing[place]:
            return PackFiles(
                pack=pack, detector=place / pack.detector, recogniser=place / pack.recogniser, root=root
            )
    partly = next(((place, gone) for place, gone in missing.items() if len(gone) == 1), None)
    if partly is not None:
        place, gone = partly
        raise ModelError(f"{gone[0]} of the model pack {pack.name} is missing in {place}; {_TERMS}")
    searched = ", ".join(str(place) for place, _ in places if place.parent.name != pack.name)
    raise ModelError(
        f"the model pack {pack.name} of insightface is missing: put {pack.detector} and {pack.recogniser} into "
        f"one of these folders: {searched}; {_TERMS}"
    )


_TERMS = (
    "CtrlGen does not download the packs, which are licensed for research that is not commercial; a face's "
    "embedding can be given instead"
)


def _missing(pack: Pack, folder: Path) -> list[str]:
    return [name for name in (pack.detector, pack.recogniser) if not (folder / name).is_file()]


def pack_folders(pack: Pack, folders: Sequence[Path]) -> Iterator[tuple[Path, Path | None]]:
    """Each folder where a pack may be, with the folder that insightface calls its root.

    The archive of antelopev2 holds a folder antelopev2, so that its files are often one folder deeper.
    """
    for base in _bases(folders):
        yield base / "models" / pack.name, base
        yield base / "models" / pack.name / pack.name, None
        yield base / pack.name, base.parent if base.name == "models" else None
        yield base / pack.name / pack.name, None


def _bases(folders: Sequence[Path]) -> Iterator[Path]:
    yield expanded(HOME)
    for folder in folders:
        yield folder
        yield folder / "insightface"
        yield folder.parent / "insightface"
        old = folder.parent / OLD_EXTENSION
        if old.is_dir():
            yield old
