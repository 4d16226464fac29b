"""What the page's script and style weigh."""

import gzip
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_script_and_style_are_sent_in_60_kb() -> None:
    """The WebUI compresses what it sends, with starlette's gzip of level 9."""
    files = [*(ROOT / "javascript").rglob("*.js"), ROOT / "style.css"]
    assert len(files) > 10
    assert sum(len(gzip.compress(file.read_bytes(), 9)) for file in files) <= 60_000
