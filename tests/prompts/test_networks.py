"""`<lora:...>` in prompts: the WebUI's grammar, with schedules in the places of numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.prompts.networks import replace_scheduled, require_lora_names, split_networks
from lib_ctrlgen.request.schedule import constant, parse_schedule
from tests.support.ordinary_prompts import ordinary_prompts

NUMBERS = st.sampled_from(["0", "1", "-0.5", "0.25", ".5", "2."])
SCHEDULES = st.sampled_from(["1>0", "-1>0.5 ease-in", "1@0, 0@0.6", "1@0 hold, 0@0.5", "1>0 in 0.2..0.8"])
WEIGHTS = st.one_of(NUMBERS, SCHEDULES)
WORDS = st.sampled_from(["a cat", "(red:1.2)", "[x|y]", "1>2", "a > b", "3 < 4", ""])


@given(te=WEIGHTS, unet=st.none() | WEIGHTS, dyn=st.none() | st.integers(1, 9), before=WORDS, after=WORDS)
def test_a_tag_is_read_back(te: str, unet: str | None, dyn: int | None, before: str, after: str) -> None:
    named = "".join((f":unet={unet}" if unet else "", f":dyn={dyn}" if dyn else ""))
    found = split_networks(f"{before}<lora:a style:{te}{named}>, {after}")
    (tag,) = found.loras
    assert found.text == f"{before}, {after}"
    assert (tag.name, tag.te, tag.unet, tag.dyn) == (
        "a style",
        parse_schedule(te),
        parse_schedule(unet or te),
        dyn,
    )
    assert tag.scheduled == any(sign in f"{te}{unet}" for sign in "@>")


@given(te=WEIGHTS, unet=WEIGHTS)
def test_the_webui_gets_ordinary_tags_and_the_others_stay(te: str, unet: str) -> None:
    text = f"a <lora:x:{te}:{unet}> b <lora:y:0.3>"
    shown, tags = replace_scheduled(text, {}, lambda tag: tag.without_unet())
    if not tags:
        assert shown == text
        return
    (tag,) = split_networks(shown).loras[:1]
    assert tag.te(0) == parse_schedule(te)(0)
    assert tag.unet(0) == 0
    assert shown.endswith("b <lora:y:0.3>")


def test_positions_and_names_are_the_webuis() -> None:
    texts = [
        "<lora:x>",
        "<lora:x:0.5>",
        "<lora:x:0.5:0.2:4>",
        "<lyco:x:te=0.5:unet=0.2>",
        "<lora:x:unet=0.2>",
    ]
    found = [split_networks(text).loras[0] for text in texts]
    assert [(tag.te(0), tag.unet(0), tag.dyn) for tag in found] == [
        (1, 1, None),
        (0.5, 0.5, None),
        (0.5, 0.2, 4),
        (0.5, 0.2, None),
        (1, 0.2, None),
    ]


def test_ordinary_prompts_are_left_alone() -> None:
    for text in ordinary_prompts(2000, seed=3):
        assert replace_scheduled(text, {}) == (text, ())


def test_a_weight_of_the_request_replaces_those_of_the_tag() -> None:
    named = {"lora:x": parse_schedule("1>0")}
    text, (tag,) = replace_scheduled("a<lora:x:0.4><lora:y:1>", named)
    assert text == "a<lora:y:1>"
    assert (tag.te, tag.unet) == (named["lora:x"], named["lora:x"])
    require_lora_names(named, [tag])
    with pytest.raises(RequestError, match="no prompt has the tag <lora:z:1>") as caught:
        require_lora_names({"lora:z": constant(1.0)}, [tag])
    assert caught.value.path == "$.prompt_weights.lora:z"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<lora:x:much>", "in <lora:x:much>: expected a value"),
        ("<lora:x:>", "expected a value"),
        ("<lora:x:1@0.5, 0@0.2>", "progress must rise"),
        ("<lora:x:1:1:none>", "number of ranks"),
        ("<lora:x:1>0><lora:x:1>", "occurs twice"),
    ],
)
def test_a_wrong_tag_is_an_error(text: str, said: str) -> None:
    read = replace_scheduled if "twice" in said else lambda text, _: split_networks(text)
    with pytest.raises(RequestError, match=said):
        read(text, {})
