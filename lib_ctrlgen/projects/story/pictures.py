"""Reads a story file with all pictures that it names, before anything is generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError, at_path
from lib_ctrlgen.files import expanded
from lib_ctrlgen.headless.job_text import read_mapping
from lib_ctrlgen.headless.jobs import read_picture
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.projects.sources import checked_folder, read_source
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.request.story_pictures import PICTURE, story_parts
from lib_ctrlgen.request.unit import MOST_REFERENCES

from .story_file import StoryFile, Style

BOARD_SIDE = 512  # pixels of the longer side of a board's picture: an image encoder reads less


@dataclass(frozen=True, kw_only=True)
class ReadStory:
    """A story with its pictures.

    pictures  by the names that the story file gives them, as data URLs
    boards    the pictures of each style's folder, by the number of the style
    notes     what was left out of these folders, and why
    """

    story: StoryFile
    pictures: Mapping[str, str] = field(default_factory=dict)
    boards: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_story(path: Path) -> ReadStory:
    """Read a story file (YAML or JSON) and its pictures. Raises RequestError with a path in the file."""
    content = read_mapping(path)
    try:
        story = parse_request(content, StoryFile)
    except RequestError as error:
        raise RequestError(error.path, f"{error.message} (in {path})") from error
    folder = path.parent
    pictures: dict[str, str] = {}
    for place, name in named_pictures(content):
        if name not in pictures:
            pictures[name] = read_picture(name, place, folder)
    notes: list[str] = []
    boards = {
        number: read_board(style, f"$.styles[{number}].board", folder, notes)
        for number, style in enumerate(story.styles)
        if style.board
    }
    return ReadStory(
        story=absolute_model(story, content, folder), pictures=pictures, boards=boards, notes=tuple(notes)
    )


def named_pictures(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The JSON paths and names of all single pictures of a story in JSON types."""
    return [(f"{path}.{PICTURE}", part[PICTURE]) for path, part in story_parts(content) if part.get(PICTURE)]


def read_board(style: Style, path: str, folder: Path, notes: list[str]) -> tuple[str, ...]:
    """The pictures of a mood board's folder, made smaller; notes name the files that are left out.

    Raises RequestError at `path`.
    """
    try:
        found = checked_folder(folder / expanded(style.board))
    except HostError as error:
        raise RequestError(path, str(error)) from error
    notes += [f"{path}: left out: {refused}" for refused in found.refused]
    most = MOST_REFERENCES - len(style.pictures)
    if len(found.sources) > most:
        message = (
            f"{style.board} has {len(found.sources)} pictures, and a mood board at most {MOST_REFERENCES}"
        )
        raise RequestError(path, f"{message}: take some out")
    shown = []
    for source in found.sources:
        with at_path(path):
            picture = read_source(source)
        picture.thumbnail((BOARD_SIDE, BOARD_SIDE), Image.Resampling.LANCZOS)
        shown.append(encode_image(picture))
    return tuple(shown)


def absolute_model(story: StoryFile, content: Mapping[str, Any], folder: Path) -> StoryFile:
    """The story with the checkpoint's path made absolute, if it is one relative to the story file."""
    path = folder / expanded(story.model)
    is_path = path.suffix in {".safetensors", ".ckpt"} and path.is_file()
    if not is_path and not (path / "model_index.json").is_file():
        return story
    return parse_request({**content, "model": str(path.resolve())}, StoryFile)
