"""What is wrong with the pictures of a training: all of it at once, each with its file's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lib_ctrlgen.errors import RequestError

SHOWN = 30  # problems in one message


@dataclass
class Problems:
    """Errors, which prevent the training, and warnings, which only tell what is done."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def collected(self, name: str) -> Iterator[None]:
        """Collect an error of the block, which reads the file `name`, instead of raising it."""
        try:
            yield
        except RequestError as error:
            self.errors.append(str(error))
        except OSError as error:
            self.errors.append(f"{name}: cannot be read: {error.strerror or error}")

    def require_none(self, path: str, where: str) -> None:
        """Raise RequestError at `path` with all errors, one a line."""
        if not self.errors:
            return
        count = len(self.errors)
        shown = "".join(f"\n  {text}" for text in self.errors[:SHOWN])
        rest = f"\n  and {count - SHOWN} more" if count > SHOWN else ""
        said = "1 problem" if count == 1 else f"{count} problems"
        raise RequestError(path, f"{said} with the pictures in {where}:{shown}{rest}")
