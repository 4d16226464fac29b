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


def test_a_recipe_is_renamed_restored_branched_and_deleted(routes: Any, tmp_path: Path) -> None:
    first = routes.put_recipe("chair", {"job": job("red")})
    routes.put_recipe("chair", {"job": job("blue")})
    routes.put_recipe("table", {"job": job("red")})
    back = as_described(
        routes.restore_recipe("chair", {"version": first["id"][:8]}), "/{recipe}/restore", "post"
    )
    assert back["message"] == f"Restored version {first['id'][:8]}"
    made = routes.post_variant("Chair", {"variant": "night", "version": first["id"]})
    assert as_described(made, "/{recipe}/variants", "post")["variant"] == "night"
    changed = routes.patch_recipe("chair", {"name": "Sessel", "variant": "main"})
    assert as_described(changed, "/{recipe}", "patch")["variant"] == "main"
    assert (changed["name"], changed["version"]["id"]) == ("Sessel", back["id"])
    assert [row["name"] for row in routes.list_recipes()] == ["Sessel", "table"]
    for body, path in (
        ({"name": "table"}, "new_name"),
        ({"name": "../x"}, "new_name"),
        ({"variant": "x"}, "variant"),
    ):
        with pytest.raises(RequestError, match=rf"^\$\.{path}"):
            routes.patch_recipe("Sessel", body)
    with pytest.raises(RequestError, match=r"^\$\.version"):
        routes.restore_recipe("Sessel", {"version": "--hard"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept", "utf-8")
    (tmp_path / "ctrlgen-recipes" / "Sessel" / "pictures" / "link").symlink_to(outside)
    (tmp_path / "ctrlgen-recipes" / "linked").symlink_to(tmp_path / "ctrlgen-recipes" / "table")
    deleted = as_described(routes.delete_recipe("Sessel"), "/{recipe}", "delete")
    assert deleted == {"name": "Sessel", "versions": 3}
    assert (outside / "kept.txt").is_file(), "a link is removed, not what it leads to"
    for name in ("Sessel", "linked", "../outside", ".git", ""):
        for change in (routes.delete_recipe, lambda each: routes.patch_recipe(each, {"name": "x"})):
            with pytest.raises(HTTPException) as caught:
                change(name)
            assert caught.value.status_code == 404
    assert [row["name"] for row in routes.list_recipes()] == ["table"]


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
