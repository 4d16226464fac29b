"""One of several faces: the largest, or the n-th from the left; or some of them."""

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.faces.face import WIDTH, Face, choose, choose_several, normed, selected


def face(left: float, width: float) -> Face:
    embedding = (left, *[0.0] * (WIDTH - 1))
    return Face(box=(left, 0, left + width, width), points=((0, 0),) * 5, embedding=embedding, score=0.9)


MIDDLE, LEFT, RIGHT = face(40, 30), face(10, 20), face(90, 10)
FACES = (MIDDLE, LEFT, RIGHT)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("largest", MIDDLE), (" Largest\n", MIDDLE), ("", MIDDLE), ("1", LEFT), (" 2 ", MIDDLE), ("003", RIGHT)],
)
def test_one_face(text: str, wanted: Face) -> None:
    assert choose(FACES, text) is wanted
    assert selected(FACES, text) == (wanted,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4", "face 4 from the left is wanted, and 3 faces were found"),
        ("9" * 5000, "3 faces were found"),
        ("0", "expected 'largest'"),
        ("-1", "got '-1'"),
        ("1.5", "expected"),
        ("²", "expected"),
        ("left", "got 'left'"),
    ],
)
def test_a_choice_that_is_not_there(text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as raised:
        choose(FACES, text, "$.a")
    assert raised.value.path == "$.a"


def test_one_face_that_was_found_is_counted_in_the_singular() -> None:
    with pytest.raises(RequestError, match="and 1 face was found"):
        choose((LEFT,), "2")


@pytest.mark.parametrize("pick", [choose, choose_several, selected])
def test_no_face(pick: object) -> None:
    with pytest.raises(RequestError, match="no face was found"):
        pick((), *(() if pick is choose_several else ("all",)))  # type: ignore[operator]


def test_several_faces_are_the_largest_from_left_to_right() -> None:
    assert selected(FACES, "all") == (LEFT, MIDDLE, RIGHT)
    assert choose_several(FACES) == (LEFT, MIDDLE, RIGHT)
    assert choose_several(FACES, 2) == (LEFT, MIDDLE)
    many = tuple(face(100 * number, 10 + number % 4) for number in reversed(range(8)))
    assert [each.box[0] for each in choose_several(many)] == [200, 300, 500, 600, 700]


def test_an_embedding_is_divided_by_its_norm() -> None:
    assert normed((3.0, 4.0, 0.0)) == pytest.approx((0.6, 0.8, 0))
    assert RIGHT.normed_embedding[0] == 1
