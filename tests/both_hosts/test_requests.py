"""Any REST body gives a picture under all of its units, or a 4xx answer with a JSON path."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.client import RefusedError, WebUI
from tests.support.control_files import blocks_url
from tests.support.fake_rest import FakeRest
from tests.support.properties import examples
from tests.support.request_bodies import Bodies, wanted
from tests.support.scripted_server import Talk, scripted
from tests.support.soak_webui import KINDS, hosted
from tests.support.soaking import hooks_left

pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeRest]:
    with hosted(tmp_path_factory.mktemp("requests")) as soak:
        soak.webui.unet = soak.unets["ldm"]
        yield FakeRest(soak)


BODIES = Bodies(tuple(KINDS["ldm"].makes), blends=False)


@given(number=st.integers(0, 2**32))
@examples(40)
def test_a_request_is_a_picture_under_its_units_or_a_4xx_with_a_path(rest: FakeRest, number: int) -> None:
    check(rest, BODIES.body(number))


def check(rest: FakeRest, body: Any) -> int:
    """Post a body and judge the answer. The status."""
    answer = rest.post(json.dumps(body).encode())
    said = json.dumps(body)[:3000]
    if answer.status == 200:
        assert answer.units == wanted(body), said
        if not answer.units and "cfg_scale" not in said:
            assert np.array_equal(answer.pictures, rest.plain), said
    else:
        assert 400 <= answer.status < 500, (answer, said)
        assert has_path(answer.detail), (answer, said)
    assert hooks_left(rest.soak.webui.unet) == []
    assert rest.soak.webui.callbacks.count == rest.soak.callbacks
    return answer.status


def has_path(detail: Any) -> bool:
    """Whether a detail says where: ours, FastAPI's own, or the WebUI's of an unknown script."""
    if isinstance(detail, dict):
        return str(detail["path"]).startswith("$") and bool(detail["message"])
    return isinstance(detail, list) or str(detail).endswith("not found")


def says(request: Any) -> dict[str, Any]:
    return {"alwayson_scripts": {"CtrlGen": {"args": [request]}}}


UNIT = {"model": "ldm", "image": blocks_url(), "weight": 1}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (says({"units": [UNIT | {"preprocessor": "instant_id_face_keypoints"}]}), "$.units[0].preprocessor"),
        (says({"\ud800": 1}), "$"),
        ({"alwayson_scripts": {"CtrlGen": {"\ud800": 1}}}, "$.alwayson_scripts.CtrlGen.\\ud800"),
        ({"script_args": [{"unit": [UNIT]}]}, "$.script_args[0].unit[0]"),
        ({"units": [UNIT]}, "$.units[0]"),
    ],
    ids=[
        "no face",
        "half a character",
        "half a character beside args",
        "arguments of no script",
        "beside the scripts",
    ],
)
def test_what_was_found_by_ten_thousand_requests(rest: FakeRest, body: Any, path: str) -> None:
    check(rest, body)
    answer = rest.post(json.dumps(body).encode())
    assert (answer.status, answer.detail["path"]) == (422, path)


def test_a_client_reads_every_refusal(rest: FakeRest) -> None:
    refused = []

    def act(talk: Talk) -> None:
        answer = rest.post(talk.read().body)
        refused.append(answer.detail)
        talk.send(answer.status, json.dumps({"detail": answer.detail}).encode(), "application/json")

    bodies = [
        {"alwayson_scripts": {"CtrlGen": {"args": [{"units": [{"model": "nobody", "image": "A"}]}]}}},
        {"alwayson_scripts": {"CtrlGen": {"args": [{"units": [{"modl": 1}]}]}}},
        {"alwayson_scripts": {"CtrlGen": {"units": []}}},
        {"alwayson_scripts": {"Nobody's": {"args": []}}},
    ]
    with scripted(act) as (url, _):
        for body in bodies:
            with pytest.raises(RefusedError) as caught:
                WebUI(url).generate("txt2img", body)
            if isinstance(refused[-1], dict):
                assert (caught.value.path, caught.value.message) == tuple(refused[-1].values())
            else:
                assert caught.value.message == refused[-1]
    assert len(refused) == len(bodies)
