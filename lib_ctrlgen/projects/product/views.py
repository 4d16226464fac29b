"""The views of a product: a user's folder, checked, and a copy of its usable pictures for the training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import new_folder, save_bytes, save_picture
from lib_ctrlgen.images.backdrop import Mask
from lib_ctrlgen.images.files import decode_bytes
from lib_ctrlgen.projects.sources import CheckedFolder, Refused, Source, checked_folder, read_source
from lib_ctrlgen.train.dataset.checks import held_out
from lib_ctrlgen.train.dataset.left_out import CAPTIONS
from lib_ctrlgen.train.dataset.scan import SMALLEST_SHARE

from .silhouette import cut_out, mask_in

PICTURES, MASKS, OTHERS = "pictures", "masks", "others"  # folders in a product's folder
MOST_HELD_OUT = 2


@dataclass(frozen=True, kw_only=True)
class ProductFolders:
    """Where a user's files are: pictures, masks (None without), pictures of other things (None without)."""

    pictures: Path
    masks: Path | None
    others: Path | None

    @classmethod
    def of(cls, folder: Path, masks: Path | None = None, others: Path | None = None) -> ProductFolders:
        """The given folders, else `pictures`, `masks` and `others` in the product's folder if they exist.

        Raises HostError for a given folder that does not exist.
        """
        for given in (masks, others):
            if given is not None and not given.is_dir():
                raise HostError(f"{given} {'is not a folder' if given.exists() else 'does not exist'}")
        inside = {name: folder / name for name in (PICTURES, MASKS, OTHERS)}
        found = {name: path if path.is_dir() else None for name, path in inside.items()}
        return cls(
            pictures=found[PICTURES] or folder,
            masks=masks or (found[MASKS] if found[PICTURES] else None),
            others=others or (found[OTHERS] if found[PICTURES] else None),
        )


@dataclass(frozen=True, kw_only=True)
class ProductView:
    """One usable picture of the product; `mask_file` is None where no file has its mask."""

    source: Source
    mask_file: Path | None

    def read(self) -> tuple[Image.Image, Mask | None]:
        """The RGB picture, and where the product is, [H, W]. Raises RequestError."""
        opened = decode_bytes(self.source.path.read_bytes(), str(self.source.path))
        return read_source(self.source), mask_in(opened, self.mask_file)

    def cut_out(self) -> Image.Image:
        """The product on white, or the picture where it is not known where the product is."""
        picture, mask = self.read()
        return cut_out(picture, mask)


@dataclass(frozen=True, kw_only=True)
class ProductViews:
    """The views, in the order of their names; `refused` are the files that were left out.

    held_out  the views that the training does not see
    """

    views: tuple[ProductView, ...]
    held_out: tuple[ProductView, ...]
    refused: tuple[Refused, ...]

    @property
    def training(self) -> tuple[ProductView, ...]:
        """The views that the training sees."""
        return tuple(view for view in self.views if view not in self.held_out)

    @property
    def digests(self) -> list[str]:
        """The hashes of the pictures' files, in their order."""
        return [view.source.digest for view in self.views]


def read_views(folders: ProductFolders, resolution: int, without: Path | None = None) -> ProductViews:
    """Check the pictures of a product. Raises HostError if none of them is usable.

    Files that are no pictures, pictures that are too small for a training of this resolution, pictures that
    are there twice, and those with a wrong mask are left out, each with its reason.
    """
    found = checked_folder(folders.pictures, without)
    masks = {} if folders.masks is None else {path.stem: path for path in folders.masks.iterdir()}
    kept: list[ProductView] = []
    refused = [each for each in found.refused if each.path.suffix.lower() not in CAPTIONS]
    for source in found.sources:
        view = ProductView(source=source, mask_file=masks.get(source.path.stem))
        reason = _problem(view, kept, resolution)
        if reason:
            refused.append(Refused(path=source.path, reason=reason))
        else:
            kept.append(view)
    if not kept:
        raise HostError(f"no usable picture; {'; '.join(map(str, refused[:5]))}")
    count = min(MOST_HELD_OUT, len(kept) // 3)
    return ProductViews(views=tuple(kept), held_out=tuple(held_out(kept, count)), refused=tuple(refused))


def _problem(view: ProductView, kept: list[ProductView], resolution: int) -> str:
    """Why a picture is left out; empty if it is not."""
    width, height = view.source.size
    if min(width, height) * SMALLEST_SHARE < resolution:
        return f"{width} x {height} pixels are too few for a size of {resolution}"
    same = next((other for other in kept if other.source.digest == view.source.digest), None)
    if same is not None:
        return f"is the same picture as {same.source.path.name}"
    try:
        view.read()
    except RequestError as error:
        return str(error)
    return ""


def stage(views: ProductViews, into: Path) -> Iterator[str]:
    """Copy the views as RGB pictures with captions and masks below `into`; yields notes for the user.

    Masks are written only if every view has one: a training cannot mix them. Raises HostError.
    """
    for name in (PICTURES, MASKS):
        shutil.rmtree(into / name, ignore_errors=True)
        new_folder(into / name)
    without = []
    for number, view in enumerate(views.views):
        stem = f"{number:04}-{view.source.name}"
        picture, mask = view.read()
        save_picture(picture, into / PICTURES / f"{stem}.png")
        _copy_caption(view.source.path, into / PICTURES / f"{stem}.txt")
        if mask is None:
            without.append(view.source.path.name)
        else:
            save_picture(Image.fromarray(mask).convert("L"), into / MASKS / f"{stem}.png")
    if without:
        shutil.rmtree(into / MASKS)
        names = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
        yield (
            f"{len(without)} pictures have no mask and no plain background ({names}): the masks of the "
            "others are not used, and backgrounds are learned, too"
        )


def _copy_caption(picture: Path, target: Path) -> None:
    """Copy the text file beside a picture, if there is one. Raises HostError."""
    for suffix in CAPTIONS:
        beside = picture.with_suffix(suffix)
        if beside.is_file():
            save_bytes(beside.read_bytes(), target)
            return


def others_in(folders: ProductFolders) -> CheckedFolder | None:
    """The pictures of other things; None without. Raises HostError for a folder without pictures."""
    return None if folders.others is None else checked_folder(folders.others)
