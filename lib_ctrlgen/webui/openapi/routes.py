"""The routes under /ctrlgen/v1 as an OpenAPI document describes them: parameters, bodies, answers, errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib_ctrlgen.faces.request import FacesRequest
from lib_ctrlgen.request.answers import (
    DetectAnswer,
    ErrorAnswer,
    FacesAnswer,
    JobAccepted,
    JobListed,
    JobStatus,
    ModelList,
    PlanAnswer,
    PreprocessorList,
)
from lib_ctrlgen.request.detection import DetectionRequest
from lib_ctrlgen.request.spec import ControlRequest
from lib_ctrlgen.tuner.cells import TuneSpec

from . import ROOT, examples
from .schemas import Schema, schema_of

JSON, BINARY = "application/json", "application/octet-stream"
MAX_STEPS = 1000
ERRORS: Mapping[int, str] = {
    401: "no login, or a wrong one; only with --api-auth",
    404: "there is no such job, recipe, training or file",
    409: "the same job, or another training, runs already",
    422: "the request is wrong: `detail` says where and what to do",
}
OTHER = "any other error: `detail` says why"
OF_FASTAPI: Schema = {
    "title": "FastAPIError",
    "description": "A body that is no JSON object, or a parameter of another type.",
    "type": "object",
    "properties": {"detail": {"type": "array", "items": {"type": "object"}}},
    "required": ["detail"],
}

OF_STARLETTE: Schema = {
    "title": "PlainError",
    "description": "A body that is no text, or an address that is no route.",
    "type": "object",
    "properties": {"detail": {"type": "string"}},
    "required": ["detail"],
}


@dataclass(frozen=True, kw_only=True)
class Query:
    """A switch or a text behind the address of a route."""

    name: str
    default: bool | str

    @property
    def schema(self) -> Schema:
        """Its type and its default."""
        kind = "boolean" if isinstance(self.default, bool) else "string"
        return {"type": kind, "default": self.default}


@dataclass(frozen=True, kw_only=True)
class Route:
    """A route. `answer` is the schema of its JSON, None for a file."""

    method: str
    path: str
    summary: str
    description: str
    answer: Schema | None
    answer_example: Any = None
    body: Schema | None = None
    body_example: Any = None
    body_type: str = JSON
    status: int = 200
    errors: tuple[int, ...] = (401,)
    query: tuple[Query, ...] = ()
    inside: tuple[str, ...] = field(default=())

    @property
    def whole_path(self) -> str:
        """The path as FastAPI writes it into the document."""
        return f"{ROOT}/{self.path}".replace(":path}", "}")

    @property
    def extra(self) -> Schema:
        """What FastAPI cannot know: the body."""
        if self.body is None:
            return {}
        content = {"schema": self.body, "example": self.body_example}
        return {"requestBody": {"content": {self.body_type: content}, "required": True}}

    @property
    def responses(self) -> dict[int | str, Schema]:
        """The answers by status, with their schemas and examples."""
        error = schema_of(ErrorAnswer)
        found: dict[int | str, Schema] = {self.status: self._success()}
        for status in self.errors:
            schema: Schema = {"anyOf": [error, OF_FASTAPI]} if status == 422 else error
            content = {"schema": schema, "example": examples.errors()[status]}
            found[status] = {"description": ERRORS[status], "content": {JSON: content}}
        content = {"schema": {"anyOf": [error, OF_STARLETTE]}, "example": examples.errors()[500]}
        return {**found, "default": {"description": OTHER, "content": {JSON: content}}}

    def _success(self) -> Schema:
        if self.answer is None:
            file = {"schema": {"title": "File", "type": "string", "format": "binary"}}
            return {"description": "the file", "content": {BINARY: file}}
        content = {"schema": self.answer, "example": self.answer_example}
        return {"description": str(self.answer.get("description", "the answer")), "content": {JSON: content}}


def plan_body() -> Schema:
    """The schema of a plan's body: a request, and what its steps and prompts are."""
    schema = schema_of(ControlRequest)
    own: Schema = {
        "steps": {"type": "integer", "minimum": 1, "maximum": MAX_STEPS, "default": 20},
        "prompt": {"type": "string", "default": ""},
        "negative_prompt": {"type": "string", "default": ""},
    }
    return {**schema, "title": "PlanRequest", "properties": {**schema["properties"], **own}}


def job_body() -> Schema:
    """The schema of a tuner job's body."""
    tune = schema_of(TuneSpec)
    name: Schema = {"type": "string", "default": "", "description": "of the job and its folder"}
    tune = {**tune, "properties": {**tune["properties"], "name": name}}
    request: Schema = {"type": "object", "description": "a body of /sdapi/v1/txt2img or img2img"}
    tab: Schema = {"type": "string", "enum": ["txt2img", "img2img"], "default": "txt2img"}
    return {
        "title": "TuneJob",
        "description": "A generation, and the axes or the search that the tuner runs with it.",
        "type": "object",
        "properties": {"tab": tab, "request": request, "tune": tune},
        "required": ["request", "tune"],
        "additionalProperties": False,
    }


def job_list() -> Schema:
    """The schema of the list of jobs."""
    return {"title": "Jobs", "type": "array", "items": schema_of(JobListed)}


def any_object() -> Schema:
    """The schema of a JSON Schema."""
    return {"title": "Schema", "description": "a JSON Schema (2020-12)", "type": "object"}


def routes() -> tuple[Route, ...]:
    """All routes, in the order of the document."""
    return (*read_routes(), *post_routes(), *job_routes(), *one_job_routes())


def read_routes() -> tuple[Route, ...]:
    """The routes that read what the WebUI has."""
    switches = (("refresh", False), ("hashes", False), ("details", True))
    return (
        Route(
            method="GET",
            path="models",
            summary="Control models",
            description="The control models, and in `files` what each of them is. `refresh` reads the model "
            "folders again; `hashes` adds each model's `name [hash]`, which a request may name; without "
            "`details`, `files` is left out.",
            query=tuple(Query(name=name, default=default) for name, default in switches),
            answer=schema_of(ModelList),
            answer_example=examples.MODELS,
            errors=(401, 422),
        ),
        Route(
            method="GET",
            path="preprocessors",
            summary="Preprocessors",
            description="The preprocessors with their parameters: kind, default, bounds and step of each.",
            answer=schema_of(PreprocessorList),
            answer_example=examples.PREPROCESSORS,
        ),
        Route(
            method="GET",
            path="schema",
            summary="JSON Schema of a request",
            description="The JSON Schema of the object in `alwayson_scripts.CtrlGen.args`.",
            answer=any_object(),
            answer_example=examples.SCHEMA,
        ),
    )


def post_routes() -> tuple[Route, ...]:
    """The routes that compute something without a generation."""
    return (
        Route(
            method="POST",
            path="plan",
            summary="Plan of a request",
            description="The weights of a request at each step, without generating.",
            body=plan_body(),
            body_example=examples.PLAN_BODY,
            answer=schema_of(PlanAnswer),
            answer_example=examples.PLAN,
            errors=(401, 422),
        ),
        Route(
            method="POST",
            path="faces",
            summary="Faces in a picture",
            description="The faces of a picture from left to right, with identity embeddings.",
            body=schema_of(FacesRequest),
            body_example=examples.FACES_BODY,
            answer=schema_of(FacesAnswer),
            answer_example=examples.FACES,
            errors=(401, 422),
        ),
        Route(
            method="POST",
            path="detect",
            summary="Control maps of pictures",
            description="The control maps that preprocessors make of pictures, without a generation.",
            body=schema_of(DetectionRequest),
            body_example=examples.DETECT_BODY,
            answer=schema_of(DetectAnswer),
            answer_example=examples.DETECT,
            errors=(401, 422),
        ),
    )


def job_routes() -> tuple[Route, ...]:
    """The routes that start and list the tuner's jobs."""
    return (
        Route(
            method="POST",
            path="tune",
            summary="Start a tuner job",
            description="Checks every cell, and starts a job or continues the one of the same name.",
            body=job_body(),
            body_example=examples.JOB_BODY,
            answer=schema_of(JobAccepted),
            answer_example=examples.ACCEPTED,
            status=202,
            errors=(401, 409, 422),
        ),
        Route(
            method="GET",
            path="tune",
            summary="All tuner jobs",
            description="All jobs, the newest first.",
            answer=job_list(),
            answer_example=examples.JOBS,
        ),
    )


def one_job_routes() -> tuple[Route, ...]:
    """The routes of one of the tuner's jobs."""
    one, status = "tune/{name}", schema_of(JobStatus)
    return (
        Route(
            method="GET",
            path=one,
            summary="A tuner job",
            description="The progress of a job, and its finished cells.",
            inside=("name",),
            answer=status,
            answer_example=examples.STATUS,
            errors=(401, 404),
        ),
        Route(
            method="DELETE",
            path=one,
            summary="Interrupt a tuner job",
            description="Interrupts a job, or takes it out of the queue; finished cells are kept.",
            inside=("name",),
            answer=status,
            answer_example=examples.STATUS,
            errors=(401, 404),
        ),
        Route(
            method="GET",
            path=one + "/files/{path:path}",
            summary="A file of a tuner job",
            description="A file of the job's folder, such as `report.html`.",
            inside=("name", "path"),
            answer=None,
            errors=(401, 404),
        ),
    )
