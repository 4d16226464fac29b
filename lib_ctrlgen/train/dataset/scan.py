"""Finds the pictures of a folder with their captions and masks, and checks them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import expanded
from lib_ctrlgen.images.backdrop import subject_before
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_bytes
from lib_ctrlgen.models.disk_cache import key_of

from .left_out import CAPTIONS, SUFFIXES, is_picture, left_out
from .problems import Problems
from .views import View, mask_of, opacity_of

SMALLEST_SHARE = 8  # a picture's shorter side must be at least the resolution / 8

CaptionOf = Callable[[str], str]


def scan(
    folder: str,
    masks: str,
    resolution: int,
    caption: CaptionOf,
    problems: Problems,
    *,
    backdrop: str = "",
    place: str = "$.pictures",
    own: Collection[Path] = (),
) -> list[View]:
    """The pictures in a folder, sorted by name. What is wrong with them is added to `problems`.

    `caption` makes the caption of a picture without a caption file from its name, `backdrop` is behind the
    subject of pictures without mask and alpha, `own` are other files and folders of the training. Raises
    RequestError at `place` for a folder that does not exist or has no pictures, and at `$.masks` for such a
    folder of masks.
    """
    files = pictures_in(folder, place)
    mask_files = {path.stem: path for path in pictures_in(masks, "$.masks")} if masks else {}
    for each in filter(None, (folder, masks)):
        problems.warnings += left_out(expanded(each), own)
    views: list[View] = []
    for path in files:
        with problems.collected(path.name):
            views.append(_view(path, mask_files.get(path.stem), backdrop, resolution, caption, problems))
    _check_duplicates(views, problems)
    stems = {path.stem for path in files}
    problems.errors += [
        f"{p.name}: a mask without a picture" for s, p in mask_files.items() if s not in stems
    ]
    return views


def pictures_in(folder: str, place: str) -> list[Path]:
    """The picture files of a folder, sorted by name. Raises RequestError at `place`."""
    path = expanded(folder)
    if not path.is_dir():
        raise RequestError(
            place, f"{folder} is not a folder" if path.exists() else f"{folder} does not exist"
        )
    files = sorted(filter(is_picture, path.iterdir()))
    if not files:
        found = "".join(f"\n  {text}" for text in left_out(path))
        raise RequestError(place, f"there are no pictures ({', '.join(SUFFIXES)}) in {folder}{found}")
    twice = defaultdict(list)
    for file in files:
        twice[file.stem].append(file.name)
    if same := [names for names in twice.values() if len(names) > 1]:
        raise RequestError(place, f"{' and '.join(same[0])} share a caption and a mask: rename one of them")
    return files


def _view(
    path: Path, mask: Path | None, backdrop: str, resolution: int, caption: CaptionOf, problems: Problems
) -> View:
    data = path.read_bytes()
    image = decode_bytes(data, path.name)
    _check_mode(path, problems)
    _check_size(path, image, resolution, problems)
    alpha = mask is None and image.mode == "RGBA" and bool((opacity_of(image) < 1).any())
    if alpha and not opacity_of(image).any():
        problems.errors.append(f"{path.name}: is transparent everywhere")
    if mask is not None:
        _check_mask(path, image, mask, problems)
    picture = to_rgb(image)
    behind = backdrop if mask is None and not alpha else ""
    own_mask = opacity_of(image).tobytes() if alpha else _silhouette(picture, behind, path.name)
    return View(
        path=path,
        width=image.width,
        height=image.height,
        caption=_caption(path, caption),
        digest=key_of(picture.tobytes(), image.size, own_mask, _bytes(mask)),
        mask=mask,
        alpha=alpha,
        backdrop=behind,
    )


def _silhouette(picture: Image.Image, backdrop: str, name: str) -> bytes:
    """Where the subject is before a backdrop, as bytes; none without one. Raises RequestError."""
    return (subject_before(picture, backdrop, name) > 0.5).tobytes() if backdrop else b""


def _bytes(path: Path | None) -> bytes:
    return b"" if path is None else hashlib.sha256(path.read_bytes()).digest()


def _caption(path: Path, template: CaptionOf) -> str:
    """The text of the caption file beside a picture, else the template's. Raises RequestError."""
    for suffix in CAPTIONS:
        beside = path.with_suffix(suffix)
        if beside.is_file():
            try:
                return " ".join(beside.read_text("utf-8-sig").split())
            except UnicodeDecodeError as error:
                raise RequestError(beside.name, "is not UTF-8 text") from error
    return template(path.stem)


def _check_mode(path: Path, problems: Problems) -> None:
    with Image.open(path) as image:
        if image.mode in {"CMYK", "YCCK"}:
            problems.warnings.append(f"{path.name}: is CMYK; it is converted to RGB, colours may shift")
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            problems.warnings.append(f"{path.name}: is animated; its first frame is used")


def _check_size(path: Path, image: Image.Image, resolution: int, problems: Problems) -> None:
    short = min(image.size)
    size = f"{image.width}x{image.height} pixels"
    if short * SMALLEST_SHARE < resolution:
        problems.errors.append(f"{path.name}: has only {size}, too few for a resolution of {resolution}")
    elif image.width * image.height < resolution**2 * 0.9:
        problems.warnings.append(f"{path.name}: has {size} and is enlarged for a resolution of {resolution}")


def _check_mask(path: Path, image: Image.Image, mask: Path, problems: Problems) -> None:
    found = mask_of(mask)
    if found.shape != (image.height, image.width):
        problems.errors.append(
            f"{mask.name}: the mask has {found.shape[1]}x{found.shape[0]} pixels, "
            f"its picture {path.name} has {image.width}x{image.height}"
        )
    elif not (found > 0.5).any():
        problems.errors.append(f"{mask.name}: the mask is black everywhere; it is white where the subject is")
    elif float(np.mean(found)) > 0.999:
        problems.warnings.append(f"{mask.name}: the mask is white everywhere")


def _check_duplicates(views: Sequence[View], problems: Problems) -> None:
    """A picture that is there twice would count twice, and might be in the held-out views as well."""
    first: dict[str, View] = {}
    for view in views:
        if view.digest in first:
            name = first[view.digest].path.name
            problems.errors.append(f"{view.path.name}: is the same picture as {name}; remove one of them")
        first.setdefault(view.digest, view)
