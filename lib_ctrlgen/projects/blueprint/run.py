"""The whole run of `ctrlgen blueprint`: check, clean, find the strength, render, compare, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import save_text
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.projects.contact_sheet import Tile, contact_sheets
from lib_ctrlgen.projects.control_models import Controls, controls_for, require_kinds
from lib_ctrlgen.projects.cost import Work, estimate
from lib_ctrlgen.projects.results import Results
from lib_ctrlgen.projects.sources import CheckedFolder, Source, checked_folder
from lib_ctrlgen.tuner.cells import key_of

from .maps import MAPS
from .rendering import ORIGINAL, RENDERING, Renderer
from .report import IndexPage, save_index
from .settings import ALIGNED, SAMPLES, BlueprintSettings, as_inputs, sheet_size
from .sheet import Sheet, read_sheet
from .strength import Search, Setup, combinations, found_setup, samples, tried_weights

SHEETS, SETUP, CONTACT = "sheets", "setup.json", "contact-sheet"
CAPTION = "{recall:.0%} of the lines kept, edges F1 {f1:.2f}"
NO_LINES = "no lines were found in any picture of the folder ({}): is it a folder of drawings?"
MOST_NAMES = 5  # of files in an error

Tell = Callable[[str], None]  # a line for the user
Progress = Callable[[str, int, int], None]  # the phase, done, total


@dataclass(frozen=True, kw_only=True)
class BlueprintResult:
    """A finished run.

    records  of the sheets, in the order of their names
    made     the number of sheets that this run rendered; the others were there
    failed   the files that were left out, with the reason
    """

    index: Path
    contact: tuple[Path, ...]
    records: tuple[dict[str, Any], ...]
    made: int
    failed: tuple[str, ...]
    setup: Setup


@dataclass
class Run:
    """One run over a folder; `tell` gets sentences, `progress` numbers."""

    folder: Path
    out: Path
    settings: BlueprintSettings
    engine: Engine
    look: Image.Image | None = None
    tell: Tell = field(default=lambda _line: None)
    progress: Progress = field(default=lambda _phase, _done, _total: None)
    command: str = "ctrlgen blueprint"
    failed: list[str] = field(default_factory=list)

    def __call__(self) -> BlueprintResult:
        """Run it. What an earlier run with the same settings finished is not made again.

        An interrupted run (KeyboardInterrupt) writes contact sheet and index of the sheets that are finished.
        Raises RequestError, HostError, and FolderInUseError if another run writes into the folder.
        """
        controls = controls_for(self.settings.model, self.engine.store.files)
        kinds = require_kinds(controls, self.settings.kinds, tuple(MAPS))
        if self.look is not None:
            controls.adapter()
        found = checked_folder(self.folder, self.out)
        for refused in found.refused:
            self.leave_out(str(refused))
        with Results(self.out, SHEETS) as results:
            self.tell(f"{len(found.sources)} sheets; {self.cost(found, controls, kinds)}")
            setup, anchor = self.prepared(found, controls, kinds)
            renderer = Renderer(
                engine=self.engine,
                settings=self.settings,
                controls=controls,
                setup=setup,
                look=self.look,
                anchor=anchor,
            )
            records: list[dict[str, Any]] = []
            made = [0]
            try:
                self.render_all(found.sources, renderer, results, records, made)
            finally:
                index, contact = self.write(found, records, setup, self.cost(found, controls, setup.kinds))
        if not records:
            raise HostError(f"no sheet could be rendered; {'; '.join(self.failed[:3])}")
        return BlueprintResult(
            index=index,
            contact=contact,
            records=tuple(records),
            made=made[0],
            failed=tuple(self.failed),
            setup=setup,
        )

    def leave_out(self, reason: str) -> None:
        """Note a file that is left out, and say so at once."""
        self.failed.append(reason)
        self.tell(f"left out: {reason}")

    def cost(self, found: CheckedFolder, controls: Controls, kinds: Sequence[str]) -> str:
        """The estimate for a GPU."""
        tried = len(combinations(kinds)) * len(tried_weights(self.settings))
        count = len(found.sources)
        shared = count - 1 if self.settings.look == ALIGNED else 0  # pictures of the anchor beside the others
        pictures = count + shared + (tried + 1) * min(SAMPLES, count) * (tried > 1)
        work = Work.guided(
            pictures=pictures,
            steps=self.settings.steps,
            controls=len(kinds),
            size=sheet_size(found.sources[0].size, self.settings.size, controls.size),
            family=controls.family,
        )
        return estimate(work)

    def prepared(
        self, found: CheckedFolder, controls: Controls, kinds: Sequence[str]
    ) -> tuple[Setup, Sheet | None]:
        """The controls for all sheets, and the sheet that gives the style; those of an earlier run count.

        So they stay the same when pictures are added to the folder.
        """
        inputs = as_inputs(self.settings) | {
            "kinds": list(kinds),
            "look": "" if self.look is None else image_hash(self.look),
        }
        known = self.read_setup(inputs)
        if known:
            setup = Setup(**{**known["setup"], "kinds": tuple(known["setup"]["kinds"])})
        else:
            setup = self.search(found, controls, kinds)
        anchor = self.anchor(found.sources, str(known.get("anchor", "")), controls)
        name = "" if anchor is None else anchor.source.name
        content = {"key": key_of(inputs), "anchor": name, "setup": asdict(setup)}
        save_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", self.out / SETUP)
        self.tell(f"{' + '.join(setup.kinds)} at {setup.weight:g}. {setup.reason}")
        return setup, anchor

    def anchor(self, sources: Sequence[Source], known: str, controls: Controls) -> Sheet | None:
        """The sheet that gives the style: the known one, else the first one with lines. Raises HostError."""
        if self.settings.look != ALIGNED:
            return None
        order = sorted(sources, key=lambda each: each.name != known)
        found = next(self.with_lines(order, controls), None)
        if found is None:
            raise HostError(no_lines(sources))
        return found

    def with_lines(self, sources: Iterable[Source], controls: Controls) -> Iterator[Sheet]:
        """The sheets in which lines are found; the others are told when their turn comes."""
        for source in sources:
            with suppress(RequestError):
                yield read_sheet(source, self.settings, controls)

    def read_setup(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """What an earlier run with the same settings decided; empty if there is none."""
        try:
            content = json.loads((self.out / SETUP).read_text("utf-8"))
            return dict(content) if content["key"] == key_of(inputs) and content["setup"]["kinds"] else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def search(self, found: CheckedFolder, controls: Controls, kinds: Sequence[str]) -> Setup:
        """Let the tuner find kinds and strength on some of the sheets that have lines."""
        order = samples(len(found.sources), SAMPLES)
        rest = [number for number in range(len(found.sources)) if number not in order]
        sources = [found.sources[number] for number in (*order, *rest)]
        sheets = list(islice(self.with_lines(sources, controls), len(order)))
        if not sheets:
            raise HostError(no_lines(found.sources))
        search = Search(
            engine=self.engine,
            settings=self.settings,
            controls=controls,
            look=self.look,
            out=self.out,
            tell=lambda done, total: self.progress("strength", done, total),
        )
        return found_setup(search, sheets, kinds)

    def render_all(
        self,
        sources: Sequence[Source],
        renderer: Renderer,
        results: Results,
        records: list[dict[str, Any]],
        made: list[int],
    ) -> None:
        """Render the sheets that are missing, one after another; only one is in memory."""
        for number, source in enumerate(sources):
            inputs = renderer.inputs(source.digest)
            record = results.read(source.name, inputs)
            if record is None:
                record = self.rendered(source, renderer, results, inputs)
                made[0] += record is not None
            if record is not None:
                records.append(record)
            self.progress("sheets", number + 1, len(sources))

    def rendered(
        self, source: Source, renderer: Renderer, results: Results, inputs: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Render one sheet; None, after it was told, if its picture cannot be used."""
        record: dict[str, Any] = {}
        try:
            sheet = read_sheet(source, self.settings, renderer.controls)
            with results.writing(source.name, inputs, record) as folder:
                record |= renderer.render(sheet, folder, results.folder(source.name))
        except RequestError as error:
            text = str(error)
            self.leave_out(text if str(source.path) in text else f"{source.path}: {text}")
            return None
        for note in source.notes:
            self.tell(f"{source.path}: {note}")
        return record

    def write(
        self, found: CheckedFolder, records: Sequence[dict[str, Any]], setup: Setup, cost: str
    ) -> tuple[Path, tuple[Path, ...]]:
        """Write the contact sheet and the index of the finished sheets."""
        tiles = [
            Tile(
                pictures=tuple(self.out / SHEETS / record["name"] / name for name in (ORIGINAL, RENDERING)),
                title=record["name"],
                caption=CAPTION.format(**record["lines"]),
            )
            for record in records
        ]
        title = f"{self.folder.resolve().name}, {len(records)} sheets"
        contact = contact_sheets(tiles, title, self.out / CONTACT) if tiles else ()
        page = IndexPage(
            title=self.folder.resolve().name or "Blueprints",
            records=records,
            refused=self.failed,
            contact=[path.name for path in contact],
            setup=setup,
            settings=self.settings,
            total=len(found.sources),
            cost=cost,
            command=self.command,
        )
        return save_index(self.out, page), contact


def no_lines(sources: Sequence[Source]) -> str:
    """The error for a folder in whose pictures no lines are found; it names some of them."""
    names = [source.path.name for source in sources[:MOST_NAMES]]
    more = ["..."] if len(sources) > MOST_NAMES else []
    return NO_LINES.format(", ".join([*names, *more]))
