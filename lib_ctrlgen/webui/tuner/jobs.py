"""Tuner jobs under `/ctrlgen/v1/tune`: post one, read its progress and files, resume or interrupt it.

A job calls the WebUI's txt2img or img2img route with the tuner's script in a thread. Its progress is kept
in its folder, so jobs are still listed after a restart.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from types import SimpleNamespace
from typing import Any

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import FileResponse
from modules import processing, shared
from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import save_text
from lib_ctrlgen.forms.last_picture import without_last
from lib_ctrlgen.forms.tuner_fields import read_tune
from lib_ctrlgen.forms.unit_fields import read_request, stated_request
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.request.spec import ControlRequest
from lib_ctrlgen.tuner.cells import key_of
from lib_ctrlgen.tuner.lock import in_use, is_held
from lib_ctrlgen.tuner.progress_file import LIVE, ProgressFile, State
from lib_ctrlgen.webui.bodies import check_body
from lib_ctrlgen.webui.rest import arguments, overridable

from .plan import Plan, plan_of, progress_file

TABS = ("txt2img", "img2img")
CONTROLS, TUNER = "CtrlGen", "CtrlGen X/Y tuner"
JOB = "job.json"
PUBLIC = ("state", "done", "total", "seconds_left", "cells", "recommended", "error", "scores_version")
NO_API = "the WebUI serves no /sdapi/v1/{tab}: start it with --api"


@dataclass(frozen=True, kw_only=True)
class CheckedJob:
    """A checked job: its folder's name `id`, the tab, the request, the axes `tune`, and the plan."""

    id: str
    tab: str
    request: dict[str, Any]
    tune: dict[str, Any]
    plan: Plan

    @property
    def progress_file(self) -> ProgressFile:
        """The job's progress file."""
        return progress_file(root_of(self.tab) / self.id)


class TuneJobs:
    """The route's functions. `threads` are the jobs that run or wait in this server, by their id."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.lock = Lock()
        self.threads: dict[str, Thread] = {}

    def post(self, payload: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
        """Check a job, and start or resume it. Raises RequestError, or HTTPException 409 if it runs."""
        job = self.checked(payload)
        with self.lock:
            self.require_free(job)
            posted = {"tab": job.tab, "request": job.request, "tune": job.tune}
            job.progress_file.write("waiting", total=job.plan.cells)
            save_text(json.dumps(posted, ensure_ascii=False), job.progress_file.folder / JOB)
            thread = Thread(target=self.run, args=(job,), name=f"ctrlgen-tune-{job.id}", daemon=True)
            self.threads[job.id] = thread
            thread.start()
        return {"id": job.id, "cells": job.plan.cells, "pictures": job.plan.pictures}

    def listed(self) -> list[dict[str, Any]]:
        """Return all jobs, the newest first."""
        found = sorted(progress_files(), key=lambda file: file.folder.stat().st_mtime, reverse=True)
        states = [(file.folder.name, state) for file in found if (state := file.read())]
        return [
            {"id": name} | {key: state[key] for key in ("state", "done", "total")} for name, state in states
        ]

    def get(self, name: str) -> dict[str, Any]:
        """Return a job's progress and its finished cells. Raises HTTPException 404."""
        _, state = known(name)
        return {"id": name} | {key: state[key] for key in PUBLIC}

    def file(self, name: str, path: str) -> FileResponse:
        """Return a file of a job's folder. Raises HTTPException 404, also for one outside of it."""
        file, _ = known(name)
        return FileResponse(inside(file.folder, path))

    def delete(self, name: str) -> dict[str, Any]:
        """Interrupt a job, or cancel a waiting one; finished cells are kept. Raises HTTPException 404."""
        file, state = known(name)
        if state["state"] == "running":
            shared.state.interrupt()
        elif state["state"] == "waiting":
            file.change("interrupted")
        return self.get(name)

    def require_free(self, job: CheckedJob) -> None:
        """Raise HTTPException 409 for a job that runs or waits."""
        state = job.progress_file.read()
        thread = self.threads.get(job.id)
        if (state and state["state"] in LIVE) or (thread and thread.is_alive()):
            raise HTTPException(409, f"the job {job.id} is running: wait for it, or DELETE it first")
        if is_held(job.progress_file.folder):
            raise HTTPException(409, in_use(job.progress_file.folder))

    def checked(self, payload: Mapping[str, Any]) -> CheckedJob:
        """Return the checked job; each of its cells is a valid request. Raises RequestError."""
        tab, request, tune = parts_of(payload)
        _, model = self.endpoint(tab)
        name = str(tune.get("name") or "") or key_of(payload)
        request = request | {"seed": seed_of(request, tab, name)}
        try:
            fields = model(**request)
        except ValueError as error:
            raise RequestError("$.request", " ".join(str(error).split())) from error
        plan = plan_without_p(tab, fields, tune | {"name": name})
        return CheckedJob(id=name, tab=tab, request=request, tune=tune | {"name": name}, plan=plan)

    def run(self, job: CheckedJob) -> None:
        """Run the job in its thread through the WebUI's own route, which waits for its turn."""
        endpoint, model = self.endpoint(job.tab)
        script = {"script_name": TUNER, "script_args": [job.tune | {"job": True}], "send_images": False}
        failure = "the WebUI did not run the tuner's script"
        try:
            endpoint(model(**job.request | script))
        except Exception as error:  # noqa: BLE001 - a thread's error is shown nowhere else
            failure = " ".join(str(getattr(error, "detail", error)).split())
        state = job.progress_file.read()
        if state is None or state["state"] in LIVE:
            job.progress_file.change("failed", error=failure)

    def endpoint(self, tab: str) -> tuple[Any, Any]:
        """Return the function of the WebUI's route of a tab, and its request's type. Raises HostError."""
        path = f"/sdapi/v1/{tab}"
        found = next((r.endpoint for r in self.app.routes if getattr(r, "path", "") == path), None)
        if found is None:
            raise HostError(NO_API.format(tab=tab))
        kinds = typing.get_type_hints(found)
        (first, *_) = inspect.signature(found).parameters
        return found, kinds[first]


def parts_of(payload: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the tab, the request and the axes of a posted job. Raises RequestError."""
    others = payload.keys() - {"tab", "request", "tune"}
    if others:
        raise RequestError(f"$.{min(others)}", "unknown field (known: tab, request, tune)")
    tab = payload.get("tab", "txt2img")
    if tab not in TABS:
        raise RequestError("$.tab", f"unknown tab {tab!r} (choices: {', '.join(TABS)})")
    for name in ("request", "tune"):
        if not isinstance(payload.get(name), Mapping):
            raise RequestError(f"$.{name}", f"expected an object, got {payload.get(name)!r}")
    request = dict(payload["request"])
    check_body(request, arguments(), overridable(), "$.request")
    for name in ("script_name", "script_args"):
        if request.get(name):
            raise RequestError(f"$.request.{name}", "leave it out: the job is the tuner's script")
    return str(tab), request, dict(payload["tune"])


def seed_of(request: Mapping[str, Any], tab: str, name: str) -> int:
    """Return the job's first seed: the request's, else that of the same job's earlier run, else a random one.

    Raises RequestError, also for a name that leaves the tuner's folder.
    """
    from .host import folder_of  # imports torch, so only when needed

    folder = folder_of(SimpleNamespace(outpath_grids=root_of(tab).parent), name, "")
    seed = request.get("seed")
    if seed in (None, "", -1):
        try:
            seed = json.loads((folder / JOB).read_text("utf-8"))["request"]["seed"]
        except (OSError, ValueError, KeyError, TypeError):
            seed = -1
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise RequestError("$.request.seed", f"expected a whole number, got {seed!r}")
    return int(processing.get_fixed_seed(seed))


def plan_without_p(tab: str, request: Any, tune: Mapping[str, Any]) -> Plan:
    """Return the plan that the script will run, before a generation exists. Raises RequestError."""
    fields = {name: getattr(request, name, None) for name in request.__fields__}
    stand_in = SimpleNamespace(**fields | {"outpath_grids": str(root_of(tab).parent)})
    spec, name = read_tune([tune])
    return plan_of(stand_in, controls_of(fields), spec, name)


def controls_of(fields: Mapping[str, Any]) -> ControlRequest:
    """Return the control request in a REST request of the WebUI. Raises RequestError."""
    scripts = fields.get("alwayson_scripts") or {}
    ours = next((entry for name, entry in scripts.items() if name.lower() == CONTROLS.lower()), None) or {}
    args = ours.get("args") or ()
    if not args:
        return ControlRequest()
    without_last(stated_request(args), "a job is read again when it is resumed: send the picture in 'image'")
    return read_request(args, first_pictures(fields))


def first_pictures(fields: Mapping[str, Any]) -> tuple[Image.Image, ...]:
    """Return the first img2img picture of a request, if it has one: a cell starts from a single picture."""
    pictures = fields.get("init_images") or ()
    return tuple(decode_image(each, "$.request.init_images[0]") for each in pictures[:1])


def root_of(tab: str) -> Path:
    """The folder that holds the tuner's folders of a tab when it runs over the API."""
    return Path(getattr(shared.opts, f"outdir_{tab}_grids")) / "ctrlgen-tuner"


def roots_of(tab: str) -> list[Path]:
    """The folders that hold the tuner's folders of a tab, when it runs over the API and on the page."""
    page = shared.opts.outdir_grids
    return [root_of(tab), *([Path(page) / "ctrlgen-tuner"] if page else [])]


def tuner_folders() -> list[Path]:
    """The folders of all runs."""
    roots = dict.fromkeys(root for tab in TABS for root in roots_of(tab) if root.is_dir())
    return [folder for root in roots for folder in root.iterdir() if folder.is_dir()]


def progress_files() -> list[ProgressFile]:
    """The progress files of all runs, over the API and on the page."""
    return [progress_file(folder) for folder in tuner_folders()]


def named_files(name: str) -> list[ProgressFile]:
    """The progress files of the runs with a name, the newest first."""
    found = [file for file in progress_files() if file.folder.name == name]
    return sorted(found, key=lambda file: file.folder.stat().st_mtime, reverse=True)


def known(name: str) -> tuple[ProgressFile, State]:
    """Return a run's progress file and its content, the newest one if several have the name. Raises 404."""
    for file in named_files(name):
        state = file.read()
        if state is not None:
            return file, state
    raise HTTPException(404, f"no job named {name!r}")


def inside(folder: Path, path: str) -> Path:
    """Return the resolved path of a file in a folder. Raises HTTPException 404 if it is outside."""
    try:
        found = (folder / path).resolve(strict=True)
        real = folder.resolve(strict=True)
    except (OSError, ValueError):
        found = real = folder
    if not (found.is_relative_to(real) and found.is_file()):
        raise HTTPException(404, f"no file {path!r} in the job's folder")
    return found
