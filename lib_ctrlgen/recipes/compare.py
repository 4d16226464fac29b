"""Compares two versions or two recipes: a text diff of their files, and their pictures side by side."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff

from PIL import Image, ImageChops

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_bytes
from lib_ctrlgen.request.pictures import LISTS, PICTURES, pictured_parts

from .content import RECIPE, WEBUI, Files, result_of
from .names import VERSION
from .reading import read_yaml
from .versions import RecipeFolder

GAP = 8  # pixels between two pictures
BACKGROUND = "white"
LARGEST_SIDE = 2048


@dataclass(frozen=True, kw_only=True)
class PicturePair:
    """Two pictures at the same place, `result` or a JSON path in the job.

    image    the old picture, the new one and their absolute difference side by side
    largest  the largest difference of a value of 0..255
    """

    place: str
    image: Image.Image
    largest: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs: the text as a unified diff (empty if it is the same), and the pairs of pictures.

    The pair of results is there whenever both have one; other pairs only if they differ.
    """

    text: str
    pictures: tuple[PicturePair, ...]


def compare(old: Files, new: Files, labels: tuple[str, str] = ("old", "new")) -> Difference:
    """The difference between the files of two versions. Raises RequestError for files that cannot be read."""
    text = "".join(_text_diff(old, new, name, labels) for name in (RECIPE, WEBUI))
    before, after = _places(old), _places(new)
    pairs = [(place, before[place], after[place]) for place in before if place in after]
    seen = [
        pair(place, old[first], new[second])
        for place, first, second in pairs
        if (place == "result" or first != second) and _is_picture(first, old) and _is_picture(second, new)
    ]
    return Difference(text=text, pictures=tuple(seen))


def compare_versions(first: RecipeFolder, second: RecipeFolder, old: str = "", new: str = "") -> Difference:
    """Compare two versions of a recipe, or of two recipes.

    By default these are the newest versions; of one recipe, the newest one and the one before it. Raises
    RequestError, also where a recipe has no earlier version.
    """
    same = first.folder == second.folder
    if same and not old:
        before = first.history()[1:]
        if not before:
            raise RequestError(VERSION, f"{first.folder.name!r} has no earlier version to compare with")
        old = before[0].id
    commits = first.commit(old), second.commit(new)
    labels = [
        f"{side.folder.name}@{commit[:8]}" for side, commit in zip((first, second), commits, strict=True)
    ]
    return compare(first.files(commits[0]), second.files(commits[1]), (labels[0], labels[1]))


def _text_diff(old: Files, new: Files, name: str, labels: tuple[str, str]) -> str:
    first, second = (files.get(name, b"").decode("utf-8", "replace") for files in (old, new))
    before, after = (f"{label}/{name}" for label in labels)
    return "".join(unified_diff(first.splitlines(True), second.splitlines(True), before, after))


def _places(files: Files) -> dict[str, str]:
    """The names of the picture files by their places: `result`, and JSON paths in the job."""
    result = result_of(files)
    found = {"result": result} if result else {}
    for path, part in pictured_parts(read_yaml(files, RECIPE)):
        found |= {f"{path}.{name}": str(part[name]) for name in PICTURES if part.get(name)}
        for name in LISTS:
            many = part.get(name)
            for number, each in enumerate(many if isinstance(many, list) else ()):
                found[f"{path}.{name}[{number}]"] = str(each)
    return found


def _is_picture(name: str, files: Files) -> bool:
    return name in files and not name.endswith(".json")


def pair(place: str, old: bytes, new: bytes) -> PicturePair:
    """Two pictures and their difference side by side. The new one is scaled to the old one's size for it."""
    first, second = (_shown(data, place) for data in (old, new))
    fitted = second if second.size == first.size else second.resize(first.size, Image.Resampling.LANCZOS)
    difference = ImageChops.difference(first, fitted)
    extrema = difference.getextrema()
    largest = max(int(high) for _, high in extrema)  # type: ignore[misc]
    return PicturePair(place=place, image=side_by_side([first, second, difference]), largest=largest)


def _shown(data: bytes, place: str) -> Image.Image:
    """A picture in RGB, at most `LARGEST_SIDE` pixels a side."""
    image = decode_bytes(data, place)
    if image.mode == "F":  # grey of more than eight bits, 0 to 1
        image = image.point(lambda value: value * 255 + 0).convert("L")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    shown = image.convert("RGB")
    shown.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return shown


def side_by_side(images: list[Image.Image]) -> Image.Image:
    """Pictures in a row, their upper edges at one height."""
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    row = Image.new("RGB", (width, max(image.height for image in images)), BACKGROUND)
    x = 0
    for image in images:
        row.paste(image, (x, 0))
        x += image.width + GAP
    return row
