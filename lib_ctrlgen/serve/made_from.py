"""The request that a finished picture of a job was made from, as a recipe with the picture as its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.control_pictures import control_picture_hash
from lib_ctrlgen.recipes.content import FOLDER, is_file
from lib_ctrlgen.recipes.from_cell import found_in, picture_bytes
from lib_ctrlgen.recipes.from_picture import recipe_of_picture
from lib_ctrlgen.recipes.infotext import Imported
from lib_ctrlgen.recipes.reading import read_recipe
from lib_ctrlgen.request.pictures import LISTS, PICTURES, pictured_parts

from .errors import NotFoundError
from .records import Job
from .results import size_of
from .service import Service


def made_from(service: Service, job: Job, number: int) -> Imported:
    """The recipe of picture `number` of a job that is done. Raises NotFoundError, RequestError, HostError."""
    path = picture_file(service, job, number)
    if job.kind == "story":  # an asset's folder is what a recipe's folder is
        return Imported(recipe=read_recipe(files_in(path.parent)))
    find = found_in(service.folders.result(job) / FOLDER, PayloadPictures(service, job))
    return recipe_of_picture(picture_bytes(path), find)


def recipe_bytes(service: Service, job: Job, number: int) -> int:
    """The bytes of a picture with what it was made from, at most. Raises NotFoundError."""
    path = picture_file(service, job, number)
    if job.kind == "story":
        return size_of(path.parent)
    return path.stat().st_size + service.store.kept.sent(job)


def picture_file(service: Service, job: Job, number: int) -> Path:
    """The file of a picture of a job that is done. Raises NotFoundError."""
    return service.folders.result(job) / picture_name(job, number)


def picture_name(job: Job, number: int) -> str:
    """The name of a picture's file in a job's folder. Raises NotFoundError."""
    names = (job.result or {}).get("pictures", [])
    if not 0 <= number < len(names):
        raise NotFoundError(f"the job {job.id!r} has {len(names)} pictures, counted from 0")
    return str(names[number])


def files_in(folder: Path) -> dict[str, bytes]:
    """The files of a recipe in a folder that may have others. Raises HostError."""
    named = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: picture_bytes(path) for name, path in named.items() if is_file(name)}


class PayloadPictures:
    """Finds the pictures of a job by their hashes; they are decoded when the first one is asked for."""

    def __init__(self, service: Service, job: Job) -> None:
        self.service, self.job = service, job
        self._known: dict[str, str] | None = None

    def __call__(self, digest: str) -> str:
        """The picture with this hash as it was sent, empty if the job has none."""
        if self._known is None:
            sent = dict.fromkeys(sent_pictures(self.service.store.payload(self.job)))
            self._known = {found: picture for picture in sent if (found := _hash(picture))}
        return self._known.get(digest, "")


def _hash(picture: str) -> str:
    with suppress(RequestError):  # what the job did not use may be no picture
        return control_picture_hash(picture)
    return ""


def sent_pictures(payload: Mapping[str, Any]) -> Iterator[str]:
    """The pictures of a job as they were sent."""
    for _, part in pictured_parts(payload):
        yield from (part[name] for name in PICTURES if isinstance(part.get(name), str))
        for name in LISTS:
            many = part.get(name)
            yield from (each for each in many if isinstance(each, str)) if isinstance(many, list) else ()
