"""The files of a story that a browser has sent, as a story. It imports no gradio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.serve.bodies import MOST_FILES, content_of
from lib_ctrlgen.serve.limits import TooLargeError, size_text
from lib_ctrlgen.serve.posted import STORY

ENDINGS = (".yaml", ".yml", ".json")
CHOOSE = "choose one story file (YAML or JSON), and the pictures that it names"


def story_of_files(paths: Sequence[Path], most: int) -> dict[str, Any]:
    """The story in the one YAML or JSON file, with the other files as its pictures.

    Raises RequestError, and TooLargeError for files of over `most` bytes together.
    """
    texts = [path for path in paths if path.suffix.lower() in ENDINGS]
    if len(texts) != 1 or len(paths) > MOST_FILES:
        raise RequestError("$", CHOOSE)
    size = sum(path.stat().st_size for path in paths)
    if size > most:
        raise TooLargeError(
            f"the files have {size_text(size)}, more than the {size_text(most)} of one request"
        )
    pictures = {path.name: path.read_bytes() for path in paths if path not in texts}
    return content_of(texts[0].read_bytes(), pictures, STORY)
