"""`ctrlgen product --recipe`: each picture of a run is a recipe, each change of it a version."""

from pathlib import Path

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.projects.product.recipes import PictureRecipes
from lib_ctrlgen.projects.product.settings import ProductSettings
from lib_ctrlgen.recipes.library import Library
from tests.support.product import PLACES, QUICK, WatchedEngine, run_of, write_ball


def test_every_picture_is_a_recipe_with_its_versions(tmp_path: Path) -> None:
    ball, engine = write_ball(tmp_path / "ball"), WatchedEngine()
    out, library = tmp_path / "out", Library(tmp_path / "recipes")
    recipes = PictureRecipes(library=library, name="mug")
    run_of(ball, out, engine)()  # without recipes
    result = run_of(ball, out, engine, recipes=recipes)()  # the pictures are there already
    assert result.made == 0
    assert library.names() == sorted(f"mug {each.name}" for each in PLACES)
    names = [f"mug {each['name']}" for each in result.records]
    versions = [len(library.find(name).history()) for name in names]
    run_of(ball, out, engine, recipes=recipes)()
    assert [len(library.find(name).history()) for name in names] == versions == [1, 1]
    weaker = ProductSettings(**QUICK, identity="1>0.5")
    run_of(ball, out, engine, recipes=recipes, settings=weaker)()
    assert [len(library.find(name).history()) for name in names] == [2, 2]
    recipe = library.find(names[0]).read()
    assert recipe.job["units"][-1]["model"].startswith("ctrlgen-tiny-ip")
    assert recipe.result == (out / "pictures" / PLACES[0].name / "picture.png").read_bytes()
    job = read_job(library.folder / names[0] / "recipe.yaml").request
    assert job.prompt == "a circle on a red background"
    assert str(job.units[-1].weight) == "1@0, 0.5@1"


def test_a_name_that_no_recipe_can_have_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    ball, engine = write_ball(tmp_path / "ball"), WatchedEngine()
    recipes = PictureRecipes(library=Library(tmp_path / "recipes"), name="../mug")
    with pytest.raises(RequestError, match=r"--recipe: .*cannot be used as a name"):
        run_of(ball, tmp_path / "out", engine, recipes=recipes)()
    assert (engine.made, (tmp_path / "out").exists()) == (0, False)
