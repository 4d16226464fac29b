"""Fixtures for tests that run on both hosts."""

from typing import Any

import pytest

from tests.support.unet_calls import (
    sd_ldm,
)


@pytest.fixture(scope="module")
def unet() -> Any:
    return sd_ldm()
