"""Recipes from infotexts and pictures, infotexts from recipes, and comparisons."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen.compat.infotext import read_infotext
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.infotext import describe
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.recipes.compare import compare
from lib_ctrlgen.recipes.content import Recipe, data_url, files_of
from lib_ctrlgen.recipes.found import PictureIndex
from lib_ctrlgen.recipes.from_picture import recipe_of_picture
from lib_ctrlgen.recipes.infotext import infotext_of, recipe_of
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.request.spec import parse_request
from tests.support.recipes import job, png, recipe

UNITS = job()["units"]
HASH = image_hash(UNITS[0]["image"])
ENTRY = describe(parse_request({"units": UNITS, "cfg_scale": "7>3"}))
TEXT = (
    "a chair, red\nNegative prompt: a (table:1.2)\n"
    "Steps: 12, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x640, "
    "Model hash: 0123456789, Model: dream, Denoising strength: 0.4, Hires upscale: 2, "
    f'Lora hashes: "a: 1, b: 2", CtrlGen: {json.dumps(ENTRY)}, Version: v1.10.1'
)


def picture(text: str, **more: str) -> bytes:
    info, stream = PngInfo(), io.BytesIO()
    for name, value in {"parameters": text, **more}.items():
        info.add_itxt(name, value)
    Image.new("RGB", (16, 16), "red").save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def exif_comment(comment: bytes) -> bytes:
    """EXIF data with a UserComment, big-endian: the main directory refers to the one with the comment."""
    head = struct.pack(">2sHL", b"MM", 42, 8)
    main = struct.pack(">HHHLLL", 1, 0x8769, 4, 1, 26, 0)
    other = struct.pack(">HHHLLL", 1, 0x9286, 7, len(comment), 44, 0)
    return b"Exif\0\0" + head + main + other + comment


def nothing(_digest: str) -> str:
    return ""


def test_an_infotext_becomes_a_job_and_settings_and_comes_back() -> None:
    control = {"units": UNITS, "cfg_scale": "7>3"}
    made = recipe_of(control, TEXT)
    found = made.recipe
    assert made.notes == ()
    expected = {"prompt": "a chair, red", "negative_prompt": "a (table:1.2)", "steps": 12, "seed": 42}
    expected |= {"sampler": "DPM++ 2M", "scheduler": "Karras", "width": 512, "height": 640}
    expected |= {"model": "dream [0123456789]", "cfg_scale": "7@0, 3@1", "units": UNITS}
    assert {name: found.job[name] for name in expected} == expected
    kept = {"CFG scale": "7", "Denoising strength": "0.4", "Hires upscale": "2", "Lora hashes": "a: 1, b: 2"}
    assert found.settings == kept
    again, before = read_infotext(infotext_of(found)), read_infotext(TEXT)
    assert (again.prompt, again.negative_prompt) == (before.prompt, before.negative_prompt)
    fields = {name: value for name, value in before.fields.items() if name != "Version"}
    assert json.loads(again.fields["CtrlGen"]) == json.loads(fields["CtrlGen"])
    assert dict(again.fields) | {"CtrlGen": fields["CtrlGen"]} == fields


def test_what_a_job_does_not_accept_is_kept_for_the_webui_and_told() -> None:
    text = TEXT.replace("DPM++ 2M", "Strange").replace("512x640", "512x8000").replace("Steps: 12", "Steps: x")
    made = recipe_of({"units": UNITS}, text)
    kept = {"Sampler": "Strange", "Size": "512x8000", "Steps": "x"}
    assert kept.items() <= made.recipe.settings.items()
    assert {note.split()[4] for note in made.notes} == {"sampler", "steps", "height"}
    assert kept.items() <= read_infotext(infotext_of(made.recipe)).fields.items()
    files_of(made.recipe)


def test_a_picture_becomes_a_recipe_with_pictures_of_the_library(tmp_path: Path) -> None:
    data = picture(TEXT)
    made = recipe_of_picture(data, nothing)
    assert made.notes == (f"$.units[0].image: the picture {HASH} is missing",)
    assert made.recipe.job["units"][0]["image"] == f"pictures/{HASH}.missing"
    assert made.recipe.result == data
    library = Library(tmp_path)
    library.save("half", made.recipe)
    assert library.find("half").read().missing == (HASH,)
    assert json.loads(read_infotext(infotext_of(made.recipe)).fields["CtrlGen"])["units"][0]["image"]
    library.save("other", recipe())
    whole = recipe_of_picture(data, PictureIndex(library).find)
    assert (whole.notes, whole.recipe.job["units"]) == ((), UNITS)


def test_a_picture_of_the_command_line_is_read_from_its_own_entry() -> None:
    written = job(prompt="own") | {"units": [{"model": "edges", "image": f"sha256:{HASH}"}]}
    written["units"][0]["params"] = {"embedding": "sha256:0123456789ab"}
    made = recipe_of_picture(
        picture("a chair\nSteps: 4", ctrlgen=json.dumps(written)), lambda _: data_url(png())
    )
    assert (made.recipe.job["prompt"], made.recipe.job["units"][0]["image"]) == ("own", UNITS[0]["image"])
    assert made.notes == ("$.units[0].params.embedding: the embedding is missing",)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_infotext_of_a_jpeg_or_webp_is_in_its_exif_data(kind: str) -> None:
    stream = io.BytesIO()
    comment = exif_comment(b"UNICODE\0" + TEXT.encode("utf-16-be"))
    Image.new("RGB", (16, 16)).save(stream, kind, exif=comment)
    made = recipe_of_picture(stream.getvalue(), nothing)
    assert made.recipe.job["prompt"] == "a chair, red"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x", r"\$\.picture: no readable picture"),
        (png(), "no infotext"),
        (picture("a chair\nSteps: 4, Seed: 1, Size: 8x8"), "no entry of CtrlGen"),
        (picture("a\nSteps: 4, CtrlGen: {"), "is no JSON"),
        (picture("a\nSteps: 4, CtrlGen: []"), "is no request"),
        (picture("", ctrlgen='{"units": [{"model": "m", "image": "/etc/passwd"}]}'), "expected the hash"),
        (picture("", ctrlgen='{"units": [{"model": "m", "image": "sha:../../x"}]}'), "expected the hash"),
        (picture("", ctrlgen='{"units": [{"mode": "m"}]}'), r"\$\.units\[0\]\.mode"),
    ],
)
def test_pictures_without_a_readable_recipe_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        recipe_of_picture(data, nothing)


def test_two_recipes_are_compared_as_text_and_as_pictures() -> None:
    old = files_of(Recipe(job=job("red"), result=png("black", (20, 10))))
    new = files_of(Recipe(job=job("blue", prompt="a stool"), result=png("#0a0000", (10, 10))))
    found = compare(old, new, ("old", "new"))
    assert "-prompt: a chair\n+prompt: a stool" in found.text
    assert found.text.startswith("--- old/recipe.yaml\n+++ new/recipe.yaml")
    by_place: dict[str, Any] = {each.place: each for each in found.pictures}
    assert by_place.keys() == {"result", "$.units[0].image"}
    result = by_place["result"]
    assert (result.largest, result.image.size) == (10, (20 + 8 + 10 + 8 + 20, 10))
    assert [result.image.getpixel((x, 5)) for x in (5, 30, 60)] == [(0, 0, 0), (10, 0, 0), (10, 0, 0)]
    assert by_place["$.units[0].image"].largest == 255
    same = compare(old, old)
    assert (same.text, [each.largest for each in same.pictures]) == ("", [0])
