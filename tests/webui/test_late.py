"""What the WebUI's start leaves for later: functions of events and REST routes; and its callbacks."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_ctrlgen.webui.late import Late
from tests.support.fake_webui import FakeWebUI, fresh

WEBUI = Path(__file__).resolve().parents[2] / "lib_ctrlgen" / "webui"


def late_functions() -> Iterator[tuple[str, str]]:
    """Every function that a file takes from a late module, by the names `Late` gets."""
    for path in sorted(WEBUI.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        modules = dict(late_modules(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                if isinstance(node.value, ast.Name) and node.value.id in modules:
                    yield modules[node.value.id], node.attr
                elif isinstance(node.value, ast.Call) and module_of(node.value):
                    yield module_of(node.value), node.attr


def late_modules(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that a file gives late modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs = [(node.targets[0], node.value)]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
            for target, value in pairs:
                if isinstance(target, ast.Name) and isinstance(value, ast.Call) and module_of(value):
                    yield target.id, module_of(value)


def module_of(call: ast.Call) -> str:
    """The module in `Late("module")`; empty for other calls."""
    is_late = isinstance(call.func, ast.Name) and call.func.id == "Late"
    first = call.args[0] if call.args else None
    return str(first.value) if is_late and isinstance(first, ast.Constant) else ""


def test_every_late_function_is_there(host: FakeWebUI) -> None:
    found = list(late_functions())
    assert len(found) > 15
    fresh("script")
    for module, name in found:
        assert callable(getattr(import_module(f"lib_ctrlgen.webui.{module}"), name)), (module, name)


def test_a_late_function_has_its_name_and_no_annotations_and_is_called() -> None:
    function = Late("late").plain
    assert (function.__name__, function.__annotations__) == ("plain", {})
    assert function(test_every_late_function_is_there) is test_every_late_function_is_there
    with pytest.raises(AttributeError):
        _ = Late("late").__wrapped__


def test_callbacks_say_their_file_or_are_registered_by_the_webuis_own_function(host: FakeWebUI) -> None:
    known = host.loaded["modules.script_callbacks"]
    lists = host.callbacks.lists
    fresh("callbacks").register_callback("before_ui", print, __file__)
    assert lists["before_ui"] == [print]
    known.add_callback = lambda callbacks, function: None  # of a WebUI before 1.10
    known.on_before_ui = lists["ui_tabs"].append
    fresh("callbacks").register_callback("before_ui", print, __file__)
    assert lists["ui_tabs"] == [print]


def made_app(filled: list[str]) -> Any:
    """An application of FastAPI with one route of its own and late ones below /late."""
    from fastapi import FastAPI, HTTPException

    from lib_ctrlgen.webui.late_routes import add_late_routes

    def number(name: str, much: int = 1) -> dict[str, Any]:
        if much > 9:
            raise HTTPException(409, "too much")
        return {"name": name, "much": much}

    def fill(router: Any) -> None:
        filled.append("late")
        router.add_api_route("/late/{name}", number, methods=["GET"], summary="A number")
        router.add_api_route("/late/{name}", lambda name: {"gone": name}, methods=["DELETE"])

    app = FastAPI()
    app.add_api_route("/own", lambda: "own")
    add_late_routes(app, "/late", fill)
    return app


def test_late_routes_answer_as_if_they_were_there_from_the_start() -> None:
    client_of = pytest.importorskip("fastapi.testclient", reason="httpx").TestClient
    filled: list[str] = []
    app = made_app(filled)
    client = client_of(app)
    assert client.get("/own").json() == "own"
    assert client.get("/latest").status_code == 404
    assert filled == []
    assert client.get("/late/a", params={"much": 3}).json() == {"name": "a", "much": 3}
    assert client.delete("/late/a").json() == {"gone": "a"}
    assert client.get("/late/a", params={"much": "x"}).status_code == 422
    assert client.get("/late/a", params={"much": 10}).json() == {"detail": "too much"}
    assert client.post("/late/a").status_code == 405
    assert client.get("/late/a/b").status_code == 404
    assert filled == ["late"]


def test_late_routes_are_in_the_document() -> None:
    filled: list[str] = []
    app = made_app(filled)
    document = app.openapi()
    assert document["paths"].keys() == {"/own", "/late/{name}"}
    assert document["paths"]["/late/{name}"].keys() == {"get", "delete"}
    assert "HTTPValidationError" in document["components"]["schemas"]
    assert app.openapi() is document
    assert SimpleNamespace(**document).openapi.startswith("3.")
