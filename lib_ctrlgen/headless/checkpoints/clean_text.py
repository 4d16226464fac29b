"""Cleans prompts before CLIP's tokenizer reads them, as the WebUI does with the package ftfy.

Implemented are ftfy's fixes that concern prompts (curly quotes, full-width characters, ligatures, control
characters), not its repair of texts that were decoded with the wrong encoding.
"""

from __future__ import annotations

import html
import re
import unicodedata

QUOTES = {
    **dict.fromkeys(map(ord, "\u02bc\u2018\u2019\u201a\u201b"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f"), '"'),
}
# Letters and signs in the width of Chinese characters, half-width katakana, and Latin ligatures.
COMPATIBLE = (
    *(0x3000, *range(0xFF01, 0xFFF0)),
    *(0x0132, 0x0133, 0x0149, *range(0x01C4, 0x01CD), *range(0x01F1, 0x01F4), *range(0xFB00, 0xFB07)),
)
LETTERS = {code: unicodedata.normalize("NFKC", chr(code)).translate(QUOTES) for code in COMPATIBLE}
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff\ufff9-\ufffc]")


def clean_text(text: str) -> str:
    r"""A text with straight quotes, normal-width characters and no control characters, in form NFC.

    >>> clean_text("\u201cratio\u201d \uff11\uff16\uff1a\uff19, it\u2019s na\u00efve &amp; blue")
    '"ratio" 16:9, it\'s naïve & blue'
    """
    if "&" in text and "<" not in text:
        text = html.unescape(text)
    if text.isascii():
        return CONTROLS.sub("", text)
    return unicodedata.normalize("NFC", CONTROLS.sub("", text.translate(LETTERS | QUOTES)))
