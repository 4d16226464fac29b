"""Reads the bodies of requests up to a size, and jobs and stories in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from lib_ctrlgen.errors import RequestError

from .limits import MEBIBYTE, StorageError, TooLargeError
from .posted import JOB, Form, file_name, parse_posted, with_uploads

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

MOST_FILES = 256
UPLOAD = "/upload"  # the end of the path to which gradio's page sends pictures


class BodyLimit:
    """An ASGI middleware that answers 413 to a body of over `most` bytes, also without a length.

    It answers 507 to pictures of the page's forms, which are kept for a day, where `require_free` raises.
    """

    def __init__(self, app: Any, most: int, require_free: Callable[[], None]) -> None:
        self.app, self.most, self.require_free = app, most, require_free

    @property
    def message(self) -> str:
        """The error's text."""
        return f"the request is larger than {self.most / MEBIBYTE:g} MiB, the most that this server accepts"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if not length.isdigit() or int(length) > self.most:
                raise TooLargeError(self.message)
            if scope["path"].endswith(UPLOAD):
                self.require_free()
        except (TooLargeError, StorageError) as error:
            await JSONResponse(detail(error), error.status.value)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most:
                raise TooLargeError(self.message)
            return message

        await self.app(scope, counted, send)


def detail(error: Any) -> dict[str, Any]:
    """The body of the answer for an error."""
    found = error.detail
    return {"detail": found if isinstance(found, dict) else {"path": "", "message": str(found)}}


async def read_job(request: Request, form: Form = JOB) -> tuple[bytes, dict[str, bytes]]:
    """The text of the job or story in a request, and the files sent with it. Raises RequestError."""
    kind = str(request.headers.get("content-type", "")).partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return await request.body(), {}
    try:
        parts = await request.form(max_files=MOST_FILES, max_fields=MOST_FILES)
    except MultiPartException as error:
        raise RequestError("$", f"the form cannot be read: {error.message}") from error
    texts: list[bytes] = []
    files: dict[str, bytes] = {}
    for name, value in parts.multi_items():
        data = await value.read() if isinstance(value, UploadFile) else value.encode()
        if name == form.name:
            texts.append(data)
            continue
        known = file_name(getattr(value, "filename", None) or name)
        if known in files:
            raise RequestError("$", f"two files have the name {known!r}")
        files[known] = data
    await parts.close()
    if len(texts) != 1:
        message = f"a form has {form.what} in one part {form.name!r}, and its pictures in other parts"
        raise RequestError("$", message)
    return texts[0], files


def content_of(text: bytes, files: dict[str, bytes], form: Form = JOB) -> dict[str, Any]:
    """The job or story in a text, with uploaded pictures in it. Raises RequestError."""
    return with_uploads(parse_posted(text, form), files, form)
