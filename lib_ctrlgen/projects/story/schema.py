"""The JSON Schema of story files, for editors."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.forms.kinds import KINDS
from lib_ctrlgen.headless.job_schema import DIALECT
from lib_ctrlgen.request.sampler_names import sampler_names
from lib_ctrlgen.request.spec import json_schema

from .story_file import StoryFile


def story_schema() -> dict[str, Any]:
    """The JSON Schema of a story file."""
    schema = json_schema(StoryFile)
    definitions = schema["$defs"]
    definitions["StoryControl"]["properties"]["kind"]["enum"] = list(KINDS)
    definitions["StoryFile"]["properties"]["sampler"]["enum"] = list(sampler_names())
    return {"$schema": DIALECT, "title": "A story of CtrlGen", **schema}
