"""Searches of the tuner with a host whose scores are a known function, and what they write."""

import json
from pathlib import Path
from typing import Any

from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from lib_ctrlgen.tuner.cells import TuneSpec
from lib_ctrlgen.tuner.progress import TunerResult
from lib_ctrlgen.tuner.search.auto_tuner import AutoTuner, auto_tuner
from tests.support.analytic_host import PAYLOAD, AnalyticHost

RANGES = [
    {"path": "Unit 0 weight", "values": "0-2"},
    {"path": "Unit 1 weight", "values": "0-2"},
    {"path": "CFG", "values": "1-15"},
]


MEMORY = "auto.journal"


def spec(**fields: Any) -> TuneSpec:
    seeds = fields.pop("seeds", 1)
    auto = {"budget": 13, "ranges": RANGES} | fields
    return parse_request({"auto": auto, "seeds": seeds}, TuneSpec)


def tuner(host: AnalyticHost, out: Path, **fields: Any) -> AutoTuner:
    return auto_tuner(host, PAYLOAD, spec(**fields), GenerationRequest, out)


def run(host: AnalyticHost, out: Path, **fields: Any) -> TunerResult:
    return tuner(host, out, **fields).run(lambda _progress: None)


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "auto.json").read_text("utf-8"))
    return found


def tried(out: Path) -> list[dict[str, Any]]:
    return [each["values"] for each in summary(out)["candidates"]]
