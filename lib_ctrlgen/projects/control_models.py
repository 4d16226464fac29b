"""Which kinds of control the models in the model folders can do for a checkpoint, and with which file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib_ctrlgen.controls.describe import describe, family_of, is_checkpoint
from lib_ctrlgen.controls.registry import identify_file
from lib_ctrlgen.errors import ModelError, RequestError, at_path, nearest
from lib_ctrlgen.forms.control_files import MAPPED, ControlFile, best_file, best_preprocessor, file_of
from lib_ctrlgen.models.bundled import NAME as TINY
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.model_files import ModelFiles
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_json
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.unet.call import LATENT_FACTOR
from lib_ctrlgen.unet.family import Family, require_family

NATIVE_SIZES = {"SDXL": 1024, "SD2": 512, "SD1.5": 512}  # pixels of a side for which a family was trained
ADAPTERS = {"SDXL": "ip-adapter-plus_sdxl_vit-h", "SD1.5": "ip-adapter-plus_sd15"}  # that can be downloaded
TINY_SIZE = 192  # sheets of 4:3 then have 224 x 168 pixels, and 256 is the most


@dataclass(frozen=True, kw_only=True)
class Controls:
    """A checkpoint and the control files that fit it.

    base    the checkpoint's family, and the width of its text features
    size    pixels of the side for which it was trained, 192 for the bundled model
    """

    checkpoint: str
    base: Family
    size: int
    files: tuple[ControlFile, ...]

    @property
    def family(self) -> str:
        """The family's name, such as SD1.5; `custom` for another width."""
        return self.base.name

    def file(self, kind: str) -> ControlFile | None:
        """The best file for a kind that reads a control map, such as `edges`."""
        return best_file(kind, [file for file in self.files if file.control in MAPPED], self.family)

    def kinds(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Those of these kinds for which there is a file, in their order."""
        return tuple(kind for kind in wanted if self.file(kind) is not None)

    def adapter(self) -> ControlFile:
        """The best IP-Adapter. Raises RequestError if there is none for the checkpoint."""
        found = best_file("image_prompt", [f for f in self.files if f.control == "ip_adapter"], self.family)
        if found is None:
            known = ADAPTERS.get(self.family, "")
            advice = f": `ctrlgen models get {known}` downloads one" if known else ""
            raise RequestError(
                "",
                f"a reference picture needs an IP-Adapter for {self.family} checkpoints, and there is none"
                f"{advice}",
            )
        return found

    def require_fit(self, path: Path) -> None:
        """Raise ModelError unless a control file was made for the checkpoint's family."""
        require_family(identify_file(path).family, self.base, path.stem)


def controls_for(checkpoint: str, files: ModelFiles) -> Controls:
    """The control files in the model folders that fit a checkpoint. Raises RequestError if it is unknown."""
    with at_path("--model"):
        path = files.find_checkpoint(checkpoint)
        if not is_checkpoint(path):
            kind = describe(path).kind
            raise RequestError("--model", f"{checkpoint} is no checkpoint but a control ({kind})")
        family = family_of(path)
    if family is None:
        raise RequestError("--model", f"{checkpoint} is no SD1.5, SD2 or SDXL checkpoint")
    fitting = {model.name: _fitting(model.path, family) for model in files.all()}
    found = [file_of(name, kind.control, family.name, kind.variant) for name, kind in fitting.items() if kind]
    return Controls(checkpoint=checkpoint, base=family, size=native_size(path, family), files=tuple(found))


def _fitting(path: Path, family: Family) -> ModelKind | None:
    """What a control file for checkpoints of this family is; None for other files, and for damaged ones."""
    with suppress(ModelError):
        kind = None if is_checkpoint(path) else identify_file(path)
        return kind if kind is not None and kind.family == family else None
    return None


def native_size(checkpoint: Path, family: Family) -> int:
    """The pixels of a side for which a checkpoint was trained: as its folder says, else by its family."""
    if checkpoint.stem == TINY:
        return TINY_SIZE
    said = read_json(checkpoint / "unet" / "config.json").get("sample_size") if checkpoint.is_dir() else None
    return LATENT_FACTOR * said if isinstance(said, int) else NATIVE_SIZES.get(family.name, 512)


def usual_preprocessor(kind: str, file: ControlFile | None, store: ModelStore) -> str:
    """The preprocessor for a kind and a file: the first one whose weights are there, else the best one."""

    def is_ready(name: str) -> bool:
        with suppress(ModelError):  # for missing weights
            made = preprocessor(name)
            return not made.needs_weights or made.with_store(store).weight_files() is not None
        return False

    found = file or ControlFile(name="", control=MAPPED[0], kinds=(kind,))
    return best_preprocessor(kind, found, is_ready)


def require_kinds(controls: Controls, wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The wanted kinds, each of which must be known and have a file; without any, all that have one.

    Raises RequestError.
    """
    here = controls.kinds(known)
    for kind in wanted:
        if kind not in known:
            raise RequestError("--kinds", f"unknown kind {kind!r} ({nearest(kind, known)})")
        if kind not in here:
            raise RequestError("--kinds", f"no model for {kind!r} fits {controls.checkpoint}; {_have(here)}")
    if not here:
        raise RequestError(
            "--model",
            f"no control model for {', '.join(known)} fits {controls.checkpoint} ({controls.family}): name "
            "their folder with --models FOLDER, or download one with `ctrlgen models get`",
        )
    return tuple(dict.fromkeys(wanted)) or here


def _have(here: Sequence[str]) -> str:
    return f"there are models for {', '.join(here)}" if here else "there is none at all"
