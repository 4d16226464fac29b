"""The REST routes of recipes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.recipes.content import data_url
from tests.support.fake_libraries import HTTPException
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.openapi import answer_schema, problems
from tests.support.recipes import job, png
from tests.support.rest_client import Client

ROOT = "/ctrlgen/v1/recipes"


@pytest.fixture
def routes(host: FakeWebUI) -> Any:
    return fresh("recipes")


def as_described(answer: Any, path: str, method: str = "get") -> Any:
    """The answer, if it has the form that the document describes."""
    from lib_ctrlgen.webui.openapi.document import document

    assert problems(answer_schema(document(), method, ROOT + path), answer) == []
    return answer


def test_a_recipe_is_saved_read_compared_and_shared(routes: Any, tmp_path: Path) -> None:
    body = {"job": job("red"), "settings": {"Hires upscale": "2"}, "result": data_url(png("red"))}
    first = as_described(routes.put_recipe("Küche", body), "/{recipe}", "put")
    second = routes.put_recipe("Küche", body | {"job": job("blue"), "message": "blue"})
    assert (tmp_path / "ctrlgen-recipes" / "Küche" / "recipe.yaml").is_file()
    (row,) = as_described(routes.list_recipes(), "")
    assert (row["name"], row["version"]["message"]) == ("Küche", "blue")
    read = as_described(routes.get_recipe("Küche", version=first["id"]), "/{recipe}")
    assert read["job"]["units"] == job("red")["units"]
    assert (read["settings"], read["result"]) == (body["settings"], body["result"])
    assert "Hires upscale: 2" in read["infotext"]
    history = as_described(routes.recipe_history("Küche"), "/{recipe}/history")
    assert [each["id"] for each in history] == [second["id"], first["id"]]
    found = as_described(routes.recipe_diff("Küche"), "/{recipe}/diff")
    assert found["text"].startswith("--- Küche@")
    by_place = {each["place"]: each for each in found["pictures"]}
    assert (by_place["result"]["largest"], by_place["$.units[0].image"]["largest"]) == (0, 255)
    assert decode_image(by_place["result"]["image"], "").size == (40, 8)
    sent = routes.recipe_zip("Küche", version=first["id"])
    assert sent.headers == {"Content-Disposition": "attachment; filename*=UTF-8''K%C3%BCche.zip"}
    data = asyncio.run(routes.uploaded_file(Client(sent.content)))
    added = as_described(routes.post_recipe("Küche", data), "", "post")
    assert added == {"name": "Küche 2", "notes": []}
    assert routes.get_recipe("Küche 2")["job"] == read["job"]


def test_mistakes_have_their_status(routes: Any, monkeypatch: Any) -> None:
    for wrong in ("chair", "../chair", ".git"):
        with pytest.raises(HTTPException) as caught:
            routes.get_recipe(wrong)
        assert caught.value.status_code == 404
    with pytest.raises(RequestError, match=r"^\$\.units\[0\]\.image"):
        routes.put_recipe("chair", {"job": {"units": [{"model": "edges", "image": "/etc/passwd"}]}})
    with pytest.raises(RequestError, match=r"^\$\.name"):
        routes.put_recipe("../chair", {"job": job()})
    with pytest.raises(RequestError, match=r"^\$\.hooks: unknown field"):
        routes.put_recipe("chair", {"job": job(), "hooks": "x"})
    with pytest.raises(RequestError, match=r"\$\.settings"):
        routes.put_recipe("chair", {"job": job(), "settings": {"a, b": "c"}})
    assert routes.list_recipes() == []
    monkeypatch.setattr(routes, "LARGEST_UPLOAD", 1500)
    with pytest.raises(HTTPException) as caught:
        asyncio.run(routes.uploaded_file(Client(bytes(2000))))
    assert caught.value.status_code == 413


def test_the_folder_is_a_setting_that_rest_cannot_change(
    routes: Any, host: FakeWebUI, tmp_path: Path
) -> None:
    settings = fresh("settings")
    settings.register_settings()
    assert host.opts.data_labels["ctrlgen_recipes_folder"].restrict_api is True
    for text, folder in (("", "ctrlgen-recipes"), ("kept", "kept"), (str(tmp_path / "x"), "x")):
        host.opts.data["ctrlgen_recipes_folder"] = text
        assert settings.recipes_folder() == tmp_path / folder
