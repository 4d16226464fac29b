"""The accordion "Recipes" on fake components: save the panel, load it again, compare, share."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lib_ctrlgen.forms.infotext import describe
from lib_ctrlgen.forms.unit_fields import stated_request
from lib_ctrlgen.recipes.content import data_url
from lib_ctrlgen.recipes.library import Library
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh, parse_generation_parameters
from tests.support.recipes import png

RED = Image.new("RGB", (8, 8), "red")
POSE = '{"people": [], "canvas_width": 8, "canvas_height": 8}'
FIELDS = {"Steps": "4", "Sampler": "Euler", "Seed": "7", "Size": "64x64", "CFG scale": "5"}


class Page:
    """The panel with its fake components, which a test fills and whose buttons it presses."""

    def __init__(self, host: FakeWebUI, folder: Path) -> None:
        info = SimpleNamespace(name_for_extra="dream", shorthash="0123456789")
        host.model.sd_checkpoint_info = info
        self.library = Library(folder / "ctrlgen-recipes")
        self.panel = fresh("panel.panel").build_panel("txt2img")
        self.parts = {c.elem_id: c for c in Component.made if c.elem_id}

    def fill(self, **values: Any) -> None:
        for name, value in values.items():
            self.parts[f"ctrlgen_txt2img_{name}"].value = value

    def values(self) -> list[Any]:
        return [component.value for component in self.panel.components]

    def press(self, name: str, *values: Any, event: int = 0) -> list[Any]:
        result: Any = self.parts[f"ctrlgen_txt2img_recipe_{name}"].events[event][0](*values)
        return list(result)

    def save(self, name: str, *, infotext: str = "", picture: bytes = b"", **more: Any) -> str:
        page = {"prompt": "a chair", "negative_prompt": "red", "fields": FIELDS, "infotext": infotext}
        page |= {"picture": data_url(picture) if picture else "", **more}
        note, *_ = self.press("save", json.dumps(page), name, "", *self.values())
        return str(note)

    def made_infotext(self) -> str:
        """The infotext of a picture that the panel made."""
        entry = describe(stated_request(self.values())).replace('"edges"', '"edges [8f9a6934]"')
        return f"a chair\nSteps: 9, Sampler: Euler, Seed: 3, Size: 64x64, CtrlGen: {json.dumps(entry)}"

    def load(self, name: str, version: str = "") -> str:
        """Load a recipe as the page does: its infotext is pasted, then its pictures follow."""
        text, note = self.press("load", name, version)
        params = parse_generation_parameters(text)
        updates = [(part, function(params)) for part, function in self.panel.paste_fields]
        for part, update in updates:
            if update is not None:
                part.value = update["value"]
        token = self.parts["ctrlgen_txt2img_recipe_token"]
        function, options = token.events[0]
        _, *filled = function(token.value)
        for part, update in zip(options["outputs"][1:], filled, strict=True):
            part.value = update["value"]
        return str(note)


@pytest.fixture
def page(host: FakeWebUI, tmp_path: Path) -> Page:
    return Page(host, tmp_path)


def unit(number: int = 0, **values: Any) -> dict[str, Any]:
    return {f"unit{number}_{name}": value for name, value in values.items()}


def test_the_panel_is_saved_and_comes_back_with_its_pictures(
    page: Page, host: FakeWebUI, tmp_path: Path
) -> None:
    for name, colour in (("b", "blue"), ("a", "green")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    many = [SimpleNamespace(name=str(tmp_path / f"{name}.png")) for name in ("a", "b")]
    page.fill(**unit(enabled=True, model="edges", image=RED, mask=RED, weight_schedule="1>0"))
    page.fill(**unit(1, enabled=True, model="tags", images=many))
    page.fill(blend_mode="prediction", concept0_used=True, concept0_prompt="a", concept0_mask=RED)
    page.fill(concept1_used=True, concept1_prompt="b", cfg_scale="7>3")
    assert "saved without a picture" in page.save("chair")
    job = page.library.find("chair").read().job
    expected = {
        "prompt": "a chair",
        "steps": 4,
        "seed": 7,
        "model": "dream [0123456789]",
        "cfg_scale": "7@0, 3@1",
    }
    assert {name: job[name] for name in expected} == expected
    before = stated_request(page.values())

    cleared = Page(host, tmp_path)
    note = cleared.load("chair")
    assert "made with the checkpoint dream 0123456789" in note
    values = {name.removeprefix("ctrlgen_txt2img_"): c.value for name, c in cleared.parts.items()}
    assert Image.open(values["unit0_image"]).getpixel((0, 0)) == (255, 0, 0)
    assert [Image.open(path).getpixel((0, 0)) for path in values["unit1_images"]] == [
        (0, 128, 0),
        (0, 0, 255),
    ]
    assert (values["unit0_weight_schedule"], values["cfg_scale"]) == ("1@0, 0@1", "7@0, 3@1")
    for name in ("unit0_image", "unit0_mask", "concept0_mask"):
        cleared.fill(**{name: Image.open(values[name])})
    cleared.fill(unit1_images=[SimpleNamespace(name=path) for path in values["unit1_images"]])
    after = stated_request(cleared.values())
    assert json.loads(describe(after)) == json.loads(describe(before))


def test_the_gallerys_picture_is_saved_if_the_panel_made_it(page: Page) -> None:
    page.fill(**unit(enabled=True, model="edges", image=RED, preprocessor="canny"))
    text = page.made_infotext()
    assert "without" not in page.save("chair", infotext=text, picture=png("blue"))
    read = page.library.find("chair").read()
    assert (read.result, read.job["seed"], read.job["steps"]) == (png("blue"), 3, 9)
    assert read.job["units"][0]["model"] == "edges [8f9a6934]"
    page.fill(unit0_weight=0.5)
    assert "made with other units" in page.save("chair", infotext=text, picture=png("blue"))
    read = page.library.find("chair").read()
    assert (read.result, read.job["seed"], read.job["units"][0]["weight"]) == (b"", 7, 0.5)
    page.fill(unit0_image=None, unit0_use_init_image=True)
    assert "its picture from init is not saved" in page.save("chair")


def test_a_pose_comes_back_as_the_units_pose(page: Page) -> None:
    page.fill(**unit(enabled=True, model="edges", preprocessor="openpose_json", pose=POSE))
    page.save("pose")
    page.fill(**unit(pose="", image=RED))
    page.load("pose")
    parts = page.parts
    assert json.loads(parts["ctrlgen_txt2img_unit0_pose"].value) == json.loads(POSE)
    assert parts["ctrlgen_txt2img_unit0_image"].value is None


def test_versions_variants_zips_and_comparisons(page: Page, tmp_path: Path) -> None:
    page.fill(**unit(enabled=True, model="edges", image=RED))
    page.save("Küche", infotext=page.made_infotext(), picture=png("blue"))
    page.fill(unit0_image=Image.new("RGB", (8, 8), "blue"))
    page.save("Küche", infotext=page.made_infotext(), picture=png("green"))
    listed, variants, _ = page.press("name", "Küche")
    old = listed["choices"][2]
    assert variants["value"] == "main"
    text, pairs, _ = page.press("compare", "Küche", old, "")
    assert "recipe.yaml" in text
    assert pairs["value"][0][1].startswith("result: at most")
    *_, note = page.press("restore", "Küche", old)
    assert "Restored version" in note
    *_, note = page.press("switch", "Küche", "night")
    assert "&#x27;night&#x27;" in note
    assert page.library.find("Küche").variant == "night"
    file, note = page.press("export", "Küche", "the newest")
    assert Path(file["value"]).name == "Küche.zip"
    note, names, others, gallery = page.press("import", SimpleNamespace(name=file["value"]))
    assert ("Küche 2" in note, names["value"], others["choices"]) == (
        True,
        "Küche 2",
        ["", "Küche", "Küche 2"],
    )
    assert {name for _, name in gallery} == {"Küche", "Küche 2"}
    assert page.press("refresh")[1]["choices"] == ["Küche", "Küche 2"]


def test_a_recipe_is_renamed_and_deleted(page: Page) -> None:
    page.fill(**unit(enabled=True, model="edges", image=RED))
    page.save("chair")
    page.save("table")
    note = page.press("rename", "chair", "table")[0]
    assert ">New name of the recipe: there is a recipe &#x27;table&#x27; already" in note
    assert ">Compare with: there is no recipe" in page.press("compare", "chair", "", "desk")[-1]
    note, names, others, gallery = page.press("rename", "chair", "Sessel")
    assert ("Renamed" in note, names["value"]) == (True, "Sessel")
    assert (others["choices"], len(gallery)) == (["", "Sessel", "table"], 2)
    assert "Nothing was deleted" in page.press("delete", "")[0]
    note, names, *_ = page.press("delete", "Sessel")
    assert ("Deleted" in note, names["choices"], names["value"]) == (True, ["table"], None)
    listed, variants, _ = page.press("name", None)
    assert (listed["choices"], variants["choices"]) == (["the newest"], [])
    assert page.library.names() == ["table"]


def test_mistakes_are_shown(page: Page, tmp_path: Path) -> None:
    wrong = [page.press(name, "", "") for name in ("load", "restore", "switch", "export")]
    assert all(">Recipe: Choose a recipe first.<" in found[-1] for found in wrong)
    assert all("ctrlgen_{tab}_recipe_name" in found[-1] for found in wrong)
    assert ">Recipe: there is no recipe &#x27;x&#x27;" in page.press("compare", "x", "", "")[-1]
    assert ">Save as: &#x27;a/b&#x27; cannot be used" in page.save("a/b")
    page.fill(**unit(enabled=True))
    assert "choose a model in the unit" in page.save("chair")
    (tmp_path / "evil.zip").write_bytes(b"PK")
    note = page.press("import", SimpleNamespace(name=str(tmp_path / "evil.zip")))[0]
    assert ">Recipes: this is no zip of a recipe" in note
    assert "ctrlgen_{tab}_recipe_gallery" in note
    token = page.parts["ctrlgen_txt2img_recipe_token"].events[0][0]
    assert "names no recipe" in token("../../x")[0]
    assert ">Recipe: there is no recipe" in token(f"{'0' * 40}/1/x")[0]
    assert page.library.names() == []


def test_a_folder_that_cannot_be_read_does_not_take_the_panel_away(
    host: FakeWebUI, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "ctrlgen-recipes").mkdir()

    def refused(_path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lib_ctrlgen.recipes.names.is_recipe", refused)
    (tmp_path / "ctrlgen-recipes" / "chair").mkdir()
    page = Page(host, tmp_path)
    assert "cannot read the recipes" in page.press("refresh")[0]
