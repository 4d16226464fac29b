"""The whole run of `ctrlgen story`: check, make what is missing, measure, draw sheets, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from operator import mul
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import HostError, ModelError, RequestError, nearest
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling.run import Progress as Step
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.projects.cost import Work, estimate, step_rows
from lib_ctrlgen.projects.results import Results
from lib_ctrlgen.recipes.content import data_url
from lib_ctrlgen.recipes.git import git_program
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.recipes.names import recipe_name
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

from .asset_list import ASSETS, PORTRAIT, RESULT, Asset
from .assets import Planner, planner_of
from .check import STAND_IN, check_assets
from .making import Maker
from .pictures import ReadStory
from .report import Report, save_report

Tell = Callable[[str], None]  # a line for the user
Progress = Callable[[str, int, int], None]  # the phase, done, total


@dataclass(frozen=True, kw_only=True)
class StoryResult:
    """A finished run.

    records  of the assets, in their order
    made     the number of assets that this run made; the others were there
    failed   the assets that could not be made, with the reason
    """

    index: Path
    sheets: tuple[Path, ...]
    records: tuple[dict[str, Any], ...]
    made: int
    failed: tuple[str, ...]


@dataclass
class StoryRun:
    """One run of a story; `tell` gets sentences, `progress` numbers.

    library  the folder of the recipes, None for none
    prefix   of the names of recipes, where several stories share a library
    only     patterns of assets' names, such as `keeper--*`; without any, all assets are made
    step     called after every call of the U-Net; what it raises ends the run
    place    how the page names the folder, with a slash; by default its path
    """

    read: ReadStory
    out: Path
    engine: Engine
    library: Path | None = None
    prefix: str = ""
    only: Sequence[str] = ()
    tell: Tell = field(default=lambda _line: None)
    progress: Progress = field(default=lambda _phase, _done, _total: None)
    step: Step | None = None
    command: str = "ctrlgen story"
    place: str | None = None
    failed: list[str] = field(default_factory=list)

    def __call__(self) -> StoryResult:
        """Run it. What an earlier run made from an equal story is not made again.

        An interrupted run (KeyboardInterrupt) writes sheets and index of the assets that are finished. Raises
        RequestError before anything is made, HostError, and FolderInUseError if another run uses the folder.
        """
        maker, assets = self.checked()
        for note in self.read.notes:
            self.tell(note)
        cost = self.cost(maker.planner, assets)
        self.tell(cost)
        records: dict[Asset, dict[str, Any]] = {}
        made = [0]
        with Results(self.out, ASSETS) as results:
            try:
                self.make_all(maker, assets, results, records, made)
            finally:
                self.find_others(maker, results, records)
                index, sheets = self.write(maker.planner, records, cost)
        if not any(asset in records for asset in assets):
            raise HostError(f"no asset could be made; {'; '.join(self.failed[:3])}")
        return StoryResult(
            index=index,
            sheets=sheets,
            records=tuple(records[asset] for asset in assets if asset in records),
            made=made[0],
            failed=tuple(self.failed),
        )

    def checked(self) -> tuple[Maker, tuple[Asset, ...]]:
        """The maker, and the wanted assets, all of whose requests can be made. Raises RequestError."""
        planner = planner_of(self.read, self.engine.store)
        if self.library is not None:
            git_program()
        maker = Maker(
            host=EngineHost(engine=self.engine, progress=self.step),
            planner=planner,
            library=None if self.library is None else Library(self.library),
            prefix=self.prefix,
        )
        assets = self.wanted(planner)
        for asset in assets:
            recipe_name(maker.recipe_name(asset), "$.title")
        check_assets(planner, assets, maker.host.check)
        return maker, assets

    def wanted(self, planner: Planner) -> tuple[Asset, ...]:
        """The assets whose names match `only`, and the portraits that they need. Raises RequestError."""
        every = planner.assets()
        if not self.only:
            return every
        names = {asset: planner.name(asset) for asset in every}
        for pattern in self.only:
            if not any(fnmatch(name, pattern) for name in names.values()):
                raise RequestError(
                    "--only", f"no asset is named {pattern!r} ({nearest(pattern, names.values())})"
                )
        chosen = {asset for asset in every if any(fnmatch(names[asset], each) for each in self.only)}
        needed = {planner.portrait_of(asset) for asset in chosen}
        return tuple(asset for asset in every if asset in chosen or asset in needed)

    def cost(self, planner: Planner, assets: Sequence[Asset]) -> str:
        """The number of assets, and the estimate for a GPU. Raises RequestError for one that is wrong."""
        story = self.read.story
        requests = [parse_request(planner.request(each, STAND_IN), GenerationRequest) for each in assets]
        rows = list(map(step_rows, requests))
        controls = [len(planner.controls_at(each)) for each in assets]
        work = Work(
            pictures=sum(each.batch_size for each in requests),
            steps=story.steps,
            rows=story.steps * sum(rows),
            control_rows=story.steps * sum(map(mul, rows, controls)),
            size=(story.width, story.height),
            family=planner.controls.family,
        )
        return f"{len(assets)} assets; {estimate(work)}"

    def make_all(
        self,
        maker: Maker,
        assets: Sequence[Asset],
        results: Results,
        records: dict[Asset, dict[str, Any]],
        made: list[int],
    ) -> None:
        """Make the assets that are missing, one after another."""
        for number, asset in enumerate(assets):
            try:
                record, is_new = self.record_of(maker, asset, results, records)
            except (RequestError, ModelError) as error:
                self.failed.append(f"{maker.planner.name(asset)}: {error}")
                self.tell(f"not made: {self.failed[-1]}")
            else:
                records[asset] = record
                made[0] += is_new
            self.progress("assets", number + 1, len(assets))

    def find_others(self, maker: Maker, results: Results, records: dict[Asset, dict[str, Any]]) -> None:
        """Add the records of finished assets that this run did not come to, or that `only` leaves out."""
        for asset in maker.planner.assets():
            needed = maker.planner.portrait_of(asset)
            if asset in records or (needed is not None and needed not in records):
                continue
            with suppress(RequestError):  # of an asset that `only` leaves out, and that cannot be made
                payload = maker.planner.request(asset, self.portrait(maker, asset, results, records))
                found = self.known(maker, asset, results, payload)
                if found is not None:
                    records[asset] = found

    def known(
        self, maker: Maker, asset: Asset, results: Results, payload: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The record of an asset that was made from an equal request and whose picture is there."""
        name = maker.planner.name(asset)
        there = (results.folder(name) / RESULT).is_file()
        return results.read(name, maker.inputs(payload)) if there else None

    def record_of(
        self, maker: Maker, asset: Asset, results: Results, records: dict[Asset, dict[str, Any]]
    ) -> tuple[dict[str, Any], bool]:
        """The record of an asset, and whether it was made now."""
        name = maker.planner.name(asset)
        payload = maker.planner.request(asset, self.portrait(maker, asset, results, records))
        inputs = maker.inputs(payload)
        found = self.known(maker, asset, results, payload)
        if found is not None:
            return found, False
        record: dict[str, Any] = {}
        with results.writing(name, inputs, record) as folder:
            record |= maker.make(asset, payload, folder)
        return record, True

    def portrait(
        self, maker: Maker, asset: Asset, results: Results, records: dict[Asset, dict[str, Any]]
    ) -> str:
        """The portrait that an asset refers to as a data URL; empty if it needs none. Raises RequestError."""
        needed = maker.planner.portrait_of(asset)
        if needed is None:
            return ""
        if needed not in records:
            raise RequestError("", f"its {PORTRAIT} could not be made")
        return data_url((results.folder(maker.planner.name(needed)) / RESULT).read_bytes())

    def write(
        self, planner: Planner, records: dict[Asset, dict[str, Any]], cost: str
    ) -> tuple[Path, tuple[Path, ...]]:
        """Write the sheets and the index of the finished assets; `cost` is that of the wanted ones."""
        assets = planner.assets()
        report = Report(
            planner=planner,
            records={asset: records[asset] for asset in assets if asset in records},
            out=self.out,
            total=len(assets),
            failed=self.failed,
            notes=self.read.notes,
            library=self.library,
            only=self.only,
            cost=cost,
            command=self.command,
            place=f"{self.out}/" if self.place is None else self.place,
        )
        return save_report(report)
