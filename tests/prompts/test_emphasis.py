"""The attention grammar compared with the results of the WebUI's own parser."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.prompts.emphasis import WeightedText, parse_emphasis


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [("", 1.0)]),
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("un)balanced] :1.2)", [("un)balanced] :1.2)", 1.0)]),
        (r"\(literal\] \x", [(r"(literal] x", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("[less] ((more))", [("less", 1 / 1.1), (" ", 1.0), ("more", 1.21)]),
        ("(a (b:0.5) :-2)", [("a ", -2.0), ("b", -1.0), (" ", -2.0)]),
        ("ratio 16:9 (see: x)", [("ratio 16:9 ", 1.0), ("see: x", 1.1)]),
        ("a BREAK b BREAK (c:2)", [("a", 1.0), (None, 1.0), ("b", 1.0), (None, 1.0), ("c", 2.0)]),
        ("(b BREAK c:2)", [("b", 2.0), ("BREAK", -2.0), ("c", 2.0)]),  # the WebUI knows a break by its weight
        ("(b BREAK c:1)", [("b", 1.0), (None, 1.0), ("c", 1.0)]),
        ("(:1)a(b:1.2)()c", [("a", 1.0), ("b", 1.2), ("c", 1.0)]),
        ("BREAKFAST", [("BREAKFAST", 1.0)]),
    ],
)
def test_pieces_and_weights(prompt: str, expected: list[tuple[str | None, float]]) -> None:
    found = parse_emphasis(prompt)
    assert [piece.text for piece in found] == [text for text, _ in expected]
    assert [piece.weight for piece in found] == pytest.approx([weight for _, weight in expected])


@given(st.text("ab \\", max_size=30))
def test_text_without_brackets_is_one_piece(text: str) -> None:
    [piece] = parse_emphasis(text)
    assert piece.weight == 1.0


@pytest.mark.parametrize("text", ["(:.)", "(cat:1.2.3)", "a (wait:...)", "(b: +. )", f"(c:{'9' * 400})"])
def test_a_weight_that_is_no_number_is_an_error(text: str) -> None:
    """The WebUI fails there as well: its grammar takes any dots and digits, and no number is made of them."""
    with pytest.raises(RequestError, match=r"is no number: write a number such as 1\.2"):
        parse_emphasis(text)
    assert parse_emphasis(text.replace("(", "").replace(")", ""))
    assert parse_emphasis(text.replace("(", r"\(").replace(")", r"\)"))


def wrong_number(text: str) -> bool:
    try:
        parse_emphasis(text)
    except RequestError:
        return True
    return False


@given(st.text("ab()[]:.12 ", max_size=30))
@example("(:.)")
def test_every_letter_is_kept(text: str) -> None:
    if wrong_number(text):
        return
    assert parse_emphasis(text)
    letters = "".join(piece.text or "" for piece in parse_emphasis(text))
    assert [c for c in letters if c in "ab"] == [c for c in text if c in "ab"]
    assert WeightedText(None) not in parse_emphasis(text)
