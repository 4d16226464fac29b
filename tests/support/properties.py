"""The number of examples for the slower property tests."""

from typing import Any

from hypothesis import settings


def examples(count: int, **more: Any) -> settings:
    """`count` examples in the profile of `make test`, and in proportion more in the longer ones.

    >>> examples(8).max_examples >= 8
    True
    """
    return settings(max_examples=max(1, count * settings().max_examples // 100), **more)
