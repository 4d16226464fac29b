"""The boxes of a unit in the panel: which family shows them, and what the page's script reads and drags."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.forms.box_fields import read_boxes
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh

SCRIPT = Path(__file__).resolve().parents[2] / "javascript" / "ctrlgen_boxes.js"
LINES = "0.1 0.2 0.5 0.8: a red circle\n\n 0,0 , 1, .45 : a blue: square \n"
READ = read_boxes(LINES, "$")


def test_each_family_shows_its_own_fields(host: FakeWebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes are shown and pictures hidden for GLIGEN; what is hidden is emptied, or would be refused."""
    fresh("panel.panel").build_panel("txt2img")
    model = next(c for c in Component.made if c.elem_id == "ctrlgen_txt2img_unit0_model")
    reveal, options = next(each for each in model.events if not all(c.elem_id for c in each[1]["outputs"]))
    names = [str(part.elem_id).removeprefix("ctrlgen_txt2img_unit0_") for part in options["outputs"]]
    names[names.index("None")] = "pictures"  # the row has no id
    found = {}
    for family in ("gligen", "controlnet", ""):
        monkeypatch.setitem(reveal.__globals__, "family_of", lambda _, known=family: known)
        found[family] = dict(zip(names, reveal("any"), strict=True))
    shown = {
        family: [part for part in updates if updates[part].get("visible")]
        for family, updates in found.items()
    }
    assert {"boxes", "boxes_area", "ip_adapter_image_encoder"} <= set(shown["gligen"])
    assert "pictures" not in shown["gligen"]
    assert found["gligen"]["image"]["value"] is None
    assert "pictures" in shown["controlnet"]
    assert not {"boxes", "boxes_area"} & set(shown["controlnet"])
    assert found["controlnet"]["boxes"]["value"] == ""
    assert "value" not in found["controlnet"]["image"]
    assert shown[""] == ["pictures"]
    assert not any("value" in update for update in found[""].values())


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
