"""A story with its pictures in one mapping of JSON types, as it is sent to a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.control_pictures import decode_control_picture
from lib_ctrlgen.request.spec import parse_request, to_payload
from lib_ctrlgen.request.story_pictures import PICTURE, story_parts

from .pictures import ReadStory, named_pictures
from .story_file import StoryFile

NO_FOLDERS = "a server reads no folder: list the pictures in `pictures` (`ctrlgen story --server` does that)"


def posted_story(content: Mapping[str, Any]) -> ReadStory:
    """The story in a mapping whose pictures are base64 or data URLs; each is decoded once, as a check.

    Raises RequestError at the place in the story, also for the folder of a mood board.
    """
    story = parse_request(dict(content), StoryFile)
    for number, style in enumerate(story.styles):
        if style.board:
            raise RequestError(f"$.styles[{number}].board", NO_FOLDERS)
    pictures: dict[str, str] = {}
    for path, picture in named_pictures(content):
        if picture not in pictures:
            decode_control_picture(picture, path)
            pictures[picture] = picture
    return ReadStory(story=story, pictures=pictures)


def sent_story(read: ReadStory) -> dict[str, Any]:
    """The mapping that a server gets of a story: pictures as data URLs, folders of mood boards listed."""
    content = to_payload(read.story)
    for _, part in story_parts(content):
        if part.get(PICTURE):
            part[PICTURE] = read.pictures[part[PICTURE]]
    for number, board in read.boards.items():
        style = content["styles"][number]
        del style["board"]
        style["pictures"] = [*style.get("pictures", []), *({PICTURE: each} for each in board)]
    return content
