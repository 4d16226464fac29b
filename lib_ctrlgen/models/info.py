"""Says in sentences what a model file is, how it was recognised, and which checkpoints it fits."""

from __future__ import annotations

from collections.abc import Iterator

from lib_ctrlgen.errors import ModelError

from .listing import Listed
from .model_files import ModelFiles
from .published import Published


def info_lines(row: Listed, files: ModelFiles) -> list[str]:
    """The lines about a model that is here; its whole SHA-256 is computed."""
    lines = [row.label, f"file: {row.path}", f"size: {row.size} bytes"]
    digest = ""
    if row.path.is_file():
        try:
            digest = files.sha256(row.path)
            lines.append(f"SHA-256: {digest}")
        except ModelError as error:
            lines.append(f"SHA-256: {error}")
    lines += [*_recognised(row), *_same(row, digest)]
    return [*lines, *(publication(row.published) if row.published else ())]


def _recognised(row: Listed) -> Iterator[str]:
    if row.error:
        yield f"recognised: no, {row.error}"
        return
    kind = " ".join(filter(None, (row.kind, row.variant)))
    if row.published and row.published.is_no_control:
        yield f"recognised: {kind}, by its name"
        return
    yield f"recognised: {kind}, by the names and shapes of its tensors"
    yield f"fits: {row.base or 'no checkpoint family that is known here'}"
    if row.published and row.published.base and row.published.base != row.base:
        yield f"but the published file of this name is for {row.published.base}: it is another file"


def _same(row: Listed, digest: str) -> Iterator[str]:
    """Whether the content is that of the published file of the same name."""
    if row.published is None:
        yield "published: no known file has this name"
    elif row.published.sha256 and digest:
        if row.published.sha256 == digest:
            yield "content: that of the published file"
        elif row.path.name.lower() == row.published.file.lower():
            yield f"content: not that of the published file, whose SHA-256 is {row.published.sha256}"
        else:
            yield f"content: not that of {row.published.file}, perhaps the same model in another form"
    else:
        yield "content: not compared, because the SHA-256 of the published file is not known here"


def publication(entry: Published) -> list[str]:
    """The lines about a published file."""
    users = f", for {', '.join(entry.preprocessors)}" if entry.preprocessors else ""
    return [
        f"purpose: {entry.purpose}{users}",
        f"kind: {' for '.join(filter(None, (entry.kind, entry.base)))}",
        f"published: {entry.page} ({entry.address})",
        f"licence: {entry.licence or 'not known here, see the page'}",
    ]
