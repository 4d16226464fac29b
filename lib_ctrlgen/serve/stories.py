"""Checks a story before it is queued as a job. It imports torch, as `checks` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_ctrlgen.projects.story.asset_list import AssetList
from lib_ctrlgen.projects.story.check import check_assets
from lib_ctrlgen.projects.story.posted import posted_story

from .checks import CheckedJob
from .limits import Limits
from .models import Models


def checked_story(content: Mapping[str, Any], limits: Limits, models: Models) -> CheckedJob:
    """The story in a mapping. Raises RequestError with the JSON path, or the asset, that is wrong."""
    read = posted_story(content)
    listed = AssetList(story=read.story)
    limits.check_size(read.story)
    limits.check_count(listed.pictures, "$")  # before any asset is made: a short story can name millions
    planner = models.planner(read)
    check_assets(planner, planner.assets(), models.checker())
    return CheckedJob(kind="story", payload=dict(content), title=read.story.title)
