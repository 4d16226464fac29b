"""Jobs as the REST routes answer them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_ctrlgen.request.server_answers import (
    AssetAnswer,
    ErrorAnswer,
    ErrorDetail,
    HealthAnswer,
    JobAnswer,
    LimitsAnswer,
    MeAnswer,
    ModelsAnswer,
    WholeJobAnswer,
)

from .asset_answers import asset_answers
from .limits import Limits
from .records import Job
from .results import JobFolders
from .service import Service

__all__ = [
    "AssetAnswer",
    "ErrorAnswer",
    "ErrorDetail",
    "HealthAnswer",
    "JobAnswer",
    "LimitsAnswer",
    "MeAnswer",
    "ModelsAnswer",
    "WholeJobAnswer",
    "job_answer",
    "limits_answer",
    "whole_answer",
]

RESULTS = ("sheets", "report", "recommended", "reason", "warnings", "failed")


def job_answer(job: Job, service: Service) -> JobAnswer:
    """A job for a list."""
    return JobAnswer(**_common(job, service.progress(job)))


def whole_answer(job: Job, service: Service) -> WholeJobAnswer:
    """A job with its settings and results."""
    result: Mapping[str, Any] = job.result or {}
    folders: JobFolders = service.folders
    return WholeJobAnswer(
        **_common(job, service.progress(job)),
        settings=job.settings,
        files=folders.files(job) if job.state == "done" else [],
        assets=asset_answers(job, folders),
        **{name: result[name] for name in RESULTS if name in result},
    )


def _common(job: Job, progress: tuple[int, int]) -> dict[str, Any]:
    done, total = progress
    same = ("id", "user", "kind", "state", "title", "created", "started", "ended", "attempts")
    return {
        **{name: getattr(job, name) for name in same},
        "stopping": job.cancel and job.state == "running",
        "done": done,
        "total": total,
        "error": None if job.error is None else ErrorDetail(**job.error),
        "pictures": len((job.result or {}).get("pictures", ())),
    }


def limits_answer(limits: Limits) -> LimitsAnswer:
    """The limits as an answer."""
    names = ("side", "pictures", "queue", "upload", "stored", "days")
    return LimitsAnswer(**{name: getattr(limits, name) for name in names})
