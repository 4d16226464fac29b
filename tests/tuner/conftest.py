"""Fixtures of the tuner's tests."""

from pathlib import Path

import pytest

from tests.support.tuner_grids import Counting


@pytest.fixture
def engine(root: Path) -> Counting:
    return Counting([root], 1 << 28)
