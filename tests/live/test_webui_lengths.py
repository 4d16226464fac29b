"""The headless engine reads prompts as the real WebUI does: lengths, breaks, letters. Ordinary ones stay."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.live.conftest import EDGES, PLAIN, WebUI

pytestmark = pytest.mark.live

LONG = "a red circle on a blue background, " * 20
CASES: dict[str, dict[str, str]] = {
    "break": {"prompt": "a red circle BREAK a blue background", "negative_prompt": "grey"},
    "long negative": {"prompt": "a red circle", "negative_prompt": LONG},
    "long prompt": {"prompt": LONG, "negative_prompt": "blue"},
    "two and three": {
        "prompt": "a red circle BREAK on blue",
        "negative_prompt": "grey BREAK dark BREAK star",
    },
    "parts": {"prompt": "a red circle AND a blue square BREAK on green :0.7", "negative_prompt": "grey"},
    "first part long": {"prompt": f"{LONG} AND a star :0.5", "negative_prompt": "grey"},
    "weights": {"prompt": "a (red:1.4) circle BREAK (on blue:0.6)", "negative_prompt": ""},
    "other letters": {
        "prompt": "\u201ca red circle\u201d, \u00e9tude \u2019\uff11\uff16:9, \u732b\uff1a3 \ufb01sh &amp;",
        "negative_prompt": "\u0433\u043e\u0440\u043e\u0434, na\u00efve, \u30ab\uff76",
    },
    "a break in a bracket": {
        "prompt": "a (red circle BREAK on blue:1.3) BREAK star",
        "negative_prompt": "(BREAK)",
    },
    "ordinary": {
        "prompt": "(nikon, 50mm f:1.8 in fog), ratio 16:9, :3, lesson: 3 > 2",
        "negative_prompt": "a AND b",
    },
}


@cache
def engine() -> Engine:
    return Engine([tiny_folder()], 1 << 30)


def headless(fields: dict[str, Any]) -> Any:
    given = {name: PLAIN[name] for name in ("steps", "width", "height", "seed", "cfg_scale")}
    payload = {"model": "ctrlgen-tiny", **given, "sampler": PLAIN["sampler_name"], **fields}
    (image,) = engine().generate(parse_request(payload, GenerationRequest)).images
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("case", [name for name in CASES if name != "ordinary"])
def test_headless_makes_the_same_picture(webui: WebUI, case: str, pad: bool) -> None:
    fields = CASES[case]
    theirs = webui.generate(**fields, override_settings={"pad_cond_uncond": pad})
    assert theirs.status == 200, theirs.json
    mine = headless({**fields, "pad_cond_uncond": pad})
    assert int(np.abs(theirs.images[0].astype(int) - mine).max()) <= 1
    assert ("Pad conds: True" in webui.infotext(theirs)) <= pad


@pytest.mark.parametrize("case", CASES)
def test_an_ordinary_prompt_is_what_the_webui_sees(webui: WebUI, case: str) -> None:
    """With a unit at weight 0 every part of ours is installed; picture and text are the host's."""
    fields = CASES[case]
    answer = webui.generate(**fields)
    assert answer.status == 200, answer.json
    assert webui.infotext(answer).startswith(fields["prompt"].strip())
    silent = webui.generate({**EDGES, "weight": 0}, **fields)
    assert silent.status == 200, silent.json
    assert silent.same(answer)
