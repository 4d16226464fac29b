"""What the page does with one product: it tries, makes, trains and diagnoses with the command's own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from lib_ctrlgen.files import save_picture
from lib_ctrlgen.images.files import image_hash
from lib_ctrlgen.projects.control_models import Controls, controls_for
from lib_ctrlgen.projects.product.diagnosis.finding import Finding
from lib_ctrlgen.projects.product.diagnosis.run import NUMBERS as DIAGNOSIS
from lib_ctrlgen.projects.product.diagnosis.run import diagnosed
from lib_ctrlgen.projects.product.environments import Environment
from lib_ctrlgen.projects.product.history import HISTORY, keep_all, save_thumbnail
from lib_ctrlgen.projects.product.picture import Photographer, Shot
from lib_ctrlgen.projects.product.preparing import photographer_for, require_adapter, require_placement
from lib_ctrlgen.projects.product.run import ITEMS, ProductRun
from lib_ctrlgen.projects.product.training import ADAPTER, trained_adapter
from lib_ctrlgen.projects.product.views import ProductViews
from lib_ctrlgen.projects.results import Results
from lib_ctrlgen.projects.sources import found_files
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.request.training_state import TRAINING, ask_to_stop
from lib_ctrlgen.tuner.cells import key_of
from lib_ctrlgen.tuner.lock import FolderLock

from .form import Form
from .worker import Worker

DEPTHS = "depths"  # the folder of uploaded depth pictures
TRAINING_PHASE = "training"


@dataclass
class Session:
    """One product on the page.

    run   as the command would run it; its settings and environments are those of the page when it opens
    last  the name of the history's picture that "Try" made last, empty before
    """

    run: ProductRun
    worker: Worker = field(default_factory=Worker)
    last: str = ""
    kept: tuple[Hashable, Photographer, ProductViews] | None = None

    def __post_init__(self) -> None:
        """Raises RequestError for the checkpoint, FolderInUseError while another run has the folder."""
        self.controls: Controls = controls_for(self.run.settings.model, self.run.engine.store.files)
        require_adapter(self.run.adapter, self.controls)
        self.run.checked_views(self.controls)
        with FolderLock(self.run.out):
            keep_all(self.run.out, ITEMS)

    @property
    def out(self) -> Path:
        """The folder of results."""
        return self.run.out

    @property
    def form(self) -> Form:
        """The form with which the page opens."""
        return Form(settings=self.run.settings, environments=tuple(self.run.environments))

    def run_of(self, form: Form, *, as_trained: bool = True) -> ProductRun:
        """The run of a form, which tells the worker how far it is."""
        return replace(
            self.run,
            settings=form.settings,
            environments=form.environments,
            as_trained=as_trained,
            tell=self.worker.tell,
            progress=self.progress,
            step=self.worker.step,
            left_out=[],
        )

    def progress(self, phase: str, done: int, total: int) -> None:
        """Keep how far a run is; a training that is to end writes its checkpoint first."""
        if phase == TRAINING_PHASE and self.worker.is_cancelled:
            ask_to_stop((self.out / ADAPTER).with_suffix(TRAINING))
            return
        self.worker.progress(phase, done, total)

    def adapter_text(self) -> str:
        """Which adapter makes the pictures, in a sentence."""
        if self.run.adapter is not None:
            return f"The adapter is a given file: {self.run.adapter.name}."
        found = trained_adapter(self.out)
        return "Nothing is trained yet: the first picture trains first." if found is None else found.about

    def start(self, title: str, form: Form, task: Callable[[Form], str]) -> None:
        """Begin a task with a form, which the page opens with from now on. Raises HostError."""
        self.worker.start(title, lambda: task(form))
        self.run = replace(self.run, settings=form.settings, environments=form.environments)

    def try_one(self, form: Form, environment: Environment) -> str:
        """Make one picture into the history; one that is there already is shown again."""
        run = self.run_of(form)
        with Results(self.out, HISTORY) as results:
            run.save_setup()
            photographer = self.photographer(run)
            shot = Shot(environment=environment, number=0, seed=form.settings.seed)
            inputs = photographer.inputs(shot)
            name, record = key_of(inputs), {"adapter": True}
            found = results.read(name, inputs)
            if found is None:
                with results.writing(name, inputs, record) as folder:
                    record |= photographer.make(shot, folder, results.folder(name), run.step)
                    save_thumbnail(folder)
        self.last = name
        return "Made." if found is None else "This picture is there already: nothing was made again."

    def photographer(self, run: ProductRun) -> Photographer:
        """What makes the pictures of a run; the views are read and measured again only if they changed.

        Raises RequestError and HostError.
        """
        adapter = trained_adapter(self.out) if run.adapter is None else None
        key = (
            self.stamp(),
            None if adapter is None else adapter.digest,
            run.settings.side(self.controls.size),
        )
        if self.kept is None or self.kept[0] != key:
            controls, views = run.checked()
            made = photographer_for(
                run.engine, run.settings, controls, run.product_adapter(controls, views), views
            )
            adapter = trained_adapter(self.out) if run.adapter is None else None
            key = (key[0], None if adapter is None else adapter.digest, key[2])
            self.kept = key, made, views
        _, photographer, views = self.kept
        require_placement(run.settings, self.controls, views)
        return replace(photographer, settings=run.settings)

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """The names, times and sizes of the files of views and masks."""
        folders = [each for each in (self.run.folders.pictures, self.run.folders.masks) if each is not None]
        files = [file.path for folder in folders for file in found_files(folder, self.out)]
        return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)

    def make_all(self, form: Form) -> str:
        """Make what is missing of all environments, and report."""
        result = self.run_of(form)()
        lost = f"{len(result.flagged)} of {len(result.records)} lost the product"
        left = f"; {len(result.left_out)} were left out" if result.left_out else ""
        return f"{result.made} pictures made; {lost}{left}."

    def train(self, form: Form) -> str:
        """Train the adapter with the form's settings, unless that was done already."""
        run = self.run_of(form, as_trained=False)
        controls, views = run.checked()
        with Results(self.out, ITEMS):
            run.save_setup()
            return run.product_adapter(controls, views).about

    def diagnose(self, form: Form) -> str:
        """Diagnose the product, and say what to do first."""
        found = diagnosed(self.run_of(form)).first
        return "No problem was found." if found is None else f"First: {found.advice}."

    def findings(self) -> tuple[Finding, ...]:
        """The findings of the folder's last diagnosis; empty without one."""
        try:
            content: list[Any] = json.loads((self.out / DIAGNOSIS).read_text("utf-8"))
            return tuple(parse_request(each, Finding) for each in content)
        except (OSError, ValueError):  # a RequestError is a ValueError
            return ()

    def save_depth(self, picture: Image.Image) -> Path:
        """Keep an uploaded depth picture in the folder of results; returns its path. Raises HostError."""
        return save_picture(picture, self.out / DEPTHS / f"{image_hash(picture)[:12]}.png")
