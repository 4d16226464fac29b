"""The arithmetic of a blend of concepts."""
