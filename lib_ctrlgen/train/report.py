"""The report of a training as one self-contained HTML page, and its numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from lib_ctrlgen import __version__
from lib_ctrlgen.files import read_picture, save_text
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.plots.curves import curve_svg
from lib_ctrlgen.request.spec import to_payload

from .cost import duration
from .dataset.views import View
from .prepare import Prepared
from .previews import preview_requests
from .progress import RECENT, Progress
from .validation import Measured

HERE = Path(__file__).parent
REPORT, NUMBERS = "report.html", "report.json"
THUMBNAIL = 192  # pixels
MOST_STEPS = 8  # validations with previews in the table


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture in the report with its caption."""

    image: Image.Image
    caption: str

    @property
    def url(self) -> str:
        """The picture as a data URL, not larger than a thumbnail."""
        small = self.image.copy()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        return encode_image(small)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A number over the steps, with the sentence that says how to read it."""

    title: str
    text: str
    points: tuple[tuple[float, float], ...]
    best: int

    @property
    def svg(self) -> Markup:
        """SVG that this program made, so that it is safe to include in the page."""
        return Markup(curve_svg(self.points, self.title, self.best))


def write_report(prepared: Prepared, progress: Progress, step: int, warnings: Sequence[str]) -> Path:
    """Write `report.html` and `report.json` into the run's folder.

    `step` is that of the exported weights, and `warnings` say what is wrong with them.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        prepared=prepared,
        spec=prepared.spec,
        about=prepared.method.about(),
        step=step,
        warnings=warnings,
        done=len(progress.losses),
        took=duration(progress.seconds),
        curves=curves(progress, step),
        measured=progress.measured,
        prompts=prompts(prepared),
        rows=[(each, previews(prepared, each)) for each in shown(progress.measured, step)],
        training=[thumbnail(view) for view in prepared.pictures.training],
        held_out=[thumbnail(view) for view in prepared.pictures.held_out],
        settings=to_payload(prepared.spec),
        version=__version__,
    )
    found = {**numbers(prepared, progress, step), "warnings": [*prepared.warnings, *warnings]}
    save_text(json.dumps(found, indent=2) + "\n", prepared.folder / NUMBERS)
    return save_text(page, prepared.folder / REPORT)


def numbers(prepared: Prepared, progress: Progress, step: int) -> dict[str, object]:
    """The report's numbers as JSON types."""
    return {
        "version": __version__,
        "spec": to_payload(prepared.spec),
        "steps": len(progress.losses),
        "exported_step": step,
        "seconds": progress.seconds,
        "parameters": prepared.cost.parameters,
        "losses": progress.losses,
        "validations": [each.asdict() for each in progress.measured],
    }


def curves(progress: Progress, best: int) -> list[Curve]:
    """The curves that there are numbers for."""
    found = [
        Curve(
            title="Loss",
            text=f"The mean of {RECENT} steps. It is noisy, and falls little even when the training works.",
            points=tuple(smoothed(progress.losses)),
            best=best,
        )
    ]
    texts = {
        "loss": ("Loss on held-out views", "With the same noise every time: the lower the better."),
        "likeness": ("Likeness", "Of the previews to the held-out views: the higher the better."),
        "accuracy": ("Prompt accuracy", "How well the previews show their prompts: it should not fall."),
    }
    for name, (title, text) in texts.items():
        points = [
            (each.step, value) for each in progress.measured if (value := getattr(each, name)) is not None
        ]
        if points:
            found.append(Curve(title=title, text=text, points=tuple(points), best=best))
    return found


def smoothed(losses: list[float], most: int = 400) -> list[tuple[float, float]]:
    """The moving mean of the losses, at most `most` points."""
    every = max(1, len(losses) // most)
    ends = range(1, len(losses) + 1)
    points: list[tuple[float, float]] = [
        (end, sum(losses[max(0, end - RECENT) : end]) / min(end, RECENT)) for end in ends
    ]
    return points[::every]


def shown(measured: list[Measured], best: int) -> list[Measured]:
    """The validations whose previews are shown: the first, the exported, the last, and some between."""
    every = max(1, -(-len(measured) // MOST_STEPS))
    kept = {0, len(measured) - 1, *range(0, len(measured), every)}
    return [each for number, each in enumerate(measured) if number in kept or each.step == best]


def prompts(prepared: Prepared) -> list[str]:
    """The prompts of the previews."""
    views = (*prepared.pictures.held_out, *prepared.pictures.training)
    return [request.prompt for request in preview_requests(prepared.spec, views)]


def previews(prepared: Prepared, measured: Measured) -> list[Picture]:
    """The previews of a validation that can be read."""
    found = [(name, read_picture(prepared.folder / name)) for name in measured.previews]
    return [Picture(image=image, caption=name) for name, image in found if image is not None]


def thumbnail(view: View) -> Picture:
    """A view for the report."""
    return Picture(image=view.read()[0], caption=f"{view.path.name}: {view.caption}")
