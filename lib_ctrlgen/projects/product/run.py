"""The whole run of `ctrlgen product`: check, train, make every picture, measure, flag, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import new_folder
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.projects.contact_sheet import Tile, contact_sheets
from lib_ctrlgen.projects.control_models import Controls, controls_for
from lib_ctrlgen.projects.cost import Work, estimate
from lib_ctrlgen.projects.results import KEY, Results

from .diagnosis.data import data_findings
from .diagnosis.encoder import encoder_findings
from .environments import Environment
from .history import keep, keep_all
from .picture import PICTURE, Photographer, Shot
from .preparing import photographer_for, require_adapter, require_placement
from .recipes import PictureRecipes
from .report import ReportPage, save_report
from .result import ProductResult, save_numbers
from .settings import ProductSettings, peak
from .setup import Setup, save_setup
from .training import EngineFor, ProductAdapter, Trainer, given_adapter, spec_for, trained_adapter
from .views import ProductFolders, ProductViews, read_views

ITEMS, CONTACT = "pictures", "contact-sheet"
COMPARED = 3  # environments that are also made without the adapter

Tell = Callable[[str], None]  # a line for the user
Progress = Callable[[str, int, int], None]  # the phase, done, total
Step = Callable[[int, int], None]  # the network calls of a picture: done, total


@dataclass
class ProductRun:
    """One run over a product's folder; `tell` gets sentences, `progress` and `step` numbers.

    engine_for  the engine of a training; the pictures are made with `engine`, which finds OUT/adapter
    adapter     a trained IP-Adapter; None trains one
    training    fields of the training that replace the usual ones
    as_trained  whether an adapter that was trained here is used whatever it was trained with
    recipes     keeps each picture as a recipe; None for no recipes
    """

    folders: ProductFolders
    out: Path
    settings: ProductSettings
    environments: Sequence[Environment]
    engine: Engine
    engine_for: EngineFor
    adapter: Path | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    as_trained: bool = False
    recipes: PictureRecipes | None = None
    tell: Tell = field(default=lambda _line: None)
    progress: Progress = field(default=lambda _phase, _done, _total: None)
    step: Step = field(default=lambda _done, _total: None)
    command: str = "ctrlgen product"
    left_out: list[str] = field(default_factory=list)

    def __call__(self) -> ProductResult:
        """Run it. What an earlier run finished is not made again; an interrupted one writes its report.

        Raises RequestError, HostError, StoppedError, and FolderInUseError if another run has the folder.
        """
        controls, views = self.checked()
        with Results(self.out, ITEMS) as results:
            keep_all(self.out, ITEMS)
            self.tell(
                f"{len(views.views)} views, {len(self.environments)} environments; {self.cost(controls)}"
            )
            self.save_setup()
            adapter = self.product_adapter(controls, views)
            photographer = photographer_for(self.engine, self.settings, controls, adapter, views)
            records: list[dict[str, Any]] = []
            made = [0]
            try:
                self.make_all(photographer, results, records, made)
            finally:
                result = self.finish(photographer, views, records, made[0])
        if not result.records:
            raise HostError(f"no picture could be made; {'; '.join(self.left_out[:3])}")
        return result

    def checked(self) -> tuple[Controls, ProductViews]:
        """The control files and the usable views, before anything is written.

        Raises RequestError and HostError.
        """
        controls = controls_for(self.settings.model, self.engine.store.files)
        if self.recipes is not None:
            self.recipes.require_names([shot.name for shot in self.shots() if shot.identity])
        require_adapter(self.adapter, controls)
        views = self.checked_views(controls)
        require_placement(self.settings, controls, views)
        return controls, views

    def checked_views(self, controls: Controls) -> ProductViews:
        """The usable views; the other files are told."""
        views = read_views(self.folders, self.settings.side(controls.size), self.out)
        for refused in views.refused:
            self.leave_out(str(refused))
        for view in views.views:
            for note in view.source.notes:
                self.tell(f"{view.source.path}: {note}")
        return views

    def leave_out(self, reason: str) -> None:
        """Note a file or a picture that is left out, and say so at once."""
        self.left_out.append(reason)
        self.tell(f"left out: {reason}")

    def cost(self, controls: Controls) -> str:
        """The estimate for a GPU, without the training."""
        count = len(self.environments) * self.settings.count + min(COMPARED, len(self.environments))
        side = self.settings.side(controls.size)
        work = Work.guided(
            pictures=count,
            steps=self.settings.steps,
            controls=1 if peak(self.settings.placement) else 0,
            size=(side, side),
            family=controls.family,
        )
        return estimate(work)

    def save_setup(self) -> None:
        """Write what was asked for, so that `ctrlgen product diagnose OUT` knows it."""
        setup = Setup(
            folders=self.folders,
            settings=self.settings,
            environments=tuple(self.environments),
            adapter=self.adapter,
        )
        save_setup(setup, self.out)

    def product_adapter(self, controls: Controls, views: ProductViews) -> ProductAdapter:
        """The given adapter, or a trained one."""
        if self.adapter is not None:
            return given_adapter(self.adapter)
        if self.as_trained and (found := trained_adapter(self.out)) is not None:
            return found
        new_folder(self.out / "adapter")
        trainer = Trainer(out=self.out, engine_for=self.engine_for, tell=self.tell, progress=self.progress)
        trainer.stage(views)
        side, base = self.settings.side(controls.size), controls.adapter().name
        others = None if self.folders.others is None else self.folders.others.resolve()
        spec = spec_for(self.out.resolve(), self.settings, views, base, side, others, self.training)
        return trainer.adapter(spec, views)

    def shots(self) -> tuple[Shot, ...]:
        """The pictures that are made: first some without the adapter, then all environments."""
        seeds = range(self.settings.seed, self.settings.seed + self.settings.count)
        without = [
            Shot(environment=each, number=0, seed=self.settings.seed, identity=False)
            for each in self.environments[:COMPARED]
        ]
        with_ = [
            Shot(environment=each, number=number, seed=seed % 2**32)
            for each in self.environments
            for number, seed in enumerate(seeds)
        ]
        return (*without, *with_)

    def make_all(
        self,
        photographer: Photographer,
        results: Results,
        records: list[dict[str, Any]],
        made: list[int],
    ) -> None:
        """Make the pictures that are missing, one after another."""
        shots = self.shots()
        for number, shot in enumerate(shots):
            inputs = photographer.inputs(shot)
            record = results.read(shot.name, inputs)
            if record is None:
                record = self.made(shot, photographer, results, inputs)
                made[0] += record is not None
            if record is not None:
                if self.recipes is not None and shot.identity:
                    self.recipes.save(shot.name, results.folder(shot.name))
                records.append({name: value for name, value in record.items() if name != KEY})
            self.progress("pictures", number + 1, len(shots))

    def made(
        self, shot: Shot, photographer: Photographer, results: Results, inputs: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Make one picture; None, after it was told, if its depth picture cannot be used."""
        record: dict[str, Any] = {"adapter": shot.identity}
        final = results.folder(shot.name)
        try:
            with results.writing(shot.name, inputs, record) as folder:
                record |= photographer.make(shot, folder, final, self.step)
        except RequestError as error:
            self.leave_out(f"{shot.name}: {error}")
            return None
        keep(self.out, final)
        return record

    def finish(
        self, photographer: Photographer, views: ProductViews, records: Sequence[dict[str, Any]], made: int
    ) -> ProductResult:
        """Flag the pictures, and write contact sheet, numbers and report of those that there are."""
        own = [each for each in records if each["adapter"]]
        without = [each for each in records if not each["adapter"]]
        threshold = photographer.identity.threshold([each["likeness"] for each in without])
        flagged = tuple(each["name"] for each in own if threshold.lost(each["likeness"]))
        findings = (
            *data_findings(views, photographer.side),
            *encoder_findings(photographer.identity, threshold),
        )
        contact = self.contact(own, flagged)
        result = ProductResult(
            report=self.out / "report.html",
            contact=contact,
            records=tuple(own),
            without=tuple(without),
            threshold=threshold,
            flagged=flagged,
            findings=findings,
            made=made,
            left_out=tuple(self.left_out),
            adapter=photographer.adapter,
        )
        save_numbers(result, self.out)
        save_report(self.out, self.page(result, photographer, views))
        return result

    def contact(self, own: Sequence[Mapping[str, Any]], flagged: Sequence[str]) -> tuple[Path, ...]:
        """The contact sheet of the pictures with the adapter."""
        if not own:
            return ()
        tiles = [
            Tile(
                pictures=(self.out / ITEMS / each["name"] / PICTURE,),
                title=each["name"],
                caption=f"likeness {each['likeness']:.2f}{' - LOST' if each['name'] in flagged else ''}",
            )
            for each in own
        ]
        return contact_sheets(tiles, self.settings.product, self.out / CONTACT, columns=min(4, len(own)))

    def page(self, result: ProductResult, photographer: Photographer, views: ProductViews) -> ReportPage:
        """What the report shows."""
        return ReportPage(
            result=result,
            settings=self.settings,
            encoder=photographer.identity.encoder,
            views=views,
            total=len([shot for shot in self.shots() if shot.identity]),
            cost=self.cost(photographer.controls),
            command=self.command,
        )
