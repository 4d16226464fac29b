"""How far the assets of a story's job are."""

from __future__ import annotations

from pathlib import Path

from lib_ctrlgen.projects.story.asset_list import ASSETS, RESULT, AssetList
from lib_ctrlgen.projects.story.story_file import StoryFile
from lib_ctrlgen.request.server_answers import AssetAnswer
from lib_ctrlgen.request.spec import parse_request

from .records import Job
from .results import JobFolders


def asset_answers(job: Job, folders: JobFolders) -> list[AssetAnswer]:
    """The assets of a story's job in the order in which they are made; none for another job."""
    if job.kind != "story":
        return []
    listed = AssetList(story=parse_request(job.settings, StoryFile))
    made = {name: number for number, name in enumerate((job.result or {}).get("assets", ()))}
    answers = []
    for asset in listed.assets():
        name = listed.name(asset)
        parts = [part.name if part is not None else "" for part in listed.parts(asset)]
        answers.append(
            AssetAnswer(
                name=name,
                **dict(zip(("character", "style", "place", "pose"), parts, strict=True)),
                role=asset.role,
                made=picture_of(job, name, folders).is_file(),
                picture=made.get(name),
            )
        )
    return answers


def picture_of(job: Job, name: str, folders: JobFolders) -> Path:
    """The file of an asset's picture; it appears whole, with its folder."""
    return folders.current(job) / ASSETS / name / RESULT
