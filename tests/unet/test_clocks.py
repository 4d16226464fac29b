"""Clocks tell the step of a U-Net call, and what each of its rows is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.unet.call import Position, Rows
from lib_ctrlgen.unet.clocks import CountingClock, Row, RowQueue


def test_counting_with_guidance() -> None:
    clock = CountingClock(2, 2, guided=True)
    rows = Rows((False, False, True, True), (0, 1, 0, 1))
    assert [clock(4), clock(4)] == [Position(0, 2, rows), Position(1, 2, rows)]
    with pytest.raises(HostError, match="more often than the 2 steps"):
        clock(4)


def test_counting_without_guidance() -> None:
    assert CountingClock(1, 2, guided=False)(2) == Position(0, 1, Rows((True, True), (0, 1)))


def test_counting_refuses_another_batch() -> None:
    with pytest.raises(HostError, match="called with 3 rows, expected 2"):
        CountingClock(1, 1, guided=True)(3)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=12), st.data())
def test_a_queue_gives_its_rows_in_order_whatever_the_chunks(
    announced: list[tuple[bool, int]], data: st.DataObject
) -> None:
    queue = RowQueue()
    queue.begin(3, 10, [Row(*row) for row in announced])
    taken: list[tuple[bool, int]] = []
    while len(taken) < len(announced):
        position = queue(data.draw(st.integers(1, len(announced) - len(taken))))
        assert (position.step, position.steps) == (3, 10)
        taken += zip(position.rows.cond, position.rows.image, strict=True)
    assert taken == announced
    with pytest.raises(HostError, match="step 3, but 0 are expected"):
        queue(1)


def test_what_is_left_of_a_step_is_dropped() -> None:
    queue = RowQueue()
    queue.begin(0, 2, [Row(True, 0), Row(False, 0)])
    queue(1)
    queue.begin(1, 2, [Row(True, 0), Row(False, 0)])
    assert queue(2) == Position(1, 2, Rows((True, False), (0, 0)))


def test_a_step_past_the_end_counts_as_the_last() -> None:
    """Second-order samplers call once more after the last step."""
    queue = RowQueue()
    queue.begin(5, 5, [Row(True, 0)])
    assert queue(1).step == 4


def test_a_queue_refuses_more_rows_than_were_announced() -> None:
    queue = RowQueue()
    queue.begin(0, 1, [Row(True, 0)])
    with pytest.raises(HostError, match=r"called with 2 rows in step 0, but 1 are expected.*switch it off"):
        queue(2)


def test_rows_belong_together() -> None:
    with pytest.raises(ValueError, match="2 cond flags for 1 images"):
        Rows((True, False), (0,))
    assert Rows((True, False, True), (0, 0, 1)).select([2, 0]) == Rows((True, True), (1, 0))
    concepts = Rows((True, True, False), (0, 0, 0), (1, 0, 1))
    assert concepts.select([1, 2]).concept == (0, 1)


def test_each_picture_has_a_row_per_part() -> None:
    clock = CountingClock(1, 2, guided=True, owners=(0, 1, 1))
    rows = clock(8).rows
    assert rows == Rows((False,) * 2 + (True,) * 6, (0, 1, 0, 0, 0, 1, 1, 1), (0, 0, 0, 1, 1, 0, 1, 1))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_tiles_repeat_the_rows_of_the_hosts_batch(images: int, tiles: int, calls: int) -> None:
    queue = RowQueue()
    rows = [Row(cond, image) for cond in (True, False) for image in range(images)]
    queue.begin(1, 4, rows, size=(16, 16))
    queue.begin_batch(len(rows))
    for _ in range(calls):
        position = queue(tiles * len(rows))
        assert (
            list(zip(position.rows.cond, position.rows.image, strict=True))
            == [row[:2] for row in rows] * tiles
        )
        assert (position.regrouped, position.size) == (tiles > 1, (16, 16))
    queue.end_batch()
    with pytest.raises(HostError, match="0 are expected"):
        queue(1)


def test_a_part_of_the_hosts_rows_has_its_share_of_conditional_rows() -> None:
    queue = RowQueue()
    rows = [Row(cond, image) for cond in (True, False) for image in range(6)]
    queue.begin(0, 1, rows)
    queue.begin_batch(12)
    assert queue(4).rows == Rows((True, True, False, False), (0, 1, 0, 1))
    assert queue(4).regrouped
    with pytest.raises(HostError, match="with 5 rows where the WebUI computes 12"):
        queue(5)
    with pytest.raises(HostError, match="with 18 rows"):
        queue(18)
    queue.begin(0, 1, rows)
    assert not queue(12).regrouped, "a step that begins ends the host's batch"
