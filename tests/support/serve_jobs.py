"""Jobs, models and requests for tests of `ctrlgen serve`."""

import base64
import io
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.models.bundled import bundled_folders
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.serve.answers import ModelsAnswer
from lib_ctrlgen.serve.checks import CheckedJob, CheckRequest, checked_job
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.models import names_answer
from lib_ctrlgen.serve.records import Job
from lib_ctrlgen.serve.service import Service
from lib_ctrlgen.serve.users import User
from lib_ctrlgen.tuner.check import Checker

ANNA, BERT = User(name="anna", role="user"), User(name="bert", role="user")


class FakeModels:
    """One checkpoint and one control."""

    def checker(self) -> CheckRequest:
        def check(request: GenerationRequest) -> None:
            if request.model != "ctrlgen-tiny":
                raise RequestError("$.model", f"no model named {request.model!r}")
            Checker(None).check(request)

        return check

    def planner(self, story: Any) -> Any:
        from lib_ctrlgen.models.store import ModelStore
        from lib_ctrlgen.projects.control_models import controls_for
        from lib_ctrlgen.projects.story.assets import Planner

        store = ModelStore(bundled_folders(), 1 << 30)
        controls = controls_for("ctrlgen-tiny", store.files)
        return Planner(story=story.story, read=story, controls=controls, store=store)

    def answer(self) -> ModelsAnswer:
        return names_answer(["ctrlgen-tiny"], ["ctrlgen-tiny-edges"])


def content_of(prompt: str = "a red star", **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "steps": 2, "seed": 1, "width": 64, "height": 64, **fields}


def story_of(title: str = "Small", **fields: Any) -> dict[str, Any]:
    places = [{"name": "Sea"}, {"name": "Hill"}]
    mia = {"name": "Mia", "prompt": "a star"}
    small = {"width": 64, "height": 64, "steps": 2}
    return {"title": title, "characters": [mia], "places": places, **small, **fields}


def job_of(prompt: str = "a red star", **fields: Any) -> CheckedJob:
    return checked_job(content_of(prompt, **fields), Limits(), lambda _request: None)


def wait_for(happened: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def ended(service: Service, *jobs: Job) -> bool:
    return not any(service.store.require(job.id).is_live for job in jobs)


def png(colour: str = "red", side: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(stream, "PNG")
    return stream.getvalue()


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
