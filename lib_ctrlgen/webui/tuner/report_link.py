"""The address of a tuner's report, also while the run goes on."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

from .jobs import named_files, roots_of
from .plan import progress_file

NONE = "There is no report yet: the first one is written when a run starts."
REPORT = "report.html"


def report_link(tab: str, name: str = "") -> str:
    """A link to the report of a run as HTML: of the named one, else of the newest one."""
    folder = newest(tab, (name or "").strip())
    if folder is None:
        return f'<p class="ctrlgen-note">{NONE}</p>'
    state = progress_file(folder).read() or {}
    said = f": {state['done']} of {state['total']} cells, {state['state']}" if state else ""
    link = f'<a class="ctrlgen-report" target="_blank" href="{escape(address(folder), quote=True)}">'
    return f"<p>{link}Report of {escape(folder.name)}</a>{escape(said)}</p>"


def newest(tab: str, name: str) -> Path | None:
    """The folder with the newest report of a tab, or the named one; None without any."""
    found = [report for root in roots_of(tab) if root.is_dir() for report in root.glob(f"*/{REPORT}")]
    named = [report for report in found if report.parent.name == name]
    ordered = sorted(named or found, key=lambda report: report.parent.stat().st_mtime)
    return ordered[-1].parent if ordered else None


def address(folder: Path) -> str:
    """The report's address, relative to the page: the run's route, which saves ratings in the folder.

    Of several runs with one name only the newest has a route; the others have the page's files.
    """
    served = next((file.folder for file in named_files(folder.name) if file.read() is not None), None)
    if served == folder:
        return f"ctrlgen/v1/tune/{quote(folder.name, safe='')}/files/{REPORT}"
    return f"file={quote((folder / REPORT).resolve().as_posix(), safe='/:')}"
