"""Reads and writes finished cells in a folder: each has its pictures and a JSON file with its scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.files import read_picture, save_picture, save_text

from .cells import Cell
from .scoring.catalogue import FIRST_SCORES, VERSION, score_names
from .scoring.scores import summary
from .thumbnails import save_thumbnail
from .worker import ScoredCell

CELLS = "cells"


@dataclass(frozen=True, kw_only=True)
class KeptCell:
    """A cell's files, scores and warnings.

    version   the version of the scores
    measured  the names of all scores that the run measured or tried to measure
    encoder   the CLIP vision encoder that measured likeness, `name [hash]`
    pictures  the decoded pictures; empty if the cell was not read from its folder
    """

    version: int
    measured: tuple[str, ...]
    files: tuple[str, ...]
    means: Mapping[str, float]
    spreads: Mapping[str, float]
    reasons: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    encoder: str = ""
    pictures: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class KeptCells:
    """Reads and writes the cells of a folder; each cell has the same number of seeds."""

    folder: Path
    seeds: int

    def file(self, cell: Cell) -> Path:
        """The cell's JSON file; it is written last, so a cell that has it is finished."""
        return self.folder / CELLS / f"{cell.key}-{self.seeds}.json"

    def read(self, cell: Cell) -> KeptCell | None:
        """Read a finished cell; None if its JSON file or one of its pictures is missing or damaged."""
        try:
            note = json.loads(self.file(cell).read_text("utf-8"))
            found = KeptCell(
                version=int(note.get("scores_version", 1)),
                measured=tuple(map(str, note.get("measured", FIRST_SCORES))),
                files=tuple(map(str, note["files"])),
                means={str(name): float(value) for name, value in note["means"].items()},
                spreads={str(name): float(value) for name, value in note["sd"].items()},
                reasons={str(name): str(value) for name, value in note["reasons"].items()},
                warnings=tuple(map(str, note.get("warnings", ()))),
                encoder=str(note.get("encoder", "")),
                pictures=self.pictures(note["files"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if found.files else None

    def pictures(self, files: Sequence[str]) -> tuple[Image.Image, ...]:
        """Read pictures of the folder. Raises ValueError for a picture that cannot be read."""
        found = [read_picture(self.folder / name) for name in files]
        readable = tuple(picture for picture in found if picture is not None)
        if len(readable) < len(found):
            raise ValueError("a picture is missing or damaged")
        return readable

    def keep(self, cell: Cell, scored: ScoredCell) -> KeptCell:
        """Write a cell: its pictures and thumbnails, then its JSON file. Raises HostError."""
        files = []
        made = scored.made
        for number, (image, seed) in enumerate(zip(made.images, made.seeds, strict=True)):
            name = f"{CELLS}/{cell.key}-{number:02}-seed-{seed}.png"
            save_picture(image, self.folder / name, made.infos[number])
            save_thumbnail(image, self.folder, name)
            files.append(name)
        return self.note(cell, tuple(files), scored)

    def note(self, cell: Cell, files: tuple[str, ...], scored: ScoredCell) -> KeptCell:
        """Write a cell's JSON file. Raises HostError."""
        means, spreads = summary(scored.scores)
        spreads = spreads if scored.spreads is None else dict(scored.spreads)
        reasons = dict(scored.scores[0].reasons)
        warnings, encoder = scored.made.warnings, scored.encoder
        note: dict[str, Any] = {"scores_version": VERSION, "encoder": encoder, "files": files}
        note |= {} if score_names() == FIRST_SCORES else {"measured": score_names()}
        note |= {"means": means, "sd": spreads, "reasons": reasons, "warnings": warnings}
        save_text(json.dumps(note, indent=1, ensure_ascii=False) + "\n", self.file(cell))
        return KeptCell(
            version=VERSION,
            measured=score_names(),
            files=files,
            means=means,
            spreads=spreads,
            reasons=reasons,
            warnings=warnings,
            encoder=encoder,
        )
