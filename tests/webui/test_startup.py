"""What the extension imports while the WebUI starts: nothing that takes seconds."""

import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# In a process of its own, because other tests have imported nearly everything.
START = """
import sys
from pathlib import Path
from types import SimpleNamespace
from tests.support.fake_webui import FakeWebUI, fresh, served

app = SimpleNamespace(router=SimpleNamespace(routes=[]), openapi=dict)
with served(FakeWebUI(), Path(sys.argv[1])):
    script = fresh("script")
    script.register()
    for tab in ("txt2img", "img2img"):
        sys.modules["lib_ctrlgen.webui.panel.panel"].build_panel(tab)
    sys.modules["lib_ctrlgen.webui.started"].add_routes(None, app)
    print(*sorted(sys.modules))
"""
HEAVY = {"accelerate", "diffusers", "jsonschema", "onnxruntime", "optuna", "scipy", "transformers"}
LATER = {
    "lib_ctrlgen.controls.prepare",
    "lib_ctrlgen.controls.registry",
    "lib_ctrlgen.preprocessors.canny",
    "lib_ctrlgen.session.session",
    "lib_ctrlgen.webui.generation_request",
}


def test_the_start_imports_nothing_that_only_a_generation_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", START, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "lib_ctrlgen.webui.panel.more" in imported
    assert imported & HEAVY == set()
    assert imported & LATER == set()


def test_the_panel_is_built_once_for_an_instance(script: Any) -> None:
    """The WebUI's API calls `ui` twice more, for the components' values."""
    made = script.ui(is_img2img=False)
    assert script.ui(is_img2img=False) is made
    assert script.infotext_fields
    other = script.ui(is_img2img=True)
    assert other is not made
    assert {each.elem_id for each in other}.isdisjoint(each.elem_id for each in made)
