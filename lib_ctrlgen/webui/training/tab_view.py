"""The state of trainings as HTML, and their previews."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from modules import shared
from PIL import Image

from lib_ctrlgen.files import read_picture
from lib_ctrlgen.request.training_answers import TrainingAnswer
from lib_ctrlgen.request.training_check import CheckedTraining

from .folder import REPORT, RUNNING, TrainingFolder
from .tab_fields import labelled

MOST, SIDE = 24, 256  # previews that are shown, and their size in pixels
SENTENCES = {
    "starting": "It is starting.",
    "checking": "It checks the pictures and the cost.",
    "caching": "It prepares the pictures.",
    "validating": "It makes previews and measures them.",
    "stopping": "It stops after this step, and writes a checkpoint.",
    "stopped": "It was stopped: Resume goes on from its checkpoint.",
    "finished": "It has finished.",
    "failed": "It has failed: Resume goes on from its last checkpoint.",
}
NONE = "No training has been started in this WebUI yet."


def cost_html(found: CheckedTraining) -> str:
    """What a training is and costs."""
    parts = [
        paragraph(f"{found.about}."),
        paragraph(f"{found.training} pictures to learn from, {found.held_out} to measure it."),
        f'<p class="ctrlgen-cost" role="status">{escape(f"It takes {found.cost.text}.")}</p>',
        *(paragraph(f"Warning: {warning}.") for warning in found.warnings),
        paragraph("A picture that is generated meanwhile needs memory, too, and makes the training slower."),
    ]
    return "".join(parts)


def paragraph(text: str, kind: str = "note") -> str:
    """A sentence as HTML."""
    role = ' role="alert"' if kind == "error" else ""
    return f'<p class="ctrlgen-{kind}"{role}>{escape(text)}</p>'


def state_html(chosen: TrainingFolder | None, every: Sequence[TrainingAnswer]) -> str:
    """The chosen training, and a list of all; `data-live` says whether the page should look again."""
    answer = chosen.answer() if chosen else None
    live = any(each.state in RUNNING for each in every)
    head = progress_html(answer) + link_html(chosen, answer) if chosen and answer else paragraph(NONE)
    others = every if len(every) > 1 else ()
    rows = "".join(
        f"<li><b>{escape(each.name)}</b> <span>{escape(said(each))}</span></li>" for each in others
    )
    return f'<div class="ctrlgen-train" data-live="{int(live)}">{head}<ul>{rows}</ul></div>'


def said(answer: TrainingAnswer) -> str:
    """The state in a sentence."""
    return SENTENCES.get(answer.state, f"Step {answer.step} of {answer.steps}.")


def progress_html(answer: TrainingAnswer) -> str:
    """One training: a bar, numbers, the cost, warnings, the error."""
    most = max(answer.steps, 1)
    bar = f'<progress max="{most}" value="{answer.step}" aria-label="Progress of the training"></progress>'
    numbers = [said(answer)]
    if answer.state != "training" and answer.steps:
        numbers.append(f"Step {answer.step} of {answer.steps}.")
    numbers += [text for value, text in measures(answer) if value is not None]
    spans = " ".join(f"<span>{escape(text)}</span>" for text in numbers)
    notes = [answer.about and f"{answer.about}.", answer.cost and f"It takes {answer.cost}."]
    notes += [f"Warning: {warning}." for warning in answer.warnings]
    if answer.state == "finished":
        notes.append(usage(answer))
    error = paragraph(labelled(answer.error), "error") if answer.error else ""
    shown = "".join(paragraph(note) for note in notes if note)
    return f'<p role="status"><b>{escape(answer.name)}</b> {spans}</p>{bar}{error}{shown}'


def measures(answer: TrainingAnswer) -> list[tuple[float | None, str]]:
    """The measured values with their sentences."""
    left = answer.seconds_left if answer.state == "training" else None
    return [
        (answer.loss, f"Loss {answer.loss or 0:.4f}."),
        (answer.likeness, f"Likeness {answer.likeness or 0:.2f}."),
        (answer.accuracy, f"Prompt accuracy {answer.accuracy or 0:.2f}."),
        (left, f"About {max((left or 0) / 60, 0.1):.1f} minutes left."),
    ]


def usage(answer: TrainingAnswer) -> str:
    """How the finished file is used."""
    if answer.kind == "textual-inversion":
        return f"Write {answer.name} in a prompt to use it."
    if answer.kind == "ip-adapter":
        return f"Choose {answer.file} as the model of a unit to use it."
    return f"Write <lora:{answer.name}:1> in a prompt to use it."


def link_html(training: TrainingFolder, answer: TrainingAnswer) -> str:
    """A link to the report, if there is one."""
    if not answer.report:
        return ""
    if shared.cmd_opts.api:
        address = f"ctrlgen/v1/train/{quote(training.name, safe='')}/files/{REPORT}"
    else:
        address = f"file={quote((training.run / REPORT).resolve().as_posix(), safe='/:')}"
    link = f'<a class="ctrlgen-report" target="_blank" href="{escape(address, quote=True)}">'
    return f"<p>{link}Open the report</a></p>"


def preview_files(training: TrainingFolder | None) -> list[Path]:
    """The newest previews of a training, the last ones first."""
    if training is None:
        return []
    found = sorted((training.run / "previews").glob("*.png"))
    return found[-MOST:][::-1]


def previews(files: Sequence[Path]) -> list[tuple[Image.Image, str]]:
    """Small pictures with the steps that they were made at; unfinished files are left out."""
    shown = []
    for file in files:
        image = read_picture(file)
        if image is not None:
            image.thumbnail((SIDE, SIDE))
            shown.append((image.convert("RGB"), f"Step {int(file.stem.partition('-')[0])}"))
    return shown
