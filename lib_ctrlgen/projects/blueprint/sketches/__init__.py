"""Draws floor plans and elevations as if by hand on paper, with the true lines, for examples and tests."""
