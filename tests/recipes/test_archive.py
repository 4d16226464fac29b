"""A recipe's zip, and zips of strangers: whatever is in them, nothing is written but a recipe, or nothing."""

import io
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.job_text import yaml_text
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.recipes.archive import read_zip, write_zip
from lib_ctrlgen.recipes.content import files_of, is_file
from lib_ctrlgen.recipes.library import Library
from tests.support.properties import examples
from tests.support.recipes import job, png, recipe, zip_of

FILES = files_of(recipe("red", result="blue"))
RECIPE = FILES["recipe.yaml"]
PICTURE = next(name for name in FILES if name.startswith("pictures/"))
HASH = image_hash(job()["units"][0]["image"])


def refused(data: bytes, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        read_zip(data)


def with_file(name: str, data: bytes = b"x") -> bytes:
    return zip_of({**FILES, name: data})


def changed(old: str, new: str) -> bytes:
    assert old in RECIPE.decode()
    return zip_of({**FILES, "recipe.yaml": RECIPE.decode().replace(old, new).encode()})


def test_a_recipe_comes_back_from_its_zip_under_a_free_name(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.save("chair", recipe("red", result="blue"))
    packed = write_zip(library.find("chair").files("HEAD"))
    files, read = read_zip(packed)
    assert write_zip(files) == packed, "the same recipe is the same zip"
    assert library.add("Chair", files, "Imported") == "Chair 2"
    assert library.find("Chair 2").read() == read
    assert read.job["units"] == job()["units"]
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert {entry.filename for entry in archive.infolist()} == {"recipe.yaml", PICTURE, "result.png"}
    again = {"pictures/": b"", **files}
    assert read_zip(zip_of(again))[0] == files, "a folder's own entry is no file"


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "/etc/passwd", "pictures/../../evil.png", "C:\\evil", "..\\evil", "pictures\\..\\x.png"),
        *(".git/config", ".git/hooks/pre-commit", "pictures/.git/config", ".gitattributes", ".gitmodules"),
        *(
            "NUL",
            "CON.png",
            "pictures/aux.png",
            "recipe.yaml/",
            "recipe.yaml\0.png",
            "RECIPE.YAML",
            "./recipe.yaml",
        ),
        *(
            "pictures/0123456789ab.svg",
            "pictures/0123456789ab.png/x",
            "result.gif",
            "install.py",
            "a\nb",
            "é",
        ),
    ],
)
def test_names_that_are_no_file_of_a_recipe_are_refused(name: str) -> None:
    refused(with_file(name), "no file of a recipe|damaged|cannot be read")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFDIR])
def test_links_devices_and_folders_are_refused(kind: int) -> None:
    refused(zip_of(FILES, kind | 0o777), "a link, a folder or a device")


def test_sizes_counts_and_ratios_are_limited(monkeypatch: Any) -> None:
    module = "lib_ctrlgen.recipes.archive"
    refused(with_file("webui.yaml", b" " * (3 << 20)), "larger than 1 MB")
    refused(with_file("result.png", bytes(3 << 20)), "unpacks to over 200 times")
    refused(zip_of({f"pictures/{number:012x}.png": b"x" for number in range(501)}), "501 entries")
    for name, value, words in (
        ("LARGEST", 40, "unpacks to more than"),
        ("LARGEST_FILE", 20, "is larger than"),
        ("LARGEST_ZIP", 100, "the zip is larger"),
        ("LARGEST_LIST", 10, "entries"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.{name}", value)
            refused(write_zip(FILES), words)


def test_other_kinds_of_zips_are_refused() -> None:
    packed = write_zip(FILES)
    refused(b"", "no zip")
    refused(packed[:-1], "no zip")
    refused(packed + b"x", "no zip")
    refused(packed[: len(packed) // 2] + packed[-22:], "damaged|cannot be read")
    refused(zip_of(FILES, method=zipfile.ZIP_LZMA), "another way than deflate")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    refused(packed[:-22] + locator + packed[-22:], "ZIP64")
    encrypted = bytearray(packed)
    encrypted[packed.index(b"PK\x01\x02") + 8] |= 1
    refused(bytes(encrypted), "encrypted")
    twice = zip_of({"recipe.yaml": RECIPE, "recipe.yamL": RECIPE}).replace(b"recipe.yamL", b"recipe.yaml")
    refused(twice, "two entries")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("prompt: a chair", "prompt: !!python/object/apply:os.system [touch /tmp/x]", "not YAML"),
        ("prompt: a chair", "prompt: &a [x]\nnegative_prompt: *a", "no aliases"),
        ("prompt: a chair", "prompt: " + "[" * 30 + "]" * 30, "nested more than"),
        ("sampler: DPM++ 2M", "sampler: no such", r"\$\.sampler"),
        ("prompt: a chair", "prompt: [" + "a, " * 30_000 + "]", "more than 20000 values"),
        ("prompt: a chair", "hooks: x", r"\$\.hooks"),
        (PICTURE, "/etc/passwd", r"\$\.units\[0\]\.image: '/etc/passwd' is no picture of the recipe"),
        (PICTURE, "../../secret.png", "is no picture of the recipe"),
        (PICTURE, "[a]", "expected a text"),
        ("edges [0123abcd]", "/home/x/edges.pth", r"\$\.units\[0\]\.model.*not by paths"),
        ("edges [0123abcd]", "../edges", "not by paths"),
        (
            "edges [0123abcd]",
            "x\n  params: {image_encoder: '\\\\server\\x'}",
            r"params\.image_encoder.*paths",
        ),
        (HASH, "0123456789ab", "not named in recipe.yaml"),
    ],
)
def test_a_job_that_reaches_out_of_its_recipe_is_refused(old: str, new: str, words: str) -> None:
    refused(changed(old, new), words)


def test_pictures_are_what_they_say() -> None:
    refused(zip_of({**FILES, PICTURE: png("green")}), "it is not the picture that the recipe names")
    refused(zip_of({**FILES, PICTURE: b"<svg>"}), r"\$\.units\[0\]\.image.*SVG")
    refused(with_file("result.png", b"<script>"), r"\$\.result")
    refused(zip_of({**FILES, "result.webp": png()}), r"\$\.result")
    refused(with_file("webui.yaml", b"'a, b': c"), "no name of a setting")
    refused(with_file("webui.yaml", b"Hires upscale: 2"), "expected a text")
    refused(with_file("webui.yaml", b"- a"), "expected a mapping")
    refused(zip_of({"result.png": png()}), "no recipe.yaml")


def test_a_picture_that_is_not_there_is_told() -> None:
    files = {name: data for name, data in FILES.items() if name != PICTURE}
    assert read_zip(zip_of(files))[1].missing == (HASH,)


NAMES = st.one_of(st.sampled_from([*FILES, "webui.yaml", "../x", ".git/config"]), st.text(max_size=12))


@given(st.dictionaries(NAMES.filter(bool), st.sampled_from([*FILES.values(), b"", b"a: b"]), max_size=4))
@examples(25)
def test_whatever_is_in_a_zip_it_is_a_recipe_or_an_error(entries: dict[str, bytes]) -> None:
    try:
        packed = zip_of(entries)
    except (UnicodeEncodeError, ValueError):
        return  # such a zip cannot be written
    try:
        files, _ = read_zip(packed)
    except RequestError:
        return
    assert all(is_file(name) for name in files)


@given(st.lists(st.tuples(st.integers(0, len(write_zip(FILES)) - 1), st.integers(0, 255)), max_size=6))
@examples(60)
def test_a_damaged_zip_is_a_recipe_or_an_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(write_zip(FILES))
    for place, value in changes:
        data[place] = value
    try:
        files, _ = read_zip(bytes(data))
    except RequestError:
        return
    assert all(is_file(name) for name in files)


@given(
    st.dictionaries(st.text(max_size=20), st.recursive(st.none() | st.text(max_size=9), st.lists), max_size=4)
)
@examples(25)
def test_whatever_a_job_holds_it_is_read_or_refused(content: dict[str, Any]) -> None:
    try:
        read_zip(zip_of({"recipe.yaml": yaml_text(content).encode("utf-8", "replace")}))
    except RequestError:
        return
    assert content.keys() <= {"prompt", "negative_prompt", "model"} or not content
