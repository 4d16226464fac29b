"""Embeddings in their three forms, wrong ones, and any text at all."""

import base64
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.faces.embeddings import (
    MAX_CHARACTERS,
    Embeddings,
    encoded,
    read_embedding,
    read_embeddings,
    save_embedding,
)
from lib_ctrlgen.faces.face import WIDTH

FACE, OTHER = (tuple(map(float, np.random.default_rng(n).normal(size=WIDTH).astype("<f4"))) for n in (1, 2))


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def file_of(**tensors: Any) -> str:
    return text_of(save({name: torch.as_tensor(value) for name, value in tensors.items()}))


def packed(*faces: tuple[float, ...]) -> str:
    return text_of(np.asarray(faces, "<f4").tobytes())


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(FACE),
        json.dumps([FACE]),
        packed(FACE),
        f" {packed(FACE)}\n",
        packed(FACE).rstrip("=").translate(str.maketrans("+/", "-_")),
        encoded([FACE]),
        f"data:application/octet-stream;base64,{encoded([FACE])}",
        file_of(embedding=torch.tensor(FACE), other=torch.zeros(3)),
        file_of(embedding=torch.tensor([FACE], dtype=torch.float64)),
    ],
)
def test_one_embedding_in_every_form(text: str) -> None:
    assert read_embedding(text, "$") == pytest.approx(FACE, abs=1e-6)


@pytest.mark.parametrize("text", [json.dumps([FACE, OTHER]), packed(FACE, OTHER), encoded([FACE, OTHER])])
def test_several_embeddings(text: str) -> None:
    first, second = read_embeddings(text, "$").values
    assert first == pytest.approx(FACE, abs=1e-6)
    assert second == pytest.approx(OTHER, abs=1e-6)
    with pytest.raises(RequestError, match="of one face, got 2"):
        read_embedding(text, "$")


def test_a_saved_file_says_what_made_it() -> None:
    content = save_embedding([FACE, OTHER], "buffalo_l", "w600k_r50.onnx")
    assert torch.equal(load(content)["embedding"], torch.tensor([FACE, OTHER]))
    assert content == save_embedding([FACE, OTHER], "buffalo_l", "w600k_r50.onnx")
    found = read_embeddings(text_of(content), "$", "buffalo_l")
    assert (found.pack, found.recogniser) == ("buffalo_l", "w600k_r50.onnx")
    with pytest.raises(RequestError, match="'buffalo_l', and here 'antelopev2' is needed"):
        read_embeddings(text_of(content), "$", "antelopev2")
    assert read_embeddings(encoded([FACE]), "$", "antelopev2").pack == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read(dtype: torch.dtype) -> None:
    assert read_embedding(file_of(embedding=torch.tensor(FACE, dtype=dtype)), "$") == pytest.approx(
        FACE, abs=0.02
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no safetensors file|512 finite numbers"),
        ("[]", "expected 1..64 embeddings, got 0"),
        ("[[]]", "512 finite numbers, these are 0"),
        ("[1, 2]", "512 finite numbers, these are 2"),
        ("[[1, 2], [3]]", "these are 2"),
        (json.dumps((*FACE[:-1], "x")), "something else than numbers"),
        (json.dumps([FACE, 3]), "something else than numbers"),
        (json.dumps([True] * WIDTH), "something else than numbers"),
        (json.dumps([*FACE[:-1], 10**400]), "not a JSON list|too large"),
        ("[1, ", "not a JSON list"),
        ("[" * 100_000, "not a JSON list"),
        (json.dumps([0.0] * WIDTH), "no face was found"),
        (json.dumps([1e-200] * WIDTH), "no face was found"),
        (json.dumps([FACE, [0] * WIDTH]), "no face was found"),
        (json.dumps([1e39] * WIDTH), "finite"),
        (packed((*FACE[:-1], float("nan"))), "finite"),
        (packed(FACE[:-9]), "finite numbers, these are"),
        ("!!", "neither a JSON list nor base64"),
        ("data:text/plain,abc", "data URL must be base64"),
        (text_of(b"abc"), "3 bytes"),
        (file_of(face=torch.tensor(FACE)), "no tensor 'embedding', it has face"),
        (file_of(embedding=torch.zeros(WIDTH, dtype=torch.int64)), r"is int64 \[512\]"),
        (file_of(embedding=torch.ones(2, 3, WIDTH)), r"is float32 \[2, 3, 512\]"),
        (file_of(embedding=torch.ones(1, 256)), r"is float32 \[1, 256\]"),
        (file_of(embedding=torch.ones(0, WIDTH)), "got 0|is broken"),
        (file_of(embedding=torch.ones(65, WIDTH)), "got 65"),
        (text_of((16).to_bytes(8, "little") + b'{"a": nonsense!}' + bytes(8)), "safetensors file is broken"),
        ("A" * (MAX_CHARACTERS + 1), "more text than 64 embeddings need"),
    ],
)
def test_a_wrong_embedding_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        read_embeddings(text, "$.units[0].params.face")
    assert raised.value.path == "$.units[0].params.face"


def read(text: str) -> None:
    """Read a text, which either gives embeddings or a RequestError at its place."""
    found: Embeddings | RequestError
    try:
        found = read_embeddings(text, "$.face")
    except RequestError as error:
        found = error
    if isinstance(found, RequestError):
        assert found.path == "$.face"
    else:
        assert {len(values) for values in found.values} == {WIDTH}


@given(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=99).map(text_of),
        st.text("[]0,-e.1", max_size=30).map("[{}".format),
    )
)
def test_any_text_is_read_or_refused(text: str) -> None:
    read(text)


WHOLE = save_embedding([FACE], "buffalo_l", "w600k_r50.onnx")


@given(st.integers(0, 200), st.binary(min_size=1, max_size=12), st.integers(0, len(WHOLE)))
def test_damaged_files_are_read_or_refused(place: int, change: bytes, end: int) -> None:
    read(text_of(WHOLE[:place] + change + WHOLE[place + len(change) :]))
    read(text_of(WHOLE[:end]))
