"""A model's name in a request finds one model, or the error lists the similar names."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models import weight_files
from lib_ctrlgen.models.model_files import ModelFiles
from lib_ctrlgen.models.scan import ModelFile
from lib_ctrlgen.models.weight_files import hash8, sha256, short_hash
from lib_ctrlgen.request.names import matching

BIG = weight_files.HASHED_AT + weight_files.HASHED_BYTES


def write(root: Path, **contents: bytes) -> ModelFiles:
    """Model files by name, `__` for a slash; without suffix they are safetensors."""
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path = path if path.suffix else path.with_name(f"{path.name}.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return ModelFiles([root])


TINY = {"ctrlgen-tiny-edges": b"e", "ctrlgen-tiny-depth": b"d", "ctrlgen-tiny-ip": b"i"}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("ctrlgen-tiny", TINY),
        ("tiny-edges", ["ctrlgen-tiny-edges"]),
        ("CTRLGEN-TINY-EDGES.PTH", ["ctrlgen-tiny-edges"]),
        ("-", TINY),
    ],
)
def test_a_part_of_several_names_is_refused_and_lists_them(
    tmp_path: Path, text: str, fits: list[str]
) -> None:
    files = write(tmp_path, **TINY)
    if len(fits) == 1:
        assert files.find(text).stem == fits[0]
        return
    with pytest.raises(ModelError, match="several models") as caught:
        files.find(text)
    assert all(name in str(caught.value) for name in fits)


def test_an_exact_name_wins_over_longer_ones_and_the_better_spelling_over_others(tmp_path: Path) -> None:
    files = write(
        tmp_path, canny=b"1", canny_small=b"2", sub__Depth=b"3", other__depth=b"4", p__x=b"5", q__x=b"6"
    )
    assert files.find("canny").stem == "canny"
    assert files.find("Depth").parent.name == "sub"
    assert files.find("depth").parent.name == "other"
    with pytest.raises(ModelError, match="sub/Depth"):
        files.find("DEPTH")
    with pytest.raises(ModelError, match="p/x, q/x"):
        files.find("x")


NAMES = st.lists(
    st.text(st.sampled_from("aAb. -[]()"), min_size=1, max_size=6).filter(lambda name: name.strip() == name),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(NAMES, st.text(st.sampled_from("aAb. -[]/"), max_size=8))
def test_matches_hold_the_text_and_an_exact_name_is_alone(names: list[str], text: str) -> None:
    found = matching(text, names)
    assert set(found) <= set(names)
    if text.strip() in names:
        assert found == [text.strip()]
    assert all(matching(name, names) == [name] for name in names)


@example({"a": b"1", "a ": b"2"})
@example({".": b"1"})
@given(st.dictionaries(st.text("aAb.-[] ", min_size=1, max_size=5).filter(str.strip), st.binary(max_size=2)))
def test_what_is_recorded_finds_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    """Whatever the names hold, brackets and dots included."""
    root = tmp_path_factory.mktemp("names")
    for name, content in contents.items():
        (root / f"{name}.pth").write_bytes(content)
    files = ModelFiles([root])
    for name in files.names():
        path = files.find(name)
        assert files.find(files.label(path)) == path
        assert files.name(path) == name


def test_a_hash_is_checked_whichever_kind_it_is(tmp_path: Path) -> None:
    files = write(tmp_path, big=b"b" * BIG + b"end", small=b"s")
    big, small = files.find("big"), files.find("small")
    for digest in (hash8(big), sha256(big)[:10], sha256(big), sha256(big)[:8].upper()):
        assert files.find(f"big [{digest}]") == big
    assert files.label(big) == f"big [{hash8(big)}]"
    assert files.label(small) == f"small [{sha256(small)[:10]}]"
    assert files.find(f"small [{hash8(small)}]") == small, (
        "the old extension's hash, the same for all small files"
    )
    for wrong in ("abcd1234", "abcd123456"):
        with pytest.raises(ModelError, match="hash") as caught:
            files.find(f"big [{wrong}]")
        assert files.label(big) in str(caught.value)
    with pytest.raises(ModelError, match="no model named"):
        files.find("[abcd1234]")


def test_a_hash_chooses_among_files_and_finds_a_renamed_one(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    write(first, a=b"1", sub__part=b"2")
    write(second, a=b"3", other__part=b"4")
    files = ModelFiles([first, second])
    assert files.find("a").read_bytes() == b"1"
    assert files.find(f"a [{short_hash(second / 'a.safetensors')}]").read_bytes() == b"3"
    part = second / "other" / "part.safetensors"
    assert files.find(f"part [{short_hash(part)}]") == part
    part.rename(second / "renamed.safetensors")
    files.refresh()
    assert files.find(f"other/part [{short_hash(second / 'renamed.safetensors')}]").stem == "renamed"


def test_a_hash_is_computed_once_for_each_state_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path, a=b"1")
    path, counted = files.find("a"), []

    def counting(path: Path) -> str:
        counted.append(path)
        return sha256(path)[:10]

    monkeypatch.setattr("lib_ctrlgen.models.model_files.short_hash", counting)
    first = [files.label(path) for _ in range(3)]
    path.write_bytes(b"2")
    os.utime(path, ns=(1, 1))
    assert len({*first, files.label(path)}) == 2
    assert len(counted) == 2


def test_files_that_differ_in_their_suffix_alone_are_both_listed(tmp_path: Path) -> None:
    files = write(tmp_path, **{"a.pth": b"1", "a.safetensors": b"2", "b.ckpt": b"3"})
    assert files.names() == ["a.pth", "a.safetensors", "b"]
    assert files.find("a.pth").read_bytes() == b"1"
    with pytest.raises(ModelError, match=r"a\.pth, a\.safetensors"):
        files.find("a")


def test_the_forms_of_a_diffusers_network_are_one_model(tmp_path: Path) -> None:
    stem = "net/diffusion_pytorch_model"
    forms = {f"{stem}.bin": b"1", f"{stem}.fp16.safetensors": b"2", f"{stem}.safetensors": b"3"}
    files = write(tmp_path, **forms, net=b"4")
    assert files.names() == ["net", "net.safetensors"]
    assert files.find("net").read_bytes() == b"3"
    assert files.find("net.safetensors").read_bytes() == b"4"


def test_pipelines_are_checkpoints_and_hide_their_parts(tmp_path: Path) -> None:
    files = write(tmp_path, xl__unet__diffusion_pytorch_model=b"u", **{"tiny": b"c", "xl-depth": b"d"})
    (tmp_path / "xl" / "unet" / "config.json").write_text("{}")
    (tmp_path / "xl" / "model_index.json").write_text("{}")
    assert files.find_checkpoint("xl") == tmp_path / "xl"
    assert files.find_checkpoint("XL") == tmp_path / "xl"
    label = files.label(tmp_path / "xl")
    assert files.find_checkpoint(label) == tmp_path / "xl"
    with pytest.raises(ModelError, match="hash"):
        files.find_checkpoint("xl [01234567]")
    with pytest.raises(ModelError, match="no model named"):
        files.find_checkpoint("unet")


def test_one_file_under_two_names_is_not_several(tmp_path: Path) -> None:
    files = write(tmp_path, sub__edges=b"1")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "edges.safetensors").symlink_to(tmp_path / "sub" / "edges.safetensors")
    files.refresh()
    assert files.find("edges").resolve() == tmp_path / "sub" / "edges.safetensors"


def test_a_link_is_recorded_by_its_own_name(tmp_path: Path) -> None:
    files = write(tmp_path, edges=b"1")
    (tmp_path / "another.safetensors").symlink_to(tmp_path / "edges.safetensors")
    files.refresh()
    assert [files.label(files.find(name)).split()[0] for name in files.names()] == ["another", "edges"]


def test_hidden_files_are_no_models(tmp_path: Path) -> None:
    """macOS leaves `._name` beside every file that it copies to another kind of disk."""
    contents = {"edges": b"1", "._edges": b"2", ".cache__edges": b"3"}
    assert write(tmp_path / ".models", **contents).names() == ["edges"]


def test_a_name_that_is_no_utf8_is_listed_as_text_and_found(tmp_path: Path) -> None:
    """One such file must not keep the others from the page and from the API's answers."""
    files = write(tmp_path, edges=b"1")
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.pth")).write_bytes(b"2")
    except OSError:
        pytest.skip("this disk takes UTF-8 names only")
    assert json.dumps(files.names(), ensure_ascii=False).encode() == rb'["caf\\xe9", "edges"]'
    label = files.label(files.find(r"caf\xe9"))
    assert files.find(label).read_bytes() == b"2"


def test_other_lists_are_chosen_from_in_the_same_way(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.bin" for name in ("h", "g")}
    for name, path in paths.items():
        path.write_bytes(name.encode())
    encoders = [ModelFile("clip/vit-h", paths["h"]), ModelFile("clip/vit-g", paths["g"])]
    files = ModelFiles([tmp_path])
    assert files.choose("VIT-H", encoders, "image encoder") == paths["h"]
    with pytest.raises(ModelError, match="several image encoders: clip/vit-g, clip/vit-h"):
        files.choose("vit", encoders, "image encoder")
