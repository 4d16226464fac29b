"""The plan of a picture before it is made: the weight of each control at each step, and the cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lib_ctrlgen.plots.plan_view import plan_svg, plan_table, shown_plan
from lib_ctrlgen.projects.product.environments import Environment
from lib_ctrlgen.projects.product.picture import Shot, payload_of
from lib_ctrlgen.projects.product.settings import peak
from lib_ctrlgen.request.plan import StepPlan
from lib_ctrlgen.request.sampler_names import SAMPLERS
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

from .form import Form
from .session import Session

ADAPTER_LABEL = "identity"  # stands for the adapter's path
PLACEMENT_LABEL = "placement"


@dataclass(frozen=True, kw_only=True)
class ShownPlan:
    """A plan as SVG and as a text table, the prompt, and the cost of all pictures in a sentence."""

    svg: str
    table: str
    prompt: str
    cost: str


def plan_of_form(session: Session, form: Form, environment: Environment) -> ShownPlan:
    """The plan of a form. Raises RequestError at a field."""
    request = planned_request(session, form, environment)
    plan = step_plan(request)
    return ShownPlan(
        svg=plan_svg(plan),
        table=plan_table(plan),
        prompt=request.prompt,
        cost=session.run_of(form).cost(session.controls),
    )


def step_plan(request: GenerationRequest) -> StepPlan:
    """The weights of a request at each step."""
    prompts = {"$.prompt": request.prompt, "$.negative_prompt": request.negative_prompt}
    plan = shown_plan(request, SAMPLERS[request.sampling.sampler].total_steps(request.steps), prompts)
    numbered = {f"{index} {unit.label}": unit.label for index, unit in request.enabled_units}
    return replace(plan, labels=tuple(numbered.get(label, label) for label in plan.labels))


def planned_request(session: Session, form: Form, environment: Environment) -> GenerationRequest:
    """The request of a picture without its control pictures. Raises RequestError."""
    settings, units = form.settings, []
    if peak(settings.placement) > 0 and session.controls.file("depth") is not None:
        units.append({"model": PLACEMENT_LABEL, "weight": settings.placement})
    if peak(settings.identity) > 0:
        units.append({"model": ADAPTER_LABEL, "weight": settings.identity})
    shot = Shot(environment=environment, number=0, seed=settings.seed)
    side = settings.side(session.controls.size)
    return parse_request(payload_of(settings, shot, side, units), GenerationRequest)
