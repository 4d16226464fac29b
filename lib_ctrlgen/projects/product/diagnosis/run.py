"""The whole diagnosis of a product: data, base model, encoder, weight, and what to do first."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lib_ctrlgen.files import save_text
from lib_ctrlgen.projects.control_models import Controls
from lib_ctrlgen.projects.product.identity import Threshold
from lib_ctrlgen.projects.product.picture import Photographer
from lib_ctrlgen.projects.product.preparing import photographer_for
from lib_ctrlgen.projects.product.report import save_diagnosis
from lib_ctrlgen.projects.product.run import (
    COMPARED,
    ITEMS,
    ProductRun,
)
from lib_ctrlgen.projects.product.settings import peak
from lib_ctrlgen.projects.product.training import ProductAdapter, given_adapter, trained_adapter
from lib_ctrlgen.projects.product.views import others_in
from lib_ctrlgen.projects.results import Results
from lib_ctrlgen.projects.sources import read_source
from lib_ctrlgen.request.spec import to_payload
from lib_ctrlgen.tuner.cells import key_of

from .base_model import base_findings
from .data import data_findings
from .encoder import encoder_findings
from .finding import Finding, first_problem
from .weight import WeightCurve, weight_curve, weight_findings

NUMBERS = "diagnosis.json"
MOST_OTHERS = 20


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was found, the problem to mend first (None without), the weight curve, the page."""

    findings: tuple[Finding, ...]
    first: Finding | None
    curve: WeightCurve
    page: Path


def diagnosed(run: ProductRun) -> Diagnosis:
    """Diagnose what `run` describes; its pictures without the adapter are made if they are missing.

    Without a given or a trained adapter, the one that a training would start from is looked at. Raises
    RequestError, HostError, and FolderInUseError.
    """
    controls, views = run.checked()
    with Results(run.out, ITEMS) as results:
        adapter = adapter_of(run, controls)
        run.tell(adapter.about)
        photographer = photographer_for(run.engine, run.settings, controls, adapter, views)
        data = data_findings(views, photographer.side)
        threshold = threshold_of(run, photographer, results)
        others = [photographer.identity.embedding(each) for each in other_pictures(run)]
        encoder = encoder_findings(photographer.identity, threshold, others)
        base = base_findings(photographer, run.environments, _progress(run, "base model"))
        curve = weight_curve(photographer, run.environments, run.out, _progress(run, "weights"))
        weight = weight_findings(curve, peak(run.settings.identity), threshold)
        findings = (*data, *base, *encoder, *weight)
        page = save_diagnosis(run.out, findings, curve, run.settings.product)
        content = [to_payload(each, whole=True) for each in findings]
        save_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", run.out / NUMBERS)
    return Diagnosis(findings=findings, first=first_problem(findings), curve=curve, page=page)


def _progress(run: ProductRun, phase: str) -> Callable[[int, int], None]:
    return lambda done, total: run.progress(phase, done, total)


def adapter_of(run: ProductRun, controls: Controls) -> ProductAdapter:
    """The given adapter, else the trained one, else the one that a training would start from."""
    if run.adapter is not None:
        return given_adapter(run.adapter)
    trained = trained_adapter(run.out)
    if trained is not None:
        return trained
    name = controls.adapter().name
    path = run.engine.store.files.find(name)
    text = f"Nothing was trained yet: this is about {name} as it was published."
    return ProductAdapter(path=path, digest=key_of({"name": name}), about=text)


def threshold_of(run: ProductRun, photographer: Photographer, results: Results) -> Threshold:
    """The threshold, from pictures without the adapter."""
    without = []
    shots = [shot for shot in run.shots() if not shot.identity][:COMPARED]
    for number, shot in enumerate(shots):
        inputs = photographer.inputs(shot)
        record = results.read(shot.name, inputs) or run.made(shot, photographer, results, inputs)
        without += [] if record is None else [float(record["likeness"])]
        run.progress("without the adapter", number + 1, len(shots))
    return photographer.identity.threshold(without)


def other_pictures(run: ProductRun) -> list[Image.Image]:
    """Some pictures of other things, if the user has any."""
    found = others_in(run.folders)
    return [] if found is None else [read_source(each) for each in found.sources[:MOST_OTHERS]]
