"""Cells of the tuner as recipes: over REST, and from the page's gallery."""

import json
from pathlib import Path

import pytest
from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import png_text
from lib_ctrlgen.forms.infotext import describe
from lib_ctrlgen.recipes.content import data_url
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.request.spec import ControlRequest, parse_request
from lib_ctrlgen.tuner.recipe import save_pictures
from tests.support.fake_libraries import HTTPException
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.openapi import answer_schema, problems
from tests.support.recipes import job, png

KEY = "0f3a5c7e9b1d2468"
REQUEST = parse_request({"units": job()["units"]}, ControlRequest)
ENTRY = json.dumps(describe(REQUEST))
INFOTEXT = f"a chair\nSteps: 4, Sampler: Euler, Seed: 5, Size: 64x64, CtrlGen: {ENTRY}"


@pytest.fixture
def grid(host: FakeWebUI, tmp_path: Path) -> Path:
    """A finished job with one cell."""
    folders = {"outdir_txt2img_grids": str(tmp_path / "g"), "outdir_img2img_grids": str(tmp_path / "i")}
    host.opts.data |= {**folders, "outdir_grids": str(tmp_path / "page")}
    folder = tmp_path / "g" / "ctrlgen-tuner" / "a grid"
    save_pictures([REQUEST], folder)
    fresh("tuner.plan").progress_file(folder).write("done", done=1, total=1)
    (folder / "cells").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "cells" / f"{KEY}-00-seed-5.png", pnginfo=png_text(INFOTEXT))
    return folder


def test_a_cell_is_saved_over_rest(grid: Path, tmp_path: Path) -> None:
    post, library = fresh("tuner.cell_recipe").post_cell_recipe, Library(tmp_path / "ctrlgen-recipes")
    said = post("a grid", {"recipe": "chair", "cell": KEY, "message": "the best"})
    written = json.loads(Path("docs/openapi.json").read_text("utf-8"))
    assert problems(answer_schema(written, "post", "/ctrlgen/v1/tune/{name}/recipe"), said) == []
    assert (said["name"], said["version"]["message"], said["notes"]) == ("chair", "the best", [])
    read = library.find("chair").read()
    assert (read.job["units"], read.job["seed"]) == (job()["units"], 5)
    for body, path in (({"cell": "../x"}, "cell"), ({"cell": KEY, "picture": 3}, "picture"), ({}, "cell")):
        with pytest.raises(RequestError, match=rf"^\$\.{path}"):
            post("a grid", {"recipe": "table", **body})
    with pytest.raises(RequestError, match=r"^\$\.name"):
        post("a grid", {"recipe": "../x", "cell": KEY})
    for name in ("nothing", "../a grid", ".."):
        with pytest.raises(HTTPException) as caught:
            post(name, {"recipe": "table", "cell": KEY})
        assert caught.value.status_code == 404
    assert library.names() == ["chair"]


def test_the_gallerys_cell_is_saved_with_pictures_of_any_run(grid: Path, tmp_path: Path) -> None:
    saved_cell = fresh("tuner.saved_cell").saved_cell
    page = {"infotext": INFOTEXT, "picture": data_url(png("blue"))}
    assert "Saved &#x27;chair&#x27;, version" in saved_cell(json.dumps(page), "chair")
    read = Library(tmp_path / "ctrlgen-recipes").find("chair").read()
    assert (read.job["units"], read.result) == (job()["units"], png("blue"))
    assert "select a cell in the gallery first" in saved_cell(json.dumps({"infotext": ""}), "chair")
    said = saved_cell(json.dumps(page), "../x")
    assert ">Save the gallery&#x27;s cell as the recipe: &#x27;../x&#x27; cannot be used as a name" in said
    assert "ctrlgen_xy_tuner_recipe" in said
