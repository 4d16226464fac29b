"""A box that says which published files are missing, with a button that downloads them and one that cancels.

Nothing is downloaded unless the button is pressed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from typing import Any, TypeAlias

import gradio as gr
from modules.ui_components import FormRow

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.preprocessor_fields import stage_names
from lib_ctrlgen.forms.unit_fields import NO_MODEL
from lib_ctrlgen.models.download import require_online
from lib_ctrlgen.models.listing import size_text
from lib_ctrlgen.models.offers import Offer, is_here, missing_files, published_titled
from lib_ctrlgen.models.published import Published, published_files
from lib_ctrlgen.webui.downloads import offers_of, running_downloads
from lib_ctrlgen.webui.late import plain
from lib_ctrlgen.webui.settings import model_store, offers_downloads

from .components import Panel, UnitPanel, model_choices
from .preview import error_html

Update: TypeAlias = dict[str, Any]
LOOK = 0.5  # seconds between two looks at a download
SWITCHED_OFF = "The setting 'Offer downloads of published models in the panel' is off: get the files by hand."


@dataclass(frozen=True)
class DownloadBox:
    """The components: the whole, what is missing, the two buttons, the files' titles, the progress."""

    area: Any
    text: Any
    start: Any
    cancel: Any
    titles: Any
    progress: Any

    @property
    def shown(self) -> list[Any]:
        """The components that `offered` updates, in its order."""
        return [self.area, self.text, self.start, self.titles, self.progress]


def build_box(prefix: str) -> DownloadBox:
    """Build the box, hidden until a file is missing; `prefix` begins its elements' ids."""
    area = gr.Column(visible=False, elem_id=f"{prefix}_downloads", elem_classes="ctrlgen-downloads")
    with area:
        text = gr.HTML(elem_id=f"{prefix}_missing")
        with FormRow():
            start = gr.Button("Download", elem_id=f"{prefix}_download", size="sm")
            cancel = gr.Button("Cancel", elem_id=f"{prefix}_cancel", size="sm", visible=False)
        titles = gr.Textbox(visible=False, elem_id=f"{prefix}_titles")
        progress = gr.HTML(elem_id=f"{prefix}_progress")
    return DownloadBox(area, text, start, cancel, titles, progress)


def connect_box(box: DownloadBox) -> Any:
    """Connect the buttons; returns the event of the download, which others may follow."""
    outputs = [box.progress, box.start, box.cancel]
    event = box.start.click(downloaded, inputs=[box.titles], outputs=outputs, show_progress=False)
    box.cancel.click(cancelled, inputs=[box.titles], outputs=[box.progress], show_progress=False)
    return event


def build_offers(unit: UnitPanel) -> None:
    """Build a unit's box, and the hidden button that the page presses when a generation has failed."""
    unit.parts["downloads"] = build_box(unit.elem_id("")[:-1])
    hidden = {"elem_id": unit.elem_id("failed"), "elem_classes": ["ctrlgen-hidden"]}
    unit.parts["failed"] = gr.Button("Show what is missing", **hidden)


def connect_offers(unit: UnitPanel, preview: Any) -> None:
    """Show a unit's box when its choices need a file that is missing, and after an error that names one.

    `preview` is the event of the preview, whose error is looked at.
    """
    box = unit.parts["downloads"]
    chosen = [unit.parts["preprocessor"], unit.parts["model"]]
    quiet = {"outputs": box.shown, "show_progress": False}
    for each in chosen:
        each.change(missing_of, inputs=chosen, **quiet)
    inputs = [*chosen, unit.parts["map_error"]]
    preview.then(missing_of, inputs=inputs, **quiet)
    log = f"(names, model) => [names, model, ctrlgen.failure('{unit.panel.tab}')]"
    unit.parts["failed"].click(missing_of, _js=log, inputs=inputs, **quiet)
    connect_box(box).then(lambda: gr.update(**model_choices()), outputs=[unit.parts["model"]])


def build_published(panel: Panel) -> None:
    """Build the list of published files in the accordion of models, with a box for the chosen one."""
    options = {"label": "Published file to download", "elem_id": panel.elem_id("published")}
    choices = sorted({entry.title for entry in published_files()})
    chosen = gr.Dropdown(choices=["", *choices], value="", **options)
    box = build_box(panel.elem_id("published"))
    connect_box(box)
    chosen.change(offer_titled, inputs=[chosen], outputs=box.shown, show_progress=False)


@plain
def missing_of(preprocessor: Any, model: Any, error: str = "") -> list[Any]:
    """Update the box of a unit with these choices, after an error message or its HTML."""
    names, file = stage_names(preprocessor), model if model and model != NO_MODEL else ""
    try:
        found = missing_files(names, file, model_store(), unescape(error or ""))
    except OSError as problem:
        return offered((), error_html(problem))
    return offered(found)


@plain
def offer_titled(title: str) -> list[Any]:
    """Update the box for the published file with this title."""
    entry = published_titled(title or "")
    if entry is None:
        return offered(())
    if is_here(entry, model_store()):
        return offered((), f'<p class="ctrlgen-note">{escape(entry.title)} is here already.</p>')
    return offered((entry,))


def offered(entries: Sequence[Published], note: str = "") -> list[Any]:
    """Update a box (see `DownloadBox.shown`): what is missing, and the button with the size of all of it."""
    offers = offers_of(entries)
    refused = refusal(offers[0]) if offers else ""
    total = size_text(sum(entry.bytes for entry in entries)) if all(e.bytes for e in entries) else ""
    button = gr.update(value=f"Download ({total or 'size not known'})", visible=bool(offers and not refused))
    text = "".join(map(described, offers)) + (refused or note)
    titles = "\n".join(entry.title for entry in entries)
    return [gr.update(visible=bool(text)), text, button, titles, ""]


def described(offer: Offer) -> str:
    """What is missing, as HTML: file, purpose, size, licence, from where, to which folder."""
    entry = offer.entry
    page = f'<a href="{escape(entry.page)}" target="_blank" rel="noopener">its page</a>'
    facts = f"{escape(entry.purpose)}; {offer.size}; licence: {escape(entry.licence) or 'not known here'}"
    place = escape(str(offer.folder / entry.folder))
    return (
        f'<p class="ctrlgen-note"><b>{escape(entry.title)}</b> is missing ({facts}; {page}). It comes from '
        f"{escape(entry.address)} and goes into {place}.</p>"
    )


def refusal(offer: Offer) -> str:
    """Why nothing is downloaded here, as HTML; empty if downloads are possible."""
    if not offers_downloads():
        return f'<p class="ctrlgen-note">{SWITCHED_OFF}</p>'
    try:
        require_online(offer.entry, offer.folder / offer.entry.folder)
    except CtrlGenError as error:
        return error_html(error)
    return ""


@plain
def downloaded(titles: str) -> Iterator[tuple[str, Update, Update]]:
    """Download files one after another: yields the progress as HTML, and whether each button is shown."""
    for offer in offers_of(_entries(titles)):
        if reason := refusal(offer):
            yield reason, gr.update(visible=False), gr.update(visible=False)
            return
        running = running_downloads().start(offer.entry, offer.folder)
        while not running.ended.wait(LOOK) and not running.stopped.is_set():
            yield progress_html(offer, running.done, running.total), gr.update(visible=False), SHOWN
        if running.path is None:
            reason = error_html(running.error or "cancelled; what has arrived is kept")
            yield reason, SHOWN, gr.update(visible=False)
            return
    model_store().refresh()
    done = f'<p class="ctrlgen-note">Downloaded: {escape(", ".join(titles.splitlines()))}.</p>'
    yield done, gr.update(visible=False), gr.update(visible=False)


@plain
def cancelled(titles: str) -> str:
    """Stop the downloads of these files, and say so as HTML."""
    for title in titles.splitlines():
        running_downloads().cancel(title)
    return '<p class="ctrlgen-note">Cancelling...</p>'


def progress_html(offer: Offer, done: int, total: int) -> str:
    """How much of a file has arrived."""
    every = total or offer.entry.bytes
    share = f" ({done * 100 // every} %)" if every else ""
    of = f" of {size_text(every)}" if every else ""
    return f'<p class="ctrlgen-note">{escape(offer.entry.title)}: {size_text(done)}{of}{share}</p>'


def _entries(titles: str) -> list[Published]:
    found = (published_titled(title) for title in titles.splitlines())
    return [entry for entry in found if entry is not None]


SHOWN = gr.update(visible=True)
