"""Which cell a grid recommends, and the reason that it gives."""

from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.tuner.scoring.recommend import best_scores, front, recommend


def test_the_front_and_the_choice() -> None:
    cells = [
        {"adherence.0": 0.5, "over_control": 0.0},
        {"adherence.0": 0.96, "over_control": 0.2},
        {"adherence.0": 1.0, "over_control": 0.6},
        {"adherence.0": 0.9, "over_control": 0.3},
        {},
    ]
    assert front(cells) == (0, 1, 2)
    choice = recommend(cells)
    assert choice is not None
    assert choice.cell == 1
    assert "0.96" in choice.reason
    likeness = recommend([{"reference.1": 0.2}, {"reference.1": 0.8}, {"reference.1": 0.8}])
    assert likeness is not None
    assert (likeness.cell, "reference" in likeness.reason) == (1, True)
    assert recommend([{}, {}]) is None


def test_the_choice_looks_at_the_reference_too() -> None:
    cells = [
        {"adherence.0": 0.98, "reference.1": 0.3, "over_control": 0.0},
        {"adherence.0": 0.97, "reference.1": 0.9, "over_control": 0.2},
        {"adherence.0": 0.96, "reference.1": 0.88, "over_control": 0.1},
        {"adherence.0": 0.2, "reference.1": 0.99, "over_control": 0.0},
    ]
    choice = recommend(cells)
    assert choice is not None
    assert (choice.cell, choice.tied) == (2, ())
    assert all(word in choice.reason for word in ("0.96", "0.98", "0.88", "0.90", "reference", "0.10"))


def test_ties_are_told() -> None:
    cell = {"adherence.0": 0.9, "over_control": 0.1}
    names = [f"w = {k}" for k in range(7)]
    choice = recommend([{"adherence.0": 0.1}, *[cell] * 6], names)
    assert choice is not None
    assert (choice.cell, choice.tied) == (1, (2, 3, 4, 5, 6))
    assert (
        "5 other cells are exactly as good by these scores (w = 2; w = 3; w = 4; w = 5 and 1 more)"
        in choice.reason
    )
    assert "Another cell is" in recommend([{"prompt": 0.4}, {"prompt": 0.4}]).reason  # type: ignore[union-attr]


def test_a_cell_that_lacks_a_score_can_be_beaten() -> None:
    whole = {"adherence.0": 0.9, "over_control": 0.1}
    assert front([whole, {"over_control": 0.1}]) == (0,)
    assert front([whole, {"over_control": 0.05}]) == (0, 1)


def test_leaders_are_named_only_where_cells_differ() -> None:
    cells = [{"adherence.0": 0.5, "prompt": 0.2}, {"adherence.0": 0.9, "prompt": 0.2}]
    assert best_scores(cells) == {1: ["adherence.0"]}


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_nothing_on_the_front_is_beaten(pairs: list[tuple[float, float]]) -> None:
    cells = [{"adherence.0": a, "over_control": b} for a, b in pairs]
    best = front(cells)
    assert best
    for i in best:
        assert not any(
            a >= pairs[i][0] and b <= pairs[i][1] and (a > pairs[i][0] + 1e-8 or b < pairs[i][1] - 1e-8)
            for a, b in pairs
        )
