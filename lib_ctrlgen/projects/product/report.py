"""The page of a run: every picture with its likeness, what was flagged and why, the plan, the diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lib_ctrlgen import __version__
from lib_ctrlgen.files import save_text
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.plots.plan_view import plan_svg, shown_plan
from lib_ctrlgen.request.sampler_names import SAMPLERS
from lib_ctrlgen.request.spec import GenerationRequest

from .diagnosis.finding import Finding, first_problem
from .result import ProductResult
from .settings import ProductSettings
from .views import ProductViews

HERE = Path(__file__).parent
SHARED = HERE.parent / "blueprint"  # the style sheet
REPORT, DIAGNOSIS = "report.html", "diagnosis.html"
ITEMS, JOB = "pictures", "job.yaml"


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """What the report shows; `total` is the number of pictures that a whole run makes."""

    result: ProductResult
    settings: ProductSettings
    encoder: str
    views: ProductViews
    total: int
    cost: str
    command: str


def save_report(out: Path, page: ReportPage) -> Path:
    """Write the report of a run. Raises HostError."""
    result = page.result
    plan = _plan(out, result.records[0]["name"]) if result.records else Markup("")
    likeness = {each["environment"]: each["likeness"] for each in result.without}
    text = _template("report.html.j2").render(
        page=page,
        result=result,
        without=likeness,
        plan=plan,
        first=first_problem(result.findings),
        has_diagnosis=(out / DIAGNOSIS).is_file(),
        version=__version__,
    )
    return save_text(text, out / REPORT)


def plan_of(request: GenerationRequest) -> str:
    """The plan of a request as SVG: each unit's weight at each step."""
    prompts = {"$.prompt": request.prompt, "$.negative_prompt": request.negative_prompt}
    steps = SAMPLERS[request.sampling.sampler].total_steps(request.steps)
    return plan_svg(shown_plan(request, steps, prompts))


def _plan(out: Path, name: str) -> Markup:
    """The plan of one picture's job: SVG that this program made, so that it is safe in the page."""
    return Markup(plan_of(read_job(out / ITEMS / name / JOB).request))


def save_diagnosis(out: Path, findings: tuple[Finding, ...], curve: Any, title: str) -> Path:
    """Write the page of a diagnosis; `curve` is a `WeightCurve`, or None. Raises HostError."""
    text = _template("diagnosis.html.j2").render(
        findings=findings, first=first_problem(findings), curve=curve, title=title, version=__version__
    )
    return save_text(text, out / DIAGNOSIS)


def _template(name: str) -> Any:
    loader = FileSystemLoader([HERE, SHARED])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(name)
