"""Stars and blind votes: merged in any order, kept in a folder, and the strengths that votes give."""

import json
import math
import os
import signal
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.tuner.ratings import NAME, Ratings, RatingsFile, Vote, merged, read_body
from lib_ctrlgen.tuner.votes import PRIOR, strengths

A, B, C, D = (f"{number:016x}" for number in (1, 2, 3, 4))


def vote(*order: str, shown: tuple[str, ...] = ()) -> Vote:
    return Vote(shown=shown or order, order=order)


def rated(**cells: Any) -> Ratings:
    keys = {"a": A, "b": B, "c": C}
    return read_body({"cells": {keys[name]: fields for name, fields in cells.items()}})


def test_newer_entries_count_in_any_order_of_merging() -> None:
    one = rated(a={"stars": 1, "at": 5}, b={"stars": 2, "at": 5})
    two = rated(a={"stars": 4, "at": 6}, b={"stars": 3, "at": 5})
    three = rated(c={"favourite": True, "at": 1}, a={"stars": 0, "at": 7})
    parts = [one, two, three]
    wanted = merged(merged(one, two), three)
    assert {key: each.stars for key, each in wanted.cells.items()} == {A: 0, B: 3, C: 0}
    for first, second in ((0, 1), (1, 2), (2, 0)):
        (third,) = {0, 1, 2} - {first, second}
        assert merged(parts[third], merged(parts[second], parts[first])).as_json == wanted.as_json
    assert merged(wanted, wanted) == wanted


def test_files_of_a_folder_are_read_together(tmp_path: Path) -> None:
    file = RatingsFile(tmp_path)
    assert not file.read()
    file.add(rated(a={"stars": 3, "at": 1}))
    (tmp_path / "ratings-from-ann.json").write_text(json.dumps(rated(a={"stars": 5, "at": 2}).as_json))
    assert file.read().cells[A].stars == 5
    assert file.add(rated(b={"stars": 1, "at": 1})).cells.keys() == {A, B}
    (tmp_path / "ratings-2.json").write_text("{")
    with pytest.raises(HostError, match=r"ratings-2\.json.*move the file away"):
        file.add(rated(b={"stars": 2, "at": 3}))
    assert json.loads((tmp_path / NAME).read_text())["cells"][B] == {"stars": 1, "at": 1}


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"cells": {"../x": {}}}, "cells"),
        ({"cells": {A: {"stars": 6}}}, "cells"),
        ({"votes": {"<b>": {"shown": [A, B]}}}, "votes"),
        ({"votes": {"v": {"shown": [A, A]}}}, "shown"),
        ({"votes": {"v": {"shown": [A, B], "order": [C]}}}, "order"),
        ({"stars": {}}, "stars"),
    ],
)
def test_wrong_ratings_are_refused(payload: Any, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_body(payload)
    assert path in caught.value.path


def added(folder: Path, ready: Any) -> None:
    """Add ratings without an end; `ready` gets the number of each that was acknowledged."""
    file = RatingsFile(folder)
    for number in range(10_000):
        file.add(rated(a={"stars": number % 6, "at": number}, b={"stars": 1, "at": number}))
        ready.value = number


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_process_loses_no_rating_that_was_acknowledged(tmp_path: Path) -> None:
    context = get_context("fork")
    ready = context.Value("i", 0)
    process = context.Process(target=added, args=(tmp_path, ready))
    process.start()
    while ready.value < 5 and process.is_alive():
        pass
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(10)
    assert RatingsFile(tmp_path).read().cells[A].at >= ready.value >= 5


def reference(votes: list[Vote], keys: list[str]) -> np.ndarray[Any, Any]:
    """The strengths by a general optimiser, from the probability of every vote as a product of picks."""

    def loss(values: np.ndarray[Any, Any]) -> float:
        worth = dict(zip(keys, np.exp(values), strict=True))
        total = float(np.sum(values**2)) / (2 * PRIOR**2)
        for each in votes:
            left = set(each.shown)
            for key in each.order:
                total -= math.log(worth[key] / sum(worth[other] for other in left))
                left.remove(key)
        return total

    return np.asarray(minimize(loss, np.zeros(len(keys)), tol=1e-12).x)


def test_strengths_are_the_maximum_of_the_posterior() -> None:
    votes = [vote(A, B, C, D), vote(B, A), vote(A, shown=(C, A, D)), vote(C, D, shown=(D, C, B)), vote(A, C)]
    found = strengths(votes)
    wanted = reference(votes, [A, B, C, D])
    assert np.allclose([found[key].value for key in (A, B, C, D)], wanted, atol=1e-4)
    assert [found[key].votes for key in (A, B, C, D)] == [4, 3, 4, 3]
    shuffled = strengths(votes[::-1])
    assert all(math.isclose(found[key].value, shuffled[key].value, abs_tol=1e-7) for key in found)


def test_many_votes_of_two_cells_give_their_share_and_its_error() -> None:
    """Bradley and Terry: 300 wins of 400 are odds of 3; the error of a difference is that of a binomial."""
    found = strengths([vote(A, B)] * 300 + [vote(B, A)] * 100)
    assert math.isclose(found[A].value - found[B].value, math.log(3), abs_tol=0.02)
    assert math.isclose(found[A].value, -found[B].value, abs_tol=1e-9)
    both = 1 / (400 * 0.75 * 0.25 + 1 / (2 * PRIOR**2))  # of the difference; its mean has the prior's alone
    assert math.isclose(found[A].error ** 2, both / 4 + PRIOR**2 / 2, rel_tol=0.01)


def test_a_cell_that_wins_always_is_strong_and_finite() -> None:
    votes = [vote(A, other) for other in (B, C, D) for _ in range(3)]
    votes += [vote(*pair) for pair in combinations((B, C, D), 2)]
    found = strengths([*votes, Vote(shown=(A, B), order=())])
    assert max(found, key=lambda key: found[key].value) == A
    middle, low, high = found[A].share
    assert 0.7 < middle < 0.99
    assert low < middle < high
    assert strengths([Vote(shown=(A, B), order=())]) == {}
