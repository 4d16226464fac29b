"""The OpenAPI document: it is written down, it names every route, and the routes answer as it says."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import save_file

from lib_ctrlgen.webui.openapi.document import document
from lib_ctrlgen.webui.openapi.schemas import openapi_schema
from tests.support.control_files import controlnet
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.openapi import JSON, answer_schema, operations, problems

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
UNIT = {"model": "edges", "weight": "1@0, 0@0.5"}


@pytest.fixture
def api(host: FakeWebUI, script: Any, tmp_path: Path) -> Any:
    """The routes of a WebUI with one model and one broken file."""
    folder = tmp_path / "models" / "ControlNet"
    folder.mkdir(parents=True)
    save_file(controlnet().state_dict(), folder / "edges.safetensors")
    (folder / "broken.pth").write_bytes(b"half")
    return fresh("api")


def test_the_file_is_what_the_code_gives() -> None:
    assert json.loads(json.dumps(document())) == WRITTEN, "run python tools/openapi.py"


def test_the_words_are_those_of_openapi_3_0() -> None:
    names = set()
    waiting: list[Any] = [WRITTEN["paths"]]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            names |= found.keys()
            assert found.get("type") != "null"
            waiting += [value for name, value in found.items() if name not in ("example", "default")]
        elif isinstance(found, list):
            waiting += found
    assert not names & {"$ref", "$defs", "prefixItems", "const", "examples", "exclusiveMinimum"}
    schema = {"type": "number", "exclusiveMinimum": 0}
    excluded = "the bounds themselves are excluded"
    assert openapi_schema(schema) == {"type": "number", "minimum": 0, "description": excluded}


@pytest.mark.parametrize("operation", [operation for *_, operation in operations(WRITTEN)])
def test_examples_have_the_form_that_they_are_examples_of(operation: Any) -> None:
    shown = [operation["requestBody"]] if "requestBody" in operation else []
    contents = [each["content"] for each in (*shown, *operation["responses"].values())]
    examples = [content[JSON] for content in contents if JSON in content]
    assert all(problems(each["schema"], each["example"]) == [] for each in examples)
    assert "401" in operation["responses"]


def test_every_route_is_described_and_every_description_is_a_route(host: FakeWebUI) -> None:
    made: list[tuple[str, str, dict[str, Any]]] = []

    def add(path: str, _function: Any, **options: Any) -> None:
        made.append((path.replace(":path}", "}"), options["methods"][0].lower(), options))

    fresh("api").add_routes(SimpleNamespace(add_api_route=add), None)
    assert {(path, method) for path, method, _ in made} == {each[:2] for each in operations(WRITTEN)}
    for path, method, options in made:
        described = WRITTEN["paths"][path][method]
        assert options["operation_id"] == described["operationId"]
        assert {str(status) for status in options["responses"]} == described["responses"].keys()
        extra = json.loads(json.dumps(options["openapi_extra"]))
        assert extra == {key: described[key] for key in described.keys() & {"requestBody"}}


def test_lists_and_plans_answer_as_the_document_says(api: Any) -> None:
    answers = {
        ("get", "models"): [api.models(hashes=True), api.models(details=False)],
        ("get", "preprocessors"): [api.preprocessors()],
        ("get", "schema"): [api.schema()],
        ("post", "plan"): [api.plan({"units": [UNIT], "steps": 3, "prompt": "a (b:1>0.5)"})],
    }
    for (method, name), given in answers.items():
        schema = answer_schema(WRITTEN, method, f"/ctrlgen/v1/{name}")
        for answer in given:
            assert problems(schema, json.loads(json.dumps(answer))) == []


def test_bodies_that_the_route_reads_have_the_form_of_the_document() -> None:
    body = WRITTEN["paths"]["/ctrlgen/v1/plan"]["post"]["requestBody"]["content"][JSON]["schema"]
    request = {
        "units": [UNIT | {"image": "data:image/png;base64,AAAA", "params": {"low_threshold": 5}}],
        "steps": 2,
    }
    assert problems(body, request) == []
    assert problems(body, request | {"steps": 0})
    assert problems(body, {"units": [UNIT | {"wieght": 1}]})
    assert problems(body, {"blend": {"concepts": 3}})
