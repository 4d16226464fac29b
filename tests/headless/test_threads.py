"""The number of threads is measured on the U-Net or given by the user, and restored afterwards."""

import argparse
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib_ctrlgen.cli.common import threads_of
from lib_ctrlgen.headless.sampling.threads import (
    FRESH,
    GAIN,
    MOST_OF_LARGE,
    SMALL,
    Threads,
    TooSlowError,
    Trial,
    best_of,
)
from tests.support import control_files as files

FAR = float("inf")
SIZE = {"rows": 2, "height": 8, "width": 8}


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return files.unet()  # type: ignore[no-any-return]


@pytest.fixture
def four() -> Iterator[None]:
    """Torch with four threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@given(st.integers(1, 200), st.booleans(), st.integers(0, 8))
def test_the_best_number_is_found_from_either_end(limit: int, from_one: bool, place: int) -> None:
    numbers = sorted({min(2**power, limit) for power in range(9)})
    best = numbers[min(place, len(numbers) - 1)]
    asked: list[int] = []

    def seconds(threads: int, most: float) -> float:
        asked.append(threads)
        found = 2.0 ** abs(numbers.index(threads) - numbers.index(best))
        return found if found <= most else FAR

    assert best_of(seconds, limit, from_one=from_one) == best
    assert asked[0] == (1 if from_one else limit)
    assert set(asked) <= set(numbers)
    beyond = [n for n in asked if (n > best if from_one else n < best)]
    assert len(beyond) <= 1  # it stops at the first number that is no longer faster


def test_a_gain_too_small_to_be_sure_of_is_none() -> None:
    nearly = {1: 1.0, 2: GAIN + 0.01}
    assert best_of(lambda threads, _most: nearly[threads], 2, from_one=True) == 1
    assert best_of(lambda threads, _most: nearly[3 - threads], 2, from_one=False) == 2


def test_what_a_user_says_is_not_measured() -> None:
    now = torch.get_num_threads()
    assert Threads.of(3, {"OMP_NUM_THREADS": "5"}).fixed == 3
    assert Threads.of(0, {"OMP_NUM_THREADS": "5"}).fixed == now
    assert Threads.of(0, {"MKL_NUM_THREADS": "5"}).fixed == now
    assert Threads.of(0, {"OMP_NUM_THREADS": ""}).fixed is None
    assert Threads.of(0, {}).fixed is None


@pytest.mark.usefixtures("four")
def test_a_number_holds_within_the_block_only(unet: nn.Module) -> None:
    threads = Threads(fixed=2)
    with threads.chosen(unet, **SIZE):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4
    with pytest.raises(ZeroDivisionError), threads.as_last():
        assert 1 / (torch.get_num_threads() - 2)
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four")
def test_a_measurement_holds_for_a_while_and_for_one_size(
    unet: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tried = [0.0], []

    def seconds(_trial: Trial, threads: int, _most: float) -> float:
        tried.append(threads)
        return {1: 2.0, 2: 1.0, 4: 3.0}[threads]

    monkeypatch.setattr(Trial, "seconds", seconds)
    threads = Threads(now=lambda: clock[0])
    with threads.as_last():
        assert torch.get_num_threads() == 1  # before anything is known
    for when, height, count in ((0.0, 8, 3), (FRESH - 1, 8, 3), (FRESH - 1, 16, 6), (FRESH, 8, 9)):
        clock[0] = when
        with threads.chosen(unet, 2, height, 8):
            assert torch.get_num_threads() == 2
        assert len(tried) == count
    with threads.as_last():
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("four")
def test_a_trial_runs_the_unet_and_stops_when_it_is_too_slow(unet: nn.Module) -> None:
    trial = Trial(unet, 2, 8, 8)
    assert 0 < trial.seconds(2, FAR) < FAR
    assert torch.get_num_threads() == 2
    assert trial.seconds(1, 0.0) == FAR
    with pytest.raises(TooSlowError), trial.stopped(-1.0):
        trial.call()
    assert not any(module._forward_pre_hooks for module in unet.modules())


def test_what_is_timed_is_small(unet: nn.Module) -> None:
    weights = sum(parameter.numel() for parameter in unet.parameters())
    assert Trial(unet, 2, 8, 16).shape == (2, 4, 8, 16)
    trial = Trial(unet, 64, 128, 128)
    assert trial.small == (weights * 64 * 128 * 128 < SMALL)
    rows, _, height, width = trial.shape
    assert weights * rows * height * width <= MOST_OF_LARGE < weights * 64 * 128 * 128


@pytest.mark.parametrize(("text", "found"), [("auto", 0), ("0", 0), ("3", 3), ("AUTO", 0)])
def test_the_flag(text: str, found: int) -> None:
    assert threads_of(text) == found


@pytest.mark.parametrize("text", ["-1", "two", "1.5", "", "99999", "²"])
def test_a_flag_that_is_no_number(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a number of threads up to 1024, or auto"):
        threads_of(text)
