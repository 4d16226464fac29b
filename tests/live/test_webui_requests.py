"""Bodies of all kinds at the real WebUI: a picture under all its units, or a 4xx with a path."""

import json
import os
from collections import Counter
from typing import Any

import pytest

from tests.live.conftest import PLAIN, Answer, WebUI

pytest.importorskip("diffusers")

from tests.support.request_bodies import Bodies, wanted

pytestmark = pytest.mark.live
COUNT = int(os.environ.get("CTRLGEN_REQUESTS", "300"))
FIRST = int(os.environ.get("CTRLGEN_FIRST_REQUEST", "0"))


def test_every_request_is_a_picture_under_its_units_or_a_4xx_with_a_path(
    webui: WebUI, plain: Answer, kinds: tuple[str, ...]
) -> None:
    bodies, statuses, wrong = Bodies(kinds), Counter[int](), []
    for number in range(FIRST, FIRST + COUNT):
        body = PLAIN | {"steps": 2} | bodies.body(number)
        sent = json.dumps(body).encode()
        response = webui.session.post(
            f"{webui.url}/sdapi/v1/txt2img", data=sent, headers={"Content-Type": "application/json"}
        )
        statuses[response.status_code] += 1
        fault = "" if response.status_code >= 500 and hosts_own(webui, body) else fault_of(response, body)
        wrong += [f"{number}: {fault}"] if fault else []
    print(dict(statuses))  # noqa: T201 - shown with -s
    assert not wrong, "\n".join(wrong)
    assert webui.generate().same(plain)


def hosts_own(webui: WebUI, body: Any) -> bool:
    """Whether the WebUI fails at a body by itself: it does so too without the part for CtrlGen."""
    scripts = body.get("alwayson_scripts")
    others = {name: value for name, value in (scripts or {}).items() if str(name).casefold() != "ctrlgen"}
    alone = {**body, "alwayson_scripts": others}
    return bool(webui.post("/sdapi/v1/txt2img", alone).status_code >= 500)


def fault_of(response: Any, body: Any) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if response.status_code == 200:
        acted, asked = recorded_units(response.json()), wanted(body)
        return "" if acted == asked else f"{acted} of {asked} units acted: {json.dumps(body)[:2000]}"
    told = f"{response.status_code} {response.text[:500]}: {json.dumps(body)[:2000]}"
    if not 400 <= response.status_code < 500:
        return told
    detail = response.json().get("detail")
    ours = isinstance(detail, dict) and str(detail.get("path", "")).startswith("$")
    hosts = isinstance(detail, list) or "not found" in str(detail)  # FastAPI's; an unknown script
    return "" if ours or hosts else told


def recorded_units(answer: dict[str, Any]) -> int:
    """The enabled units in the infotext of an answer."""
    found = json.loads(answer["info"])["extra_generation_params"].get("CtrlGen")
    units = json.loads(found).get("units", []) if found else []
    return sum(bool(unit.get("enabled", True)) for unit in units)
