"""Names the files of a folder that a training does not read: other formats, and pictures in folders below."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from lib_ctrlgen.images.picture_files import why_unreadable
from lib_ctrlgen.request.training_state import TRAINING

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
CAPTIONS = (".txt", ".caption")
SHOWN = 10  # names in one sentence


def is_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture which a training reads."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def left_out(folder: Path, own: Collection[Path] = ()) -> list[str]:
    """Sentences that name what a training leaves out of a folder, files with the same reason together.

    Not named are hidden files, captions, and `own`: files and folders that the training uses otherwise.
    """
    reasons: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        known = is_picture(path) or path.suffix.lower() in (*CAPTIONS, TRAINING) or path.name.startswith(".")
        if not known and path.resolve() not in own:
            for reason in _reason(path):
                reasons[reason].append(path.name)
    return [f"{_listed(names)}: left out: {reason}" for reason, names in reasons.items()]


def _reason(path: Path) -> Iterator[str]:
    """Why a file or folder is left out; nothing for a folder without pictures."""
    if not path.is_dir():
        yield why_unreadable(path) or f"rename or convert it: pictures are {', '.join(SUFFIXES)}"
    elif count := sum(is_picture(file) for file in path.rglob("*")):
        said = "1 picture" if count == 1 else f"{count} pictures"
        yield f"folders in the folder are not read ({said} in it)"


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest
