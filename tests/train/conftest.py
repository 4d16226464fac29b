"""Fixtures that leave out of a training what takes longer than its steps, where a test is not about it."""

import pytest

from tests.support.training import leave_out_estimate


@pytest.fixture
def not_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """No training estimates its cost."""
    leave_out_estimate(monkeypatch)


@pytest.fixture
def few_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss on held-out views is computed at two noise levels instead of eight."""
    monkeypatch.setattr("lib_ctrlgen.train.validation.LEVELS", 2)
