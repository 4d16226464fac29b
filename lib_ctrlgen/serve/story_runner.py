"""Makes the assets of a story's job with a worker's engine. What an earlier attempt made stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib_ctrlgen.cluster.job_runs import Report
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.projects.story.asset_list import ASSETS, RESULT, AssetList
from lib_ctrlgen.projects.story.posted import posted_story
from lib_ctrlgen.projects.story.run import StoryResult, StoryRun

from .part_progress import PartProgress

COMMAND = "ctrlgen story FILE --server URL"


def run_story(engine: Engine, payload: Mapping[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Make the assets of a story, its sheets and its page.

    Raises RequestError, HostError if no asset could be made, and JobInterrupted where `report` does.
    """
    read = posted_story(payload)
    state = PartProgress(report)
    state.parts(0, AssetList(story=read.story).count)
    run = StoryRun(
        read=read,
        out=folder,
        engine=engine,
        progress=lambda _phase, done, total: state.parts(done, total),
        step=state.step,
        command=COMMAND,
        place="",
    )
    return story_result(run(), folder)


def story_result(made: StoryResult, folder: Path) -> dict[str, Any]:
    """What the answer says of a story."""
    names = [str(record["name"]) for record in made.records]
    said = [f"{record['name']}: {text}" for record in made.records for text in record["warnings"]]
    return {
        "pictures": [f"{ASSETS}/{name}/{RESULT}" for name in names],
        "assets": names,
        "sheets": [path.relative_to(folder).as_posix() for path in made.sheets],
        "report": made.index.name,
        "failed": len(made.failed),
        "warnings": [*(f"not made: {text}" for text in made.failed), *said],
        "seconds": round(sum(float(record["seconds"]) for record in made.records), 3),
    }
