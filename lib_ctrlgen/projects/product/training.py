"""The adapter of a product: trained from its views, or a given one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import save_text
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.training import TrainingSpec, training_spec
from lib_ctrlgen.request.training_state import TRAINING, TrainingState
from lib_ctrlgen.train.prepare import Prepared
from lib_ctrlgen.train.run import folder_of, forget, train
from lib_ctrlgen.tuner.cells import key_of

from .settings import TINY_TRAINING, ProductSettings
from .views import MASKS, PICTURES, ProductViews, stage

ADAPTER, VIEWS, RECORD = "adapter/product.safetensors", "views", "adapter/trained.json"
OWN = ("kind", "base", "pictures", "out", "masks", "hold_out", "adapter")  # that the project decides

EngineFor = Callable[[TrainingSpec], Engine]


@dataclass(frozen=True, kw_only=True)
class ProductAdapter:
    """The IP-Adapter of a product.

    about  where it came from, in a sentence
    report  the training's report, relative to the folder of results; empty for a given file
    """

    path: Path
    digest: str
    about: str
    report: str = ""


def given_adapter(path: Path) -> ProductAdapter:
    """A file that the user names. Raises RequestError."""
    if not path.is_file():
        raise RequestError("--adapter", f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    return ProductAdapter(
        path=path.resolve(), digest=sha256(path.read_bytes()).hexdigest(), about=f"It was given: {path.name}."
    )


def trained_adapter(out: Path) -> ProductAdapter | None:
    """The adapter of a training in a folder of results that ended; None without one."""
    path, about = out / ADAPTER, _record_in(out).get("about")
    if about is None or not path.is_file():
        return None
    return ProductAdapter(
        path=path.resolve(),
        digest=sha256(path.read_bytes()).hexdigest(),
        about=str(about),
        report=_report_of(path, out),
    )


def _report_of(adapter: Path, out: Path) -> str:
    """The report of an adapter's training, relative to the folder of results."""
    return (adapter.with_suffix(TRAINING) / "report.html").relative_to(out).as_posix()


def _record_in(out: Path) -> dict[str, Any]:
    """What was written about the training in a folder of results; empty without one."""
    try:
        found = json.loads((out / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def spec_for(
    out: Path,
    settings: ProductSettings,
    views: ProductViews,
    base_adapter: str,
    size: int,
    others: Path | None,
    options: Mapping[str, Any],
) -> TrainingSpec:
    """The training of a product. `options` replace fields of it. Raises RequestError."""
    for name in options:
        if name in OWN:
            raise RequestError(f"--train {name}", "is decided by the project: leave it out")
    masked = (out / VIEWS / MASKS).is_dir()
    prior: dict[str, Any] = {"prior": 0.0} if others is None else {"prior_pictures": str(others)}
    fields: dict[str, Any] = {
        **(TINY_TRAINING if settings.is_tiny else {}),
        "captions": settings.product,
        "resolution": size,
        "seed": settings.seed,
        "background": "random" if masked else "keep",
        "validate_every": 100,
        "save_every": 50,
        **prior,
        **options,
        "kind": "ip-adapter",
        "base": settings.model,
        "adapter": base_adapter,
        "pictures": str(out / VIEWS / PICTURES),
        "masks": str(out / VIEWS / MASKS) if masked else "",
        "hold_out": len(views.held_out),
        "out": str(out / ADAPTER),
    }
    return training_spec(fields)


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains the adapter of a product into a folder of results, and says how far it is."""

    out: Path
    engine_for: EngineFor
    tell: Callable[[str], None]
    progress: Callable[[str, int, int], None]

    def stage(self, views: ProductViews) -> None:
        """Copy the views to where the training reads them."""
        for note in stage(views, self.out / VIEWS):
            self.tell(note)

    def adapter(self, spec: TrainingSpec, views: ProductViews) -> ProductAdapter:
        """The adapter of a spec; a finished training is not repeated, an interrupted one goes on.

        A training with other views or settings takes the place of the one before.
        Raises RequestError, and StoppedError if somebody asked the training to stop.
        """
        key = key_of({"spec": _fields(spec), "views": views.digests})
        path = Path(spec.out)
        record = _record_in(self.out)
        if record.get("key") != key or "about" not in record or not path.is_file():
            self._train(spec, views, key, restart=record.get("key", key) != key)
        found = trained_adapter(self.out)
        assert found is not None  # the training has just ended, or had ended before
        return found

    def _train(self, spec: TrainingSpec, views: ProductViews, key: str, *, restart: bool) -> None:
        """Train, and record the key at the start and what became of it at the end."""
        self.tell("training the adapter anew" if restart else "training the adapter")
        engine, record = self.engine_for(spec), self.out / RECORD
        if restart:
            forget(folder_of(spec))
        save_text(json.dumps({"key": key}) + "\n", record)
        done = train(spec, engine, self._observe, self._announce)
        self._warn(done.warnings)
        text = f"It was trained here: {len(views.training)} views, the state of step {done.step}."
        text += "".join(f" Warning: {warning}." for warning in done.warnings)
        save_text(json.dumps({"key": key, "about": text}, indent=2) + "\n", record)

    def _observe(self, state: TrainingState) -> None:
        if state.status == "training":
            self.progress("training", state.step, state.steps)

    def _announce(self, prepared: Prepared) -> None:
        self.tell(prepared.method.about())
        self.tell(str(prepared.cost))
        self._warn(prepared.warnings)

    def _warn(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            self.tell(f"warning: {warning}")


def _fields(spec: TrainingSpec) -> dict[str, Any]:
    """What of a spec decides the weights, as JSON types: not where the files are."""
    names = (name for name in spec.__struct_fields__ if name not in {"pictures", "masks", "out"})
    return {name: getattr(spec, name) for name in names} | {"prompts": list(spec.prompts)}
