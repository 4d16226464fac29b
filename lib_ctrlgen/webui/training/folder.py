"""One training's folder: what was asked for, the process, the log, and the state that the process writes."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import save_bytes
from lib_ctrlgen.request.training import TrainingSpec, training_payload, training_spec
from lib_ctrlgen.request.training_answers import TrainingAnswer, TrainingPhase
from lib_ctrlgen.request.training_state import (
    RESTART_ADVICE,
    STATE,
    STOP,
    TrainingState,
    ask_to_stop,
    read_state,
)

from .processes import end, is_running

RECORD, LOG, SPEC, REPORT = "job.json", "log.txt", "spec.json", "report.html"
BEFORE = "state-before.json"
PICTURES = "pictures"  # uploaded ones
RUNNING = frozenset({"starting", "checking", "caching", "training", "validating", "stopping"})
ENDED = frozenset({"stopped", "finished", "failed"})
GONE = "the process ended without a message (it was killed, or the computer was switched off)"
REMOVE_ADVICE = "remove the training and start it again"
AGAIN = "resuming goes on from the last checkpoint"


class Record(Struct, frozen=True, kw_only=True):
    """A training's process. What it runs is made from the spec, never read from here.

    kind      what is trained
    process   the number of the process
    created   its start as a Unix time
    unloaded  whether the WebUI's checkpoint was moved out of the GPU's memory for it
    ended     whether its process was ended before it had written a state
    """

    kind: str
    process: int = 0
    created: float = 0.0
    unloaded: bool = False
    ended: bool = False


class TrainingFolder:
    """A training by its folder, whose name is that of the training."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name

    @property
    def run(self) -> Path:
        """The folder in which the process keeps state, checkpoints, previews and report."""
        return self.folder / f"{self.name}.training"

    @property
    def file(self) -> str:
        """The name of the file that is made."""
        return f"{self.name}.safetensors"

    @property
    def log(self) -> Path:
        """The output of the process."""
        return self.folder / LOG

    def record(self) -> Record | None:
        """What was written by `keep`, None for a folder that is no training."""
        try:
            return msgspec.json.decode((self.folder / RECORD).read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return None

    def spec(self) -> TrainingSpec:
        """The spec, with the output in this folder, which may have been moved.

        Raises RequestError for a spec that is wrong, and HostError for a file that cannot be read.
        """
        try:
            found = msgspec.json.decode((self.folder / SPEC).read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise HostError(f"{self.folder / SPEC} cannot be read: {error}") from error
        uploaded = self.folder / PICTURES
        moved = {"pictures": str(uploaded)} if uploaded.is_dir() else {}
        return training_spec({**found, **moved, "out": str(self.folder / self.file)})

    def keep_spec(self, spec: TrainingSpec) -> None:
        """Write the spec. Raises HostError."""
        save_bytes(msgspec.json.format(msgspec.json.encode(training_payload(spec))), self.folder / SPEC)

    def keep(self, record: Record) -> None:
        """Write the record. Raises HostError."""
        save_bytes(msgspec.json.encode(record), self.folder / RECORD)

    @property
    def is_running(self) -> bool:
        """Whether its process runs; one that has written how it ended is only leaving."""
        record, state = self.record(), read_state(self.run)
        ended = state is not None and state.status in ENDED
        return record is not None and not ended and is_running(record.process, record.created)

    def stop(self) -> None:
        """Ask the process to write a checkpoint and end; one that has not begun is ended at once."""
        record = self.record()
        if record is None or not self.is_running:
            return
        if read_state(self.run) is None:
            self.keep(replace(record, ended=True))
            end(record.process, record.created)
        else:
            ask_to_stop(self.run)

    def remove(self) -> None:
        """Remove the folder; the finished file in the target folder stays. Raises HostError."""
        try:
            shutil.rmtree(self.folder)
        except OSError as error:
            raise HostError(f"cannot remove {self.folder}: {error.strerror or error}") from error

    def begin(self) -> None:
        """Forget a wish to stop, and put the state of an earlier run aside: the next one writes its own."""
        (self.run / STOP).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            (self.run / STATE).replace(self.run / BEFORE)

    def _before(self) -> TrainingState | None:
        """The state of the run before, for its steps."""
        try:
            return msgspec.json.decode((self.run / BEFORE).read_bytes(), type=TrainingState)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return None

    def answer(self) -> TrainingAnswer | None:
        """What is shown of it, None for a folder that is no training."""
        record = self.record()
        if record is None:
            return None
        running = is_running(record.process, record.created)
        current = read_state(self.run)
        phase, error = self._phase(record, current, running)
        state = current or self._before()
        shown: dict[str, Any] = {"state": phase, "error": error}
        if state is not None:
            names = TrainingAnswer.__struct_fields__
            shown = {**msgspec.structs.asdict(state), **shown}
            shown = {key: value for key, value in shown.items() if key in names}
        fixed = {"name": self.name, "kind": record.kind, "file": self.file, "folder": str(self.folder)}
        report = (self.run / REPORT).is_file()
        return msgspec.convert({**shown, **fixed, "report": report}, TrainingAnswer)

    def _phase(
        self, record: Record, current: TrainingState | None, running: bool
    ) -> tuple[TrainingPhase, str]:
        """The state in a word, and the error, by the state that the present run has written."""
        if current is not None and current.status in ENDED:
            return current.status, current.error.replace(RESTART_ADVICE, REMOVE_ADVICE)
        if running and (self.run / STOP).exists():
            return "stopping", ""
        if running:
            return ("starting" if current is None else current.status), ""
        if current is None and record.ended:
            return "stopped", ""
        return "failed", self._last_words(current or self._before())

    def _last_words(self, state: TrainingState | None) -> str:
        """Why a process ended that did not say so in its state."""
        try:
            lines = [line for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        except OSError:
            lines = []
        said = next((line for line in reversed(lines) if line.startswith("ctrlgen: error: ")), "")
        if said:
            return said.removeprefix("ctrlgen: error: ").replace(RESTART_ADVICE, REMOVE_ADVICE)
        if state is None and lines:
            return f"{GONE}; the last line of its log: {lines[-1][:300]}"
        return f"{GONE}; {AGAIN}" if state is not None else GONE
