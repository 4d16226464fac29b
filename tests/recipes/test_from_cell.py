"""A cell of a tuner's run becomes a recipe, with the pictures of its units from the run's folder."""

import json
from pathlib import Path

import pytest
from PIL import Image

from lib_ctrlgen.controls.recorded import described
from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import png_text
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.recipes.from_cell import cell_picture, save_cell
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.recipe import save_pictures
from tests.support.recipes import job

KEY = "0f3a5c7e9b1d2468"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "recipes")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with one cell, as the WebUI (picture 0) and `ctrlgen tune` (picture 1) write it."""
    folder, request = tmp_path / "run", parse_request(job(), GenerationRequest)
    save_pictures([request, request], folder)
    (folder / "cells").mkdir()
    control = json.dumps({"units": described(request, "sha", whole=True)["units"]})
    infotext = f"a chair\nSteps: 4, Sampler: Euler, Seed: 5, Size: 64x64, CtrlGen: {json.dumps(control)}"
    own = json.dumps(described(request, "sha256", whole=True) | {"seed": 6})
    for number, info in enumerate((png_text(infotext), png_text("a", ctrlgen=own))):
        image = Image.new("RGB", (8, 8), ("blue", "green")[number])
        image.save(folder / "cells" / f"{KEY}-{number:02}-seed-{5 + number}.png", pnginfo=info)
    cells = [{"files": []}, {"files": [f"cells/{KEY}-00-seed-5.png", f"cells/{KEY}-01-seed-6.png"]}]
    (folder / "cells.json").write_text(json.dumps({"cells": cells, "recommended": {"cell": 1}}), "utf-8")
    return folder


def test_cells_of_both_hosts_are_saved_with_pictures_and_results(library: Library, run: Path) -> None:
    digest = image_hash(job()["units"][0]["image"])
    assert (run / "pictures" / f"{digest}.png").is_file()
    for number, seed in enumerate((5, 6)):
        picture = cell_picture(run, KEY, number)
        saved = save_cell(library, "chair", picture)
        assert (saved.name, saved.notes) == ("chair", ())
        assert saved.version.message == f"The cell {KEY}-{number:02}-seed-{seed}"
        read = library.find("chair").read()
        assert (read.job["seed"], read.job["units"], read.missing) == (seed, job()["units"], ())
        assert read.result == picture.read_bytes()
    assert len(library.find("chair").history()) == 2
    assert cell_picture(run) == run / "cells" / f"{KEY}-00-seed-5.png"


def test_a_picture_that_is_missing_or_another_one_is_said(library: Library, run: Path) -> None:
    (picture,) = (run / "pictures").iterdir()
    Image.new("RGB", (8, 8), "yellow").save(picture)
    saved = save_cell(library, "chair", cell_picture(run))
    assert picture.stem in " ".join(saved.notes)
    assert library.find("chair").read().missing == (picture.stem,)


def test_wrong_cells_are_refused(library: Library, run: Path, tmp_path: Path) -> None:
    for cell in ("../secret", "*", KEY.upper(), "1" * 16):
        with pytest.raises(RequestError, match=r"^\$\.cell"):
            cell_picture(run, cell)
    for number in (-1, 2):
        with pytest.raises(RequestError, match=r"^\$\.picture: the cell has 2 pictures"):
            cell_picture(run, KEY, number)
    (run / "cells.json").write_text('{"cells": [], "recommended": null}', "utf-8")
    with pytest.raises(RequestError, match="recommends no cell"):
        cell_picture(run)
    with pytest.raises(HostError, match="cannot read"):
        save_cell(library, "chair", tmp_path / "nothing.png")
    with pytest.raises(RequestError, match=r"^\$\.name"):
        save_cell(library, "../chair", cell_picture(run, KEY))
    Image.new("RGB", (8, 8)).save(run / "cells" / "plain.png")
    with pytest.raises(RequestError, match="no infotext"):
        save_cell(library, "chair", run / "cells" / "plain.png")
    assert library.names() == []
