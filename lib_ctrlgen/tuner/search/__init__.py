"""The automatic search over ranges of values."""
