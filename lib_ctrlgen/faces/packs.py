"""The model packs of insightface, and the folders in which their ONNX files are searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.files import expanded
from lib_ctrlgen.models.hub_cache import hub_cache

HOME = "~/.insightface"
OLD_EXTENSION = Path("annotator", "downloads", "insightface")  # beside sd-webui-controlnet/models


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A model pack: its name, and the names of its detector's and its recogniser's file."""

    name: str
    detector: str
    recogniser: str


TERMS = (
    "CtrlGen does not download the packs, whose licence allows non-commercial research only; a face's "
    "embedding can be given instead"
)
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

    Raises ModelError that names the missing files and folders for them.
    """
    incomplete = ""
    for place, root in pack_folders(pack, folders):
        missing = [name for name in (pack.detector, pack.recogniser) if not (place / name).is_file()]
        if not missing:
            return PackFiles(
                pack=pack, detector=place / pack.detector, recogniser=place / pack.recogniser, root=root
            )
        if len(missing) == 1:
            incomplete = incomplete or f"{missing[0]} of the model pack {pack.name} is missing in {place}"
    beside = [str(folders[0].parent / "insightface")] if folders else []
    places = " or ".join(f"{base}/models/{pack.name}" for base in (expanded(HOME), *beside))
    absent = (
        f"the model pack {pack.name} is missing ({pack.detector} and {pack.recogniser}): put them into "
        f"{places} ({len(folders)} model folders were searched, too)"
    )
    raise ModelError(f"{incomplete or absent}; {TERMS}")


def pack_folders(pack: Pack, folders: Sequence[Path]) -> Iterator[tuple[Path, Path | None]]:
    """Each folder where a pack may be, with the folder that insightface calls its root.

    The archive of antelopev2 holds a folder antelopev2, so that its files are often one folder deeper.
    """
    for base in dict.fromkeys(_bases(folders)):
        yield base / "models" / pack.name, base
        yield base / "models" / pack.name / pack.name, None
        yield base / pack.name, base.parent if base.name == "models" else None
        yield base / pack.name / pack.name, None


def _bases(folders: Sequence[Path]) -> Iterator[Path]:
    yield expanded(HOME)
    for folder in folders:
        if folder == hub_cache():
            continue
        yield folder
        yield folder / "insightface"
        yield folder.parent / "insightface"
        old = folder.parent / OLD_EXTENSION
        if old.is_dir():
            yield old
