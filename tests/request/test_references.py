"""References and boxes of a unit: what is refused, and the families that take none."""

from typing import Any

import pytest

from lib_ctrlgen.controls.recorded import described
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.pictures import pictured_parts
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files

PICTURE = files.drawn_url()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"references": [{}]}, "references[0].image"),
        ({"references": [{"image": "A", "embedding": "B"}]}, "references[0].embedding"),
        ({"references": [{"image": "A", "role": "style"}]}, "references[0].role"),
        ({"references": [{"image": "A", "weight": "1@"}]}, "references[0].weight"),
        ({"references": [{"image": "A"}] * 33}, "references"),
        ({"combine": "mean"}, "combine"),
        ({"boxes": [{"box": [0, 0, 1, 1]}]}, "boxes[0].text"),
        ({"boxes": [{"box": [0.5, 0, 0.5, 1], "text": "a cat"}]}, "boxes[0].box"),
        ({"boxes": [{"box": [0, 0, 1, 1.5], "text": "a cat"}]}, "boxes[0].box[3]"),
        ({"boxes": [{"box": [0, 0, 1], "text": "a cat"}]}, "boxes[0].box"),
        ({"boxes": [{"box": [0, 0, 1, 1], "text": "a cat"}] * 31}, "boxes"),
    ],
)
def test_a_wrong_part_is_refused_at_its_place(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request({"units": [{"model": "m", "image": "A", **fields}]})
    assert caught.value.path == f"$.units[0].{path}"


def test_a_record_holds_hashes_of_their_pictures_and_embeddings() -> None:
    references = [{"image": PICTURE}, {"embedding": "AAAA", "weight": 0.5}]
    params = {"face": "[1, 2]", "face_choice": "2"}
    unit = {"model": "m", "image": PICTURE, "references": references, "params": params}
    recorded = described(parse_request({"units": [unit]}), "sha")["units"][0]
    first, second = recorded["references"]
    assert first["image"] == recorded["image"] != PICTURE
    assert second["embedding"].startswith("sha:")
    assert second["weight"] == 0.5
    assert recorded["params"]["face"].startswith("sha:")
    assert recorded["params"]["face_choice"] == "2"


def test_what_is_no_object_has_no_pictures() -> None:
    assert list(pictured_parts({"units": [1, {"references": "x"}], "blend": 3})) == [
        ("$.units[1]", {"references": "x"})
    ]
