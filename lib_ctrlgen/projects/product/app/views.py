"""The parts of the page that are HTML. Whatever a user wrote is escaped. It imports no gradio."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.projects.product.diagnosis.finding import Finding, first_problem
from lib_ctrlgen.projects.product.history import Entry
from lib_ctrlgen.projects.product.picture import PICTURE
from lib_ctrlgen.projects.product.report import DIAGNOSIS, REPORT
from lib_ctrlgen.projects.product.run import ITEMS

from .form import readable, weight_text
from .plan import ShownPlan
from .worker import Status

FILES = "/files"  # where the folder of results is served
VERDICTS = {"good": "ok", "bad": "problem", "unknown": "not known"}
NOT_RUN = '<p class="quiet">Not all pictures were made yet.</p>'
NOT_TRIED = '<p class="quiet">Nothing was tried yet.</p>'
HISTORY = "<h2>History</h2><p class='quiet'>Choose a picture to bring its settings back.</p>"
NOT_DIAGNOSED = '<p class="quiet">No diagnosis yet.</p>'
TOLD = 8  # lines of a task that are shown
STYLE = """
.quiet { opacity: .75 } .error { color: #b00020; font-weight: 600 } .dark .error { color: #ff8a80 }
.lost { color: #fff; background: #b23b04; border-radius: 4px; padding: 0 6px }
.bar { display: block; height: .7rem; border: 1px solid currentColor; border-radius: 3px; margin: .3rem 0 }
.bar span { display: block; height: 100%; background: var(--color-accent, #2450a8) }
.plan svg { width: 100%; max-width: 640px; height: auto } .plan pre { overflow-x: auto }
.picture img { width: 100%; max-width: 512px; height: auto; }
.batch { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: .7rem; padding: 0;
  list-style: none } .batch img { width: 100%; height: auto; display: block }
.batch li { overflow-wrap: anywhere }
.bottom > * { align-self: flex-end }
#history .grid-container { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)) !important }
#history .thumbnail-item { aspect-ratio: auto; height: auto; display: block }
#history .thumbnail-item img { aspect-ratio: 1; height: auto; width: 100% }
#history .caption-label { position: static; max-width: 100%; white-space: normal; text-align: left;
  border: 0; border-radius: 0; font-size: .75rem; line-height: 1.3; overflow-wrap: anywhere }
.findings { padding-left: 1.2rem } .findings li { margin: .3rem 0; overflow-wrap: anywhere }
"""


def error_text(error: CtrlGenError) -> str:
    """An error, with the label of its field."""
    return f'<p class="error" role="alert">{escape(readable(error))}</p>'


def said_text(text: str) -> str:
    """A sentence that a screen reader says at once."""
    return f'<p role="status">{escape(text)}</p>'


def head_view(title: str, out: Path, adapter: str) -> str:
    """What the page is about."""
    return f"<h1>{escape(title)}</h1><p class='quiet'>{escape(str(out))} · {escape(adapter)}</p>"


def plan_view(plan: ShownPlan) -> str:
    """The plan as a plot and as a table, with the prompt and the cost."""
    table = f"<details><summary>As a table</summary><pre>{escape(plan.table)}</pre></details>"
    return (
        f'<div class="plan"><p>{escape(plan.prompt)}</p>{plan.svg}{table}'
        f'<p class="quiet">All pictures: {escape(plan.cost)}.</p></div>'
    )


def status_view(status: Status) -> str:
    """What the worker does, with a bar, or how its last task ended."""
    if not status.number:
        return ""
    lines = "".join(f"<br>{escape(line)}" for line in status.lines[-TOLD:])
    told = f'<p class="quiet">{lines.removeprefix("<br>")}</p>' if lines else ""
    if status.running:
        doing = "cancelling" if status.cancelled else status.phase or "preparing"
        return f"<p>{escape(status.title)}: {escape(doing)}{_count(status)}</p>{_bar(status)}{told}"
    if status.error is not None:
        return error_text(status.error) + told
    return f"<p>{escape(status.title)}: {escape(status.said)}</p>{told}"


def _count(status: Status) -> str:
    return f", {status.done} of {status.total}" if status.total else ""


def _bar(status: Status) -> str:
    """A bar for the pictures or steps that are done, and the share of the current one."""
    calls, of = status.step
    within = calls / of if of else 0.0
    share = min(100, round(100 * (status.done + within) / (status.total or 1)))
    values = f'role="progressbar" aria-label="{escape(status.title)}" aria-valuenow="{share}"'
    return f'<span class="bar" {values}><span style="width: {share}%"></span></span>'


def picture_view(entry: Entry | None, threshold: float | None) -> str:
    """The picture that was tried last, with its likeness."""
    if entry is None:
        return NOT_TRIED
    url = file_url(Path(entry.folder) / PICTURE, Path(entry.folder).parents[1])
    prompt, likeness = escape(entry.prompt), likeness_text(entry, threshold)
    return f'<div class="picture"><img src="{url}" alt="{prompt}"><p>{prompt}<br>{likeness}</p></div>'


def likeness_text(entry: Entry, threshold: float | None) -> str:
    """The likeness of a picture, and whether it has lost the product."""
    if threshold is None:
        return f"likeness {entry.likeness:.2f}; the threshold is known when all pictures were made once"
    lost = is_lost(entry, threshold)
    mark = '<span class="lost">lost the product</span> ' if lost else ""
    return f"{mark}likeness {entry.likeness:.2f}, threshold {threshold:.2f}"


def is_lost(entry: Entry, threshold: float | None) -> bool:
    """Whether a picture is below the threshold of the folder's last whole run."""
    return threshold is not None and entry.likeness < threshold


def caption(entry: Entry, threshold: float | None) -> str:
    """A picture of the history in a line, as plain text."""
    settings = entry.settings
    weights = (
        f" · identity {weight_text(settings.identity)} · placement {weight_text(settings.placement)}"
        if settings
        else ""
    )
    lost = " · LOST" if is_lost(entry, threshold) else ""
    return f"{entry.prompt}{weights} · likeness {entry.likeness:.2f}{lost}"


def batch_view(out: Path, numbers: dict[str, Any] | None) -> str:
    """The pictures of the folder's last run over all environments: likeness, flags, the report."""
    if numbers is None:
        return NOT_RUN
    flagged, pictures = numbers["flagged"], numbers["pictures"]
    items = "".join(_item(out, name, likeness, lost=name in flagged) for name, likeness in pictures.items())
    return (
        f"<p><b>{len(flagged)} of {len(pictures)}</b> lost the product. "
        f'<a href="{FILES}/{REPORT}" target="_blank">Report</a></p>'
        f'<p class="quiet">{escape(numbers["reason"])}</p><ul class="batch">{items}</ul>'
    )


def _item(out: Path, name: str, likeness: float, *, lost: bool) -> str:
    mark = '<span class="lost">lost</span> ' if lost else ""
    path = out / ITEMS / name / PICTURE
    shown = f'<img src="{file_url(path, out)}" alt="" loading="lazy">' if path.is_file() else ""
    return f"<li>{shown}{mark}{escape(name)}<br>likeness {likeness:.2f}</li>"


def file_url(path: Path, out: Path) -> str:
    """The address of a file of the folder of results; it changes when the file does."""
    version = path.stat().st_mtime_ns if path.is_file() else 0
    return f"{FILES}/{quote(path.relative_to(out).as_posix())}?v={version}"


def findings_view(findings: Sequence[Finding], out: Path) -> str:
    """A diagnosis as sentences: what to do first, then every answer."""
    if not findings:
        return NOT_DIAGNOSED
    first = first_problem(findings)
    begin = "No problem was found." if first is None else f"First: {first.advice}."
    items = "".join(_finding(each) for each in sorted(findings, key=lambda each: not each.bad))
    link = (
        f' <a href="{FILES}/{DIAGNOSIS}" target="_blank">With the curve</a>'
        if (out / DIAGNOSIS).is_file()
        else ""
    )
    return f'<p><b>{escape(begin)}</b>{link}</p><ul class="findings">{items}</ul>'


def _finding(each: Finding) -> str:
    said = f"{each.topic}, {each.name.replace('-', ' ')}: {VERDICTS[each.verdict]}. {each.seen}."
    advice = f" <b>{escape(each.advice)}.</b>" if each.bad else ""
    kind = ' class="error"' if each.bad else ""
    return f"<li><span{kind}>{escape(said)}</span>{advice}</li>"
