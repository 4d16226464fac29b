"""Fixtures of the tests of model files and of the cache."""

from typing import Any

import pytest

from tests.support import control_files as files


@pytest.fixture(scope="module")
def unet() -> Any:
    """A small diffusers U-Net."""
    return files.unet()
