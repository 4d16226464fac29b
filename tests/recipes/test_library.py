"""A library of recipes: versions, variants, names, and saves that are interrupted."""

import subprocess
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.recipes import git as git_module
from lib_ctrlgen.recipes.library import LOCK, Library
from lib_ctrlgen.recipes.names import branch_of, recipe_name, variant_of
from lib_ctrlgen.recipes.versions import MARK
from tests.support.recipes import job, png, recipe


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "recipes")


def snapshot(folder: Path) -> dict[str, bytes]:
    """The plain files of a recipe's folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_saved_recipe_is_a_job_of_plain_files_and_is_read_as_it_was_saved(library: Library) -> None:
    library.save("Küche 🪑", recipe(result="blue"))
    folder = library.folder / "Küche 🪑"
    name = f"pictures/{image_hash(job()['units'][0]['image'])}.png"
    assert snapshot(folder).keys() == {"recipe.yaml", name, "result.png"}
    assert yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))["units"][0]["image"] == name
    run = read_job(folder / "recipe.yaml").request
    assert (run.prompt, run.seed, run.units[0].model) == ("a chair", 5, "edges [0123abcd]")
    read = library.find("küche 🪑").read()
    assert (read.job["units"], read.result) == (job()["units"], png("blue"))
    (row,) = library.listed()
    assert (row.name, row.variant, row.result) == ("Küche 🪑", "main", folder / "result.png")


def test_versions_are_kept_compared_and_restored(library: Library) -> None:
    first = library.save("chair", recipe("red", result="red"), "the red one")
    second = library.save("chair", recipe("blue", prompt="a blue chair"))
    assert library.save("Chair", recipe("blue", prompt="a blue chair")) == second, "the same files"
    with library.changing("chair") as found:
        assert [each.message for each in found.history()] == ["Saved", "the red one"]
        assert found.restore(first.id[:8]).message == f"Restored version {first.id[:8]}"
        assert found.read().job["prompt"] == "a chair"
        assert found.read(second.id).job["prompt"] == "a blue chair"
        assert (found.folder / "result.png").read_bytes() == png("red")
        assert len(found.history()) == 3
        for wrong in ("", "HEAD", "--output=x", "0" * 40, first.id[:4]):
            with pytest.raises(RequestError, match=r"^\$\.version"):
                found.restore(wrong or "~1")


def test_variants_are_branches_with_their_own_versions(library: Library) -> None:
    library.save("chair", recipe())
    with library.changing("chair") as found:
        found.new_variant("warm light ~1")
        assert (found.variant, found.variants()) == ("warm light ~1", ["main", "warm light ~1"])
    library.save("chair", recipe(prompt="warm"))
    library.save("chair", recipe(prompt="cold"), variant="main")
    found = library.find("chair")
    assert (found.variant, found.read().job["prompt"]) == ("main", "cold")
    assert found.read(variant="warm light ~1").job["prompt"] == "warm"
    assert "prompt: cold" in (found.folder / "recipe.yaml").read_text("utf-8")
    with pytest.raises(RequestError, match=r"\$\.variant: there is no variant 'war'; nearest: warm light ~1"):
        found.switch("war")
    with pytest.raises(RequestError, match="there is a variant 'main' already"):
        found.new_variant("MAIN")


def test_an_interrupted_save_leaves_the_old_version(library: Library, monkeypatch: Any) -> None:
    library.save("chair", recipe("red", result="red"))
    found = library.find("chair")
    before = snapshot(found.folder)

    def killed(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("lib_ctrlgen.recipes.versions.RecipeFolder._commit", killed)
        with pytest.raises(SystemExit):
            library.save("chair", recipe("blue"))
    assert (snapshot(found.folder), len(found.history())) == (before, 1)
    # The process was killed, so that nothing was undone; git's lock is left, too.
    (found.folder / "recipe.yaml").write_text("half")
    (found.folder / "result.png").unlink()
    (found.folder / "pictures" / "0123456789ab.png").write_bytes(b"new")
    (found.git.git_dir / MARK).touch()
    (found.git.git_dir / "index.lock").touch()
    (found.folder / "pictures" / ".0.part.png").touch()
    assert found.read().job["prompt"] == "a chair", "what counts is in the repository"
    library.save("chair", recipe("green", result="red"))
    assert len(found.history()) == 2
    assert found.read().job["units"] == job("green")["units"]
    assert len([*(found.folder / "pictures").iterdir()]) == 1


def test_a_new_recipe_that_was_interrupted_is_not_listed(library: Library, monkeypatch: Any) -> None:
    monkeypatch.setattr("lib_ctrlgen.recipes.versions.RecipeFolder.start", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        library.save("chair", recipe())
    assert (library.names(), [*library.folder.glob(".new*")]) == ([], [])


def test_changes_by_hand_become_a_version(library: Library) -> None:
    first = library.save("chair", recipe())
    path = library.folder / "chair" / "recipe.yaml"
    path.write_text(path.read_text("utf-8").replace("a chair", "a stool"), "utf-8")
    (path.parent / "notes.txt").write_text("mine")
    with library.changing("chair") as found:
        found.restore(first.id)
        assert [each.message for each in found.history()][1:] == ["Changed in the folder", "First version"]
        assert found.read(found.history()[1].id).job["prompt"] == "a stool"
    assert (path.parent / "notes.txt").read_text() == "mine"


def test_recipes_are_renamed_and_deleted(library: Library) -> None:
    library.save("chair", recipe())
    library.save("table", recipe())
    with pytest.raises(RequestError, match=r"\$\.new_name: there is a recipe 'table' already"):
        library.rename("chair", "Table")
    assert library.rename("chair", "Chair") == "Chair"
    library.delete("table")
    assert library.names() == ["Chair"]
    assert {path.name for path in library.folder.iterdir()} == {"Chair", LOCK}
    with pytest.raises(RequestError, match="there is no recipe 'table'"):
        library.delete("table")


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "..", ".git", "a/b", "a\\b", "-f", "CON", "nul.txt", "a:b", "end.", "a\0b", "a\u202eb"),
        *("x" * 81, "\ud800", "é" * 101, 5, "com¹", "a\nb", "a*"),
    ],
)
def test_names_that_cannot_be_folders_are_refused(name: Any) -> None:
    with pytest.raises(RequestError, match=r"^\$\.name"):
        recipe_name(name)


def test_names_are_normal_and_variants_are_branches() -> None:
    assert recipe_name(" Cafe\u0301 ") == "Caf\u00e9"
    for name in ("warm light", "@{-1}", "a..b", "x.lock", "红色", "50%25", "a~1^{}", "👩\u200d🎨"):
        branch = branch_of(name)
        assert variant_of(branch) == name
        assert (
            subprocess.run(["git", "check-ref-format", f"refs/heads/{branch}"], check=False).returncode == 0
        )


def test_several_threads_save_one_after_another(library: Library) -> None:
    threads = [Thread(target=library.save, args=("chair", recipe(prompt=f"{number}"))) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found = library.find("chair")
    assert len(found.history()) == 3
    assert {found.read(each.id).job["prompt"] for each in found.history()} == {"0", "1", "2"}


def test_no_hook_and_no_configuration_is_used(library: Library, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / ".gitconfig").write_text("[core]\n\teditor = false\n[commit]\n\tgpgSign = true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    library.save("chair", recipe())
    hooks = library.folder / "chair" / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "pre-commit").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    library.save("chair", recipe(prompt="again"))
    assert not (tmp_path / "ran").exists()


def test_a_damaged_repository_is_listed_with_its_error(library: Library) -> None:
    library.save("chair", recipe())
    library.save("table", recipe())
    (library.folder / "chair" / ".git" / "HEAD").write_text("broken")
    table, chair = library.listed()
    assert (table.name, chair.name, chair.version.id) == ("table", "chair", "")
    assert "git" in chair.version.message


def test_without_git_the_error_says_what_to_install(library: Library, monkeypatch: Any) -> None:
    monkeypatch.setenv("GIT", "no-such-program")
    with pytest.raises(HostError, match="install it"):
        library.save("chair", recipe())
    assert git_module.ADVICE.startswith("recipes keep their history with git")
