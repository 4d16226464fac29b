"""gradio, fastapi and starlette, as far as the extension imports them."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

from tests.support.fake_gradio import Choice, Component, Dropdown


def edge_libraries() -> dict[str, ModuleType]:
    """gradio and fastapi."""
    plain = (
        "Accordion",
        "Blocks",
        "Button",
        "Checkbox",
        "Column",
        "File",
        "Gallery",
        "HTML",
        "Image",
        "Number",
        "Row",
        "Slider",
        "Tab",
        "UploadButton",
    )
    gradio: dict[str, Any] = dict.fromkeys((*plain, "State", "Tabs", "Textbox"), Component)
    gradio |= {"Dropdown": Dropdown, "Radio": Choice}
    gradio["SelectData"] = SimpleNamespace
    gradio["update"] = lambda **values: {"__type__": "generic_update", **values}
    security = {"HTTPBasic": lambda: None, "HTTPBasicCredentials": SimpleNamespace}
    fastapi = {
        "APIRouter": APIRouter,
        "Body": lambda default: default,
        "Depends": lambda function: function,
        "FastAPI": object,
        "HTTPException": HTTPException,
        "Request": object,
        "Response": SentFile,
    }
    utils = {"get_parameterless_sub_dependant": lambda depends, path: depends}
    return {
        "gradio": module("gradio", gradio),
        "fastapi": module("fastapi", fastapi),
        "fastapi.security": module("fastapi.security", security),
        "fastapi.responses": module(
            "fastapi.responses", {"FileResponse": lambda path: path, "JSONResponse": SimpleNamespace}
        ),
        "fastapi.openapi": module("fastapi.openapi", {}),
        "fastapi.openapi.utils": module("fastapi.openapi.utils", {"get_openapi": dict}),
        "fastapi.dependencies": module("fastapi.dependencies", {}),
        "fastapi.dependencies.utils": module("fastapi.dependencies.utils", utils),
    }


class APIRouter:
    """fastapi's, with the options of each route by its path."""

    def __init__(self) -> None:
        self.routes: list[tuple[str, SimpleNamespace]] = []

    def add_api_route(self, path: str, answer: Any, **options: Any) -> None:
        self.routes.append((path, SimpleNamespace(answer=answer, **options)))


class SentFile:
    """fastapi's Response with bytes."""

    def __init__(self, content: bytes, media_type: str, headers: dict[str, str]) -> None:
        self.content, self.media_type, self.headers = content, media_type, headers


class HTTPException(Exception):  # noqa: N818 - fastapi's name
    """fastapi's."""

    def __init__(self, status_code: int, detail: str, *_: Any) -> None:
        super().__init__(detail)
        self.status_code, self.detail = status_code, detail


def module(name: str, content: dict[str, Any]) -> ModuleType:
    """A module with these attributes."""
    made = ModuleType(name)
    vars(made).update(content)
    return made
