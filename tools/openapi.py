"""Writes docs/openapi.json, the OpenAPI document of CtrlGen's REST routes.

    python tools/openapi.py

`tests/webui/test_openapi.py` checks that the file is current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
FILE = ROOT / "docs" / "openapi.json"


def written() -> str:
    """The content of the file."""
    from lib_ctrlgen.webui.openapi.document import document

    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), "utf-8")
    print(FILE)
