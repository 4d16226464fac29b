"""Numbers as prompts have them."""

from __future__ import annotations


def plain_number(value: float) -> str:
    """A weight in digits, without an exponent, which the WebUI does not read.

    >>> plain_number(0.1 + 0.2), plain_number(-2.0), plain_number(1e-9)
    ('0.3', '-2', '0')
    """
    text = f"{value:.8f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
