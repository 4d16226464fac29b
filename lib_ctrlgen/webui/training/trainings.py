"""The trainings of a WebUI: check, start, list, stop, resume and remove them. Imports no WebUI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from threading import RLock
from typing import Any, Protocol
from uuid import uuid4

from msgspec.structs import replace

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import new_folder, require_own_copy
from lib_ctrlgen.recipes.names import recipe_name, same_name
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.request.training_answers import TrainingAnswer
from lib_ctrlgen.request.training_check import CheckedTraining, RefusedTraining, read_check

from .folder import PICTURES, RUNNING, SPEC, Record, TrainingFolder
from .packages import packages_folder, require_packages
from .payload import Asked, Places, UploadedPlaces, asked_for, save_files, save_uploads, spec_of, uploaded_as
from .processes import start

PACKAGE = Path(__file__).resolve().parents[3]  # the folder that has lib_ctrlgen
CHECK_SECONDS = 900
HIDDEN, FORGOTTEN_SECONDS = ".check-", 86400  # no check or preparation takes a day
RESUMABLE = frozenset({"failed", "stopped"})


class TrainingConflictError(HostError):
    """Another training runs, or the training is not in the state that is needed."""

    status = HTTPStatus.CONFLICT


class Host(Protocol):
    """What the trainings need of the WebUI."""

    def places(self, *, anywhere: bool) -> Places:
        """Where models and pictures are; `anywhere` allows every folder with pictures."""

    def target(self, kind: str) -> Path:
        """The folder in which the WebUI finds files of this kind."""

    def model_folders(self) -> Sequence[Path]:
        """Folders that the process searches for models."""

    def variables(self) -> Mapping[str, str]:
        """The environment variables of the process."""

    def require_memory(self, base: Path) -> None:
        """Raise RequestError if the checkpoint cannot even be loaded beside what is in the memory."""

    def unload(self) -> None:
        """Move the WebUI's checkpoint out of the GPU's memory."""

    def ended(self, record: Record) -> None:
        """Refresh the lists of files, and take the checkpoint back that was moved away."""


class Trainings:
    """All trainings in a folder, each in a folder of its own."""

    def __init__(self, root: Path, host: Host) -> None:
        self.root, self.host, self.lock = root, host, RLock()
        self._told: set[tuple[str, float]] = set()  # name and start of trainings

    def all(self) -> list[TrainingFolder]:
        """The trainings, the newest first."""
        if not self.root.is_dir():
            return []
        folders = [path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        found = [each for each in map(TrainingFolder, folders) if each.record() is not None]
        return sorted(found, key=lambda each: each.folder.stat().st_mtime, reverse=True)

    def listed(self) -> list[TrainingAnswer]:
        """What is shown of all of them."""
        return [answer for each in self.all() if (answer := each.answer()) is not None]

    def find(self, name: str) -> TrainingFolder | None:
        """The training of a name."""
        return next((each for each in self.all() if each.name == name), None)

    def is_news(self, folder: TrainingFolder) -> bool:
        """True when it is called the first time for the end of this training."""
        record = folder.record()
        key = folder.name, record.created if record else 0.0
        known = key in self._told
        self._told.add(key)
        return not known

    def running(self) -> TrainingFolder | None:
        """The training whose process runs."""
        return next((each for each in self.all() if each.is_running), None)

    def check(
        self, payload: Mapping[str, Any], files: Sequence[Path] = (), *, anywhere: bool = False
    ) -> CheckedTraining:
        """Check a training and estimate its cost, in a process that ends.

        Raises RequestError and HostError.
        """
        asked = asked_for(payload)
        with self._hidden_folder() as folder:
            spec = self._prepared(asked, folder, folder, files, anywhere=anywhere)
            return self._answered(self._command(spec.kind, folder, "--dry-run", "--json"), folder)

    def _answered(self, command: Sequence[str], folder: Path) -> CheckedTraining:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=CHECK_SECONDS,
                env=self._variables(),
                cwd=folder,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(f"the check of the training did not end: {error}") from error
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        found = read_check(lines[-1]) if lines else None
        if isinstance(found, RefusedTraining):
            raise RequestError(found.path, found.message)
        if found is None:
            words = [line for line in done.stderr.splitlines() if line.strip()]
            raise HostError(f"the check of the training failed: {words[-1] if words else done.returncode}")
        return found

    def start(
        self, payload: Mapping[str, Any], files: Sequence[Path] = (), *, anywhere: bool = False
    ) -> TrainingAnswer:
        """Start a training. Raises RequestError, TrainingConflictError and HostError."""
        asked = asked_for(payload)
        with self.lock:
            self._require_idle()
            folder = TrainingFolder(self._new(asked))
            with self._hidden_folder() as hidden:
                spec = self._prepared(asked, hidden, folder.folder, files, anywhere=anywhere)
                record = Record(kind=spec.kind, unloaded=asked.unload)
                TrainingFolder(hidden).keep(record)
                try:
                    return self._launch(folder, record, hidden)
                except BaseException:
                    if not hidden.exists():  # it was renamed
                        shutil.rmtree(folder.folder, ignore_errors=True)
                    raise

    @contextmanager
    def _hidden_folder(self) -> Iterator[Path]:
        """A folder to prepare a training in, removed at the end unless it was renamed. Raises HostError."""
        old = time.time() - FORGOTTEN_SECONDS
        for each in self.root.glob(f"{HIDDEN}*"):  # of a WebUI that was killed
            with suppress(FileNotFoundError):  # of another check, which has ended
                if each.stat().st_mtime < old:
                    shutil.rmtree(each, ignore_errors=True)
        folder = new_folder(self.root / f"{HIDDEN}{uuid4().hex}")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def stop(self, folder: TrainingFolder) -> TrainingAnswer:
        """Ask a training to end with a checkpoint. Raises TrainingConflictError if it does not run."""
        if not folder.is_running:
            raise TrainingConflictError(f"the training {folder.name!r} does not run")
        folder.stop()
        return _shown(folder)

    def resume(self, folder: TrainingFolder, *, install: bool = False) -> TrainingAnswer:
        """Go on from the last checkpoint. Raises TrainingConflictError for one that cannot go on."""
        with self.lock:
            self._require_idle()
            answer, record = _shown(folder), folder.record()
            if record is None or answer.state not in RESUMABLE:
                raise TrainingConflictError(
                    f"the training {folder.name!r} is {answer.state}: nothing to resume"
                )
            spec = folder.spec()
            self._require_free_target(spec)
            require_packages(install=install)
            folder.keep_spec(spec)
            return self._launch(folder, replace(record, kind=spec.kind))

    def _require_free_target(self, spec: TrainingSpec) -> None:
        """Raise TrainingConflictError if the target folder has another file of this name."""
        out = Path(spec.out)
        try:
            require_own_copy(self.host.target(spec.kind) / out.name, out)
        except HostError as error:
            raise TrainingConflictError(str(error)) from error

    def remove(self, folder: TrainingFolder) -> None:
        """Remove a training that does not run; its finished file stays. Raises TrainingConflictError."""
        with self.lock:
            if _shown(folder).state in RUNNING:
                raise TrainingConflictError(f"the training {folder.name!r} runs: stop it first")
            folder.remove()

    def _require_idle(self) -> None:
        running = self.running()
        if running is not None:
            raise TrainingConflictError(
                f"the training {running.name!r} runs: two would not fit; stop it, or wait until it has ended"
            )

    def _new(self, asked: Asked) -> Path:
        """The folder of a new training. Raises RequestError for a name that is taken."""
        known = [path.name for path in self.root.iterdir()] if self.root.is_dir() else []
        taken = same_name(recipe_name(asked.name), known)
        if taken is not None:
            message = f"there is a training {taken!r}: resume it, remove it, or take another name"
            if TrainingFolder(self.root / taken).record() is None:
                message = (
                    f"{self.root / taken} is there, and is no training: move it away, or take another name"
                )
            raise RequestError("$.name", message)
        file = self.host.target(str(asked.fields.get("kind"))) / f"{asked.name}.safetensors"
        if file.exists():
            raise RequestError("$.name", f"{file} exists: take another name, or move the file away")
        return self.root / asked.name

    def _prepared(
        self, asked: Asked, folder: Path, final: Path, files: Sequence[Path], *, anywhere: bool
    ) -> TrainingSpec:
        """The spec of a training in the folder `final`, written into `folder` with the uploaded pictures."""
        uploaded = final / PICTURES
        places = self.host.places(anywhere=anywhere)
        if files:
            asked = uploaded_as(asked, uploaded)
            places = UploadedPlaces(places, uploaded)
        spec = spec_of(asked, final, uploaded, places)
        require_packages(install=asked.install)
        self.host.require_memory(Path(spec.base))
        save_files(files, folder / PICTURES, spec)
        save_uploads(asked.uploads, folder / PICTURES, spec)
        TrainingFolder(folder).keep_spec(spec)
        return spec

    def _command(self, kind: str, folder: Path, *options: str) -> list[str]:
        models = [part for each in self.host.model_folders() for part in ("--models", str(each))]
        own = [sys.executable, "-m", "lib_ctrlgen", "train", kind, "--spec", str(folder / SPEC)]
        return [*own, *options, *models]

    def _variables(self) -> dict[str, str]:
        """The environment of the process: it alone has the folder of packages on its path."""
        path = os.pathsep.join([str(PACKAGE), str(packages_folder())])
        plain = {"PYTHONPATH": path, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
        return {**self.host.variables(), **plain}

    def _launch(self, folder: TrainingFolder, record: Record, hidden: Path | None = None) -> TrainingAnswer:
        """Start the process; `hidden` is where a new training was prepared, which gets its name now."""
        record = replace(record, ended=False)
        copied = ("--copy-to", str(self.host.target(record.kind)))
        command = self._command(record.kind, folder.folder, *copied)
        try:
            if record.unloaded:
                self.host.unload()
            if hidden is not None:
                _rename(hidden, folder.folder)
            folder.begin()
            number, created = start(command, folder.log, self._variables(), lambda: self.host.ended(record))
        except BaseException:
            self.host.ended(record)
            raise
        folder.keep(replace(record, process=number, created=created or time.time()))
        return _shown(folder)


def _rename(folder: Path, final: Path) -> None:
    try:
        folder.rename(final)
    except OSError as error:
        raise HostError(f"cannot make {final}: {error.strerror or error}") from error


def _shown(folder: TrainingFolder) -> TrainingAnswer:
    answer = folder.answer()
    if answer is None:
        raise HostError(f"{folder.folder} is no training any more")
    return answer
