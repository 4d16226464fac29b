"""The panel's fields that belong to no unit: guidance, prompt weights and the blend."""

from typing import Any

import pytest

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.blend_fields import (
    BLEND_FIELDS,
    CONCEPT_FIELDS,
    blend_settings,
    blend_values,
)
from lib_ctrlgen.forms.unit_fields import (
    read_request,
    unit_fields,
    whole_settings,
    whole_values,
)
from lib_ctrlgen.request.schedule import parse_schedule
from lib_ctrlgen.request.spec import to_payload


def test_what_stands_beside_the_units() -> None:
    request = read_request(
        ["", "7@0, 3@1", "", " glow = 1>0.5; fog=0.2 ", *blend_values(None), *unit_fields().values()]
    )
    assert str(request.cfg_scale) == "7@0, 3@1"
    assert request.prompt_weights == {"glow": parse_schedule("1>0.5"), "fog": parse_schedule(0.2)}
    shown = whole_values(to_payload(request))
    assert whole_settings(list(shown.values())) == {
        "cfg_scale": "7@0, 3@1",
        "prompt_weights": {"glow": "1@0, 0.5@1", "fog": "0.2"},
    }
    assert whole_settings(["", "", ""]) == {}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        (["7>", "", ""], "$.cfg_scale"),
        (["0.5", "", ""], "$.cfg_scale"),
        (["", "31", ""], "$.hires_cfg_scale"),
        (["", "", "glow"], "$.prompt_weights"),
        (["", "", "glow=1@"], "$.prompt_weights"),
        ([5, "", ""], "$.cfg_scale"),
    ],
)
def test_what_stands_beside_the_units_may_be_wrong(fields: list[Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(["", *fields, *blend_values(None), *unit_fields().values()])
    assert caught.value.path.startswith(path)


def test_a_blend_that_is_off_says_nothing_and_a_wrong_one_says_where() -> None:
    assert blend_settings(blend_values(None), pictures=True) == {}
    words = blend_values({"mode": "seeds", "concepts": [{"seed": 3}, {"seed": 4, "weight": 0.5}]})
    assert read_request(["", "", "", "", *words]).blend is not None
    words[len(BLEND_FIELDS) + list(CONCEPT_FIELDS).index("seed")] = "x"
    with pytest.raises(RequestError) as caught:
        read_request(["", "", "", "", *words])
    assert caught.value.path == "$.blend.concepts[0].seed"
