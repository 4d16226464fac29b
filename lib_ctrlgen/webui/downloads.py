"""The downloads of this process of the WebUI: what may be offered, and which run."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from modules import paths_internal

from lib_ctrlgen.models.offers import Offer
from lib_ctrlgen.models.places import FOLDERS
from lib_ctrlgen.models.published import WEIGHTS, Published
from lib_ctrlgen.models.running_downloads import RunningDownloads

from .settings import model_store


@lru_cache(maxsize=1)
def running_downloads() -> RunningDownloads:
    """The process's downloads."""
    return RunningDownloads()


def offers_of(entries: Iterable[Published]) -> list[Offer]:
    """The files with the folders of this WebUI in which they will be found."""
    return [Offer(entry=entry, folder=folder_of(entry)) for entry in entries]


def folder_of(entry: Published) -> Path:
    """The folder into which a published file is downloaded, without a folder of its own."""
    if entry.kind == WEIGHTS:
        return model_store().weight_folders[0]
    return Path(paths_internal.models_path) / FOLDERS.get(entry.kind, "ControlNet")
