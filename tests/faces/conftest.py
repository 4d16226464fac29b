"""Fixtures of the tests of faces."""

from tests.support.face_networks import runtime

__all__ = ["runtime"]
