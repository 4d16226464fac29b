"""The client's methods for recipes: what they post, and what they make of answers."""

from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.client import RefusedError, WebUI
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.webui.openapi.recipe_routes import ANSWER, DIFF, LISTED, SAVED
from tests.support.recipes import job, png
from tests.support.scripted_server import answers, scripted

HISTORY = [SAVED, SAVED]
CALLS: dict[str, tuple[Any, Any, str]] = {
    "list": (lambda ui: ui.recipes(), [LISTED], "GET /ctrlgen/v1/recipes"),
    "read": (lambda ui: ui.recipe("a b").read("1a"), ANSWER, "GET /ctrlgen/v1/recipes/a%20b?version=1a"),
    "history": (
        lambda ui: ui.recipe("a").history("x y"),
        HISTORY,
        "GET /ctrlgen/v1/recipes/a/history?variant=x+y",
    ),
    "diff": (lambda ui: ui.recipe("a").diff(other="b"), DIFF, "GET /ctrlgen/v1/recipes/a/diff?other=b"),
    "restore": (lambda ui: ui.recipe("a").restore("1a"), SAVED, "POST /ctrlgen/v1/recipes/a/restore"),
    "variant": (lambda ui: ui.recipe("a").new_variant("v"), LISTED, "POST /ctrlgen/v1/recipes/a/variants"),
    "switch": (lambda ui: ui.recipe("a").switch("v"), LISTED, "PATCH /ctrlgen/v1/recipes/a"),
    "rename": (lambda ui: ui.recipe("../a").rename("chair"), LISTED, "PATCH /ctrlgen/v1/recipes/..%2Fa"),
    "delete": (
        lambda ui: ui.recipe("a").delete(),
        {"name": "a", "versions": 2},
        "DELETE /ctrlgen/v1/recipes/a",
    ),
    "add": (
        lambda ui: ui.add_recipe(b"PK", "é"),
        {"name": "é", "notes": []},
        "POST /ctrlgen/v1/recipes?name=%C3%A9",
    ),
    "cell": (
        lambda ui: ui.job("grid").save_recipe("a", "0" * 16),
        {"name": "a", "version": SAVED, "notes": []},
        "POST /ctrlgen/v1/tune/grid/recipe",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_call_has_its_route(name: str) -> None:
    call, answer, line = CALLS[name]
    with scripted(answers(answer)) as (url, server):
        found = call(WebUI(url))
    (received,) = server.received
    assert received.line == f"{line} HTTP/1.1"
    assert found, "the answer is read"
    if name == "rename":
        assert (found.name, received.json) == ("chair", {"name": "chair"})
    if name == "add":
        assert (received.body, received.headers["content-type"]) == (b"PK", "application/octet-stream")


def test_a_job_is_saved_with_pictures_and_a_zip_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(png("red"))
    given = job() | {"units": [{"model": "edges", "image": tmp_path / "red.png"}]}
    with scripted(answers(SAVED)) as (url, server):
        assert WebUI(url).recipe("a").save(given, result=png("blue"), message="m").id == SAVED["id"]
    body = server.received[0].json
    assert body["job"]["units"][0]["image"].startswith("data:image/png;base64,")
    assert (body["result"][:10], body["message"]) == ("data:image", "m")
    with scripted(answers(b"PK")) as (url, _):
        assert WebUI(url).recipe("a").zip() == b"PK"
        with pytest.raises(HostError, match="cannot read"):
            WebUI(url).add_recipe(tmp_path / "nothing.zip")


def test_a_recipe_that_is_not_there_is_refused() -> None:
    missing = answers({"detail": "there is no recipe 'a'"}, 404)
    with scripted(missing) as (url, _), pytest.raises(RefusedError) as caught:
        WebUI(url).recipe("a").delete()
    assert caught.value.http_status == 404
