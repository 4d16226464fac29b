"""Reads the cache of the Hugging Face Hub: folders `models--OWNER--NAME/snapshots/REVISION`, never written here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lib_ctrlgen.files import expanded

REPOSITORY = "models--"


def hub_cache() -> Path:
    """The folder of the Hub's cache, as huggingface_hub finds it: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME."""
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME")
    above = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(cache or (Path(home) / "hub" if home else Path(above) / "huggingface" / "hub"))


def snapshots(repo: str, cache: Path) -> Iterator[Path]:
    """The folders of a repository's downloaded revisions: that of the branch main, then the newest first."""
    folder = cache / f"{REPOSITORY}{repo.replace('/', '--')}"
    try:
        main = (folder / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        main = ""
    found = [path for path in _folders(folder / "snapshots") if path.name != main]
    if main and (folder / "snapshots" / main).is_dir():
        yield folder / "snapshots" / main
    yield from sorted(found, key=lambda path: (-path.stat().st_mtime, path.name))


def repositories(cache: Path) -> list[str]:
    """The names `OWNER/NAME` of all model repositories in a cache, sorted."""
    names = [path.name for path in _folders(cache)]
    return sorted(
        name.removeprefix(REPOSITORY).replace("--", "/", 1) for name in names if name.startswith(REPOSITORY)
    )


def cached_file(repo: str, path: str, cache: Path) -> Path | None:
    """A file of a repository that was downloaded before, or None."""
    return next((each / path for each in snapshots(repo, cache) if (each / path).is_file()), None)


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []
