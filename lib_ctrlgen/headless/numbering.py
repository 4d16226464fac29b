"""Numbers the pictures of a folder as the WebUI does: `00000-SEED.png`, `00001-SEED.png`, ..."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

NUMBERED = re.compile(r"(\d{5,})-")
LOCK = ".numbers.lock"
PATIENCE = 60  # seconds


@contextmanager
def numbered(folder: Path) -> Iterator[int]:
    """Yields the number of a folder's next picture; locks the folder for other processes meanwhile."""
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError, Timeout):  # some network folders cannot be locked
            stack.enter_context(FileLock(str(folder / LOCK)).acquire(timeout=PATIENCE))
        found = [match for path in folder.iterdir() if (match := NUMBERED.match(path.name))]
        yield max((int(match[1]) + 1 for match in found), default=0)
