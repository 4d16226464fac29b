"""Finds the kinds of control and their strength: the tuner tries them on some sheets and gives its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from PIL import Image

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.projects.control_models import Controls
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.axes import Axis, applied
from lib_ctrlgen.tuner.cells import Cell, Grid, key_of
from lib_ctrlgen.tuner.progress import TunerResult
from lib_ctrlgen.tuner.run import Tuner
from lib_ctrlgen.tuner.scoring.recommend import recommend
from lib_ctrlgen.tuner.scoring.scores import Scores

from .cleaning import Mask
from .kept_lines import kept_lines
from .settings import STRENGTHS, BlueprintSettings
from .sheet import Sheet, control_units, look_unit, payload_of

ADHERENCE = "adherence"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The controls that all sheets of a run get.

    kinds    their kinds
    weight   their weight
    reason   why, in sentences
    reports  the tuner's reports, relative to the folder of the results
    """

    kinds: tuple[str, ...]
    weight: float
    reason: str
    reports: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NamedAxis(Axis):
    """An axis whose values have names: here combinations of kinds, and equal weights of all units."""

    names: tuple[str, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The names."""
        return self.names

    def named(self, index: int) -> str:
        """The axis' label and the name of the value."""
        return f"{self.label} = {self.names[index]}"


@dataclass(frozen=True, kw_only=True)
class SheetHost(EngineHost):
    """Scores pictures of a sheet by its lines, so that cells with different control maps are comparable."""

    lines: Mask

    def scores(self, picture: Image.Image, free: Image.Image | None, request: GenerationRequest) -> Scores:
        """The tuner's scores, with the edges F1 of the drawing's lines in the place of the adherence."""
        found = super().scores(picture, free, request)
        values = {name: value for name, value in found.values.items() if not name.startswith(ADHERENCE)}
        reasons = {name: text for name, text in found.reasons.items() if not name.startswith(ADHERENCE)}
        return Scores(values | {ADHERENCE: kept_lines(picture, self.lines).f1}, reasons)


def combinations(kinds: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Each kind alone, then all together.

    >>> combinations(["edges", "depth"])
    (('edges',), ('depth',), ('edges', 'depth'))
    """
    alone = tuple((kind,) for kind in kinds)
    return alone if len(kinds) < 2 else (*alone, tuple(kinds))


def axes_of(kinds: Sequence[str], weights: Sequence[float]) -> tuple[Axis, Axis]:
    """Strength as x and control as y, over requests with one unit for each kind."""
    sets = combinations(kinds)
    places = range(len(kinds))
    strength = NamedAxis(
        label="strength",
        paths=tuple(f"units.{place}.weight" for place in places),
        values=tuple((weight,) * len(kinds) for weight in weights),
        names=tuple(f"{weight:g}" for weight in weights),
    )
    control = NamedAxis(
        label="control",
        paths=tuple(f"units.{place}.enabled" for place in places),
        values=tuple(tuple(kind in each for kind in kinds) for each in sets),
        names=tuple(" + ".join(each) for each in sets),
    )
    return strength, control


def grid_for(
    sheet: Sheet,
    settings: BlueprintSettings,
    controls: Controls,
    kinds: Sequence[str],
    look: Image.Image | None,
) -> Grid:
    """The tuner's grid for one sheet."""
    pictures = {kind: encode_image(sheet.map_picture(kind)) for kind in kinds}
    units = control_units(kinds, controls, 1.0, pictures)
    units += [] if look is None else [look_unit(settings, controls, encode_image(look))]
    payload = payload_of(sheet, settings, units)
    strength, control = axes_of(kinds, tried_weights(settings))
    cells = []
    for y in range(len(control)):
        for x in range(len(strength)):
            made = applied(applied(payload, control, y), strength, x)
            parse_request(made, GenerationRequest)
            shown = strength.shown[x], control.shown[y]
            cells.append(Cell(coords=(x, y), shown=shown, payload=made, key=key_of(made)))
    return Grid(axes=(strength, control), cells=tuple(cells), seeds=1)


def tried_weights(settings: BlueprintSettings) -> tuple[float, ...]:
    """The weights that are tried: the user's, or a few from weak to strong."""
    return STRENGTHS if settings.strength is None else (settings.strength,)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search for the setup needs; `tell(done, total)` is called with the number of pictures."""

    engine: Engine
    settings: BlueprintSettings
    controls: Controls
    look: Image.Image | None
    out: Path
    tell: Callable[[int, int], None]


def found_setup(search: Search, sheets: Sequence[Sheet], kinds: Sequence[str]) -> Setup:
    """The kinds and the weight for all sheets, by trying them on these; with one choice nothing is tried.

    The scores of each choice are averaged over the sheets, and the tuner's rule recommends one.
    """
    weights, sets = tried_weights(search.settings), combinations(kinds)
    if len(weights) * len(sets) == 1:
        return Setup(kinds=tuple(kinds), weight=weights[0], reason="They were given; nothing else was tried.")
    runs = [run_sheet(search, sheet, kinds, number, len(sheets)) for number, sheet in enumerate(sheets)]
    scored = mean_scores([run for _, run in runs])
    choices = [(each, weight) for each in sets for weight in weights]
    names = [f"{' + '.join(each)} at {weight:g}" for each, weight in choices]
    chosen = recommend(scored, names)
    number = 0 if chosen is None else chosen.cell
    why = "No choice could be scored; the first one is taken." if chosen is None else chosen.reason
    tried = f"The tuner tried {len(choices)} combinations of control and strength on {len(sheets)} sheets"
    names_of = ", ".join(sheet.source.name for sheet in sheets)
    return Setup(
        kinds=choices[number][0],
        weight=choices[number][1],
        reason=f"{tried} ({names_of}). {why} Adherence is the edges F1 of the drawing's lines.",
        reports=tuple(path for path, _ in runs),
    )


def run_sheet(
    search: Search, sheet: Sheet, kinds: Sequence[str], number: int, count: int
) -> tuple[str, TunerResult]:
    """Run the tuner on one sheet; returns its report, relative to the results, and its result."""
    grid = grid_for(sheet, search.settings, search.controls, kinds, search.look)
    host = SheetHost(engine=search.engine, lines=sheet.lines)
    folder = search.out / "tuning" / sheet.source.name
    total = count * len(grid.cells)
    tuner = Tuner(host, grid, folder)
    result = tuner.run(lambda progress: search.tell(number * len(grid.cells) + progress.done, total))
    return f"tuning/{sheet.source.name}/report.html", result


def mean_scores(runs: Sequence[TunerResult]) -> list[Mapping[str, float]]:
    """The mean of each score over the runs, by cell; a failed cell has no scores in any run."""
    means: list[Mapping[str, float]] = []
    for cells in zip(*(run.done for run in runs), strict=True):
        shared = set.intersection(*(set(each.compared) for each in cells))
        failed = any(each.error for each in cells)
        means.append(
            {} if failed else {name: fmean(c.compared[name] for c in cells) for name in sorted(shared)}
        )
    return means


def samples(count: int, most: int) -> tuple[int, ...]:
    """The numbers of at most `most` sheets, spread over all.

    >>> samples(10, 3), samples(2, 3)
    ((0, 4, 9), (0, 1))
    """
    if count <= most:
        return tuple(range(count))
    return tuple(number * (count - 1) // (most - 1) for number in range(most))
