"""The boxes of a unit in the panel: what the page's script reads and drags."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.forms.box_fields import read_boxes

SCRIPT = Path(__file__).resolve().parents[2] / "javascript" / "editors" / "boxes.js"
LINES = "0.1 0.2 0.5 0.8: a red circle\n\n 0,0 , 1, .45 : a blue: square \n"
READ = read_boxes(LINES, "$")


def in_node(expression: str, *given: Any) -> Any:
    """The value of an expression over the page's script, in node; `$` are the values given."""
    node = shutil.which("node") or pytest.skip("the page's script: no node")
    program = f"{SCRIPT.read_text('utf-8')}\nconst $ = {json.dumps(given)};\n"
    program += f"console.log(JSON.stringify({expression}));"
    found = subprocess.run([node, "-e", program], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(found.stdout)


def test_the_page_reads_a_text_as_the_server_does() -> None:
    texts = [LINES, json.dumps(READ), "", "a cat", "[{]", '[{"text": "no box"}]', "0 0 1 1.2.3: b"]
    found = in_node("$.map(ctrlgenBoxes.read)", *texts)
    assert [each and each["boxes"] for each in found] == [READ, READ, [], None, None, None, None]
    written = in_node("$.map(ctrlgenBoxes.read).map((f) => ctrlgenBoxes.write(f.boxes, f.json))", *texts[:3])
    assert [read_boxes(text, "$") for text in written] == [READ, READ, []]


def test_a_drag_stays_in_the_picture_and_leaves_a_box() -> None:
    box = [0.2, 0.3, 0.6, 0.7]
    drags = {
        "moved": ([0, 0], 0.1, -0.1, [0.3, 0.2, 0.7, 0.6]),
        "moved to the edge": ([0, 0], 0.9, -0.9, [0.6, 0, 1, 0.4]),
        "upper left corner": ([-1, -1], -0.5, 0.1, [0, 0.4, 0.6, 0.7]),
        "lower right corner past the upper left": ([1, 1], -0.9, -0.9, [0.2, 0.3, 0.22, 0.32]),
        "upper right corner": ([1, -1], 0.12345, 0.9, [0.2, 0.68, 0.723, 0.7]),
    }
    calls = [[box, part, dx, dy] for part, dx, dy, _ in drags.values()]
    found = in_node("$.map((each) => ctrlgenBoxes.dragged(...each))", *calls)
    assert dict(zip(drags, found, strict=True)) == {name: wanted for name, (*_, wanted) in drags.items()}
