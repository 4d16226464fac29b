"""How to install what is missing: from the project's folder, as CtrlGen is in no package index."""

from __future__ import annotations

import sys
from pathlib import Path


def install_command(extra: str) -> str:
    """The command that adds an extra of pyproject.toml to the Python that runs this."""
    folder = Path(__file__).resolve().parent.parent
    shown = str(folder) if (folder / "pyproject.toml").is_file() else "FOLDER OF CTRLGEN"
    return f'{quoted(sys.executable)} -m pip install -e "{shown}[{extra}]"'


def quoted(text: str) -> str:
    """A word of a command, in double quotes where it holds a space: every shell reads these."""
    return f'"{text}"' if " " in text else text
