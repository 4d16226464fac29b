"""Reads the cache of the Hugging Face Hub: folders `models--OWNER--NAME/snapshots/REVISION`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lib_ctrlgen.files import expanded

REPOSITORY = "models--"
# Parts of the names of repositories with controls, adapters and their image encoders.
CONTROLS = ("control", "adapter", "lllite", "instantid", "gligen", "pulid", "clip-vit", "eva-clip")
PIPELINE = "model_index.json"


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


def is_hub_cache(root: Path) -> bool:
    """Whether a model folder is a cache of the Hugging Face Hub."""
    return next(root.glob(f"{REPOSITORY}*"), None) is not None


def in_hub_cache(path: Path) -> bool:
    """Whether a file or folder is in a cache of the Hub, by its path."""
    return any(part.startswith(REPOSITORY) for part in path.parts)


def snapshots_of_controls(cache: Path) -> Iterator[tuple[str, Path]]:
    """The name and the newest snapshot of each repository with a checkpoint or, by its name, with controls.

    The cache holds language models and others, too, which the lists of control models must not show.
    """
    for repo in repositories(cache):
        snapshot = next(snapshots(repo, cache), None)
        if snapshot is None:
            continue
        if any(part in repo.lower() for part in CONTROLS) or (snapshot / PIPELINE).is_file():
            yield repo, snapshot


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []
