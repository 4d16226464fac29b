"""Ordinary prompts are never refused, changed, or read as schedules."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.prompts import scheduled as prompts
from lib_ctrlgen.prompts.scheduled import parse_prompt
from lib_ctrlgen.request.spec import ControlRequest
from tests.support.fake_webui import FakeWebUI, Processing, fresh
from tests.support.ordinary_prompts import ALONE, ANYWHERE, WRAPS, ordinary_prompts, safe_in_brackets, texts

PUBLISHED_LIKE = 4000

NUMBERS = st.one_of(st.integers(0, 4000).map(str), st.floats(0, 50).map(lambda x: f"{x:.3g}"), st.just(".5"))
PHOTOGRAPHY = st.one_of(
    st.builds("{}mm f:{} @ ISO {}".format, NUMBERS, NUMBERS, NUMBERS),
    st.builds("f:{} @ 1/{}s".format, NUMBERS, NUMBERS),
    st.builds("{}:{}".format, NUMBERS, NUMBERS),
    st.builds("{} {}:{}".format, st.sampled_from(["ratio", "scale", "at", "John"]), NUMBERS, NUMBERS),
)
ADDRESSES = st.builds(
    "http://{}.example:{}/{}".format, NUMBERS, NUMBERS, st.sampled_from(["", "a@2x", "?a=1"])
)
NETWORKS = st.builds(
    "<{}:{}:{}>".format, st.sampled_from(["lora", "hypernet"]), st.text("ab_1 @=", min_size=1), NUMBERS
)
PATTERNS = st.one_of(st.sampled_from(texts(ANYWHERE)), PHOTOGRAPHY, ADDRESSES, NETWORKS)
SEPARATORS = st.sampled_from([", ", " ", "\n", ". ", "; "])


@st.composite
def a_pattern(draw: st.DrawFn) -> str:
    text = draw(PATTERNS)
    return draw(st.sampled_from(WRAPS)).format(text) if safe_in_brackets(text) else text


@st.composite
def a_prompt(draw: st.DrawFn) -> str:
    parts = draw(st.lists(a_pattern(), max_size=8))
    if draw(st.booleans()):
        parts.append(draw(st.sampled_from(texts(ALONE))))
    return draw(SEPARATORS).join(parts)


def left_alone(text: str) -> bool:
    """Whether the whole prompt is one plain part, in both fields."""
    wanted = (text,) if text else ()
    return all(parse_prompt(text, negative=negative).parts == wanted for negative in (False, True))


@given(a_prompt())
@example("1girl, cat ears, :3, holding a sword in hand")
@example("photo, ratio 16:9, 2 girls in kimono")
@example("50mm f:1.8 @ ISO 100 portrait")
@example("(nikon, 50mm f:1.8 in fog)")
@example("math lesson: 3 > 2")
@example("oil painting :0.2@0, 1@0.6")  # one part: the WebUI itself has no use for an AND weight
@example("sad :( girl, lesson: 3 > 2")  # a bracket that nobody meant
@example("(wait:...), (cat:1.2.3), (:.)")  # the WebUI's own failure
@example("(a:1 in 0.5), (b:2*3), (c:1@), (d:x=), (e:x=1..), (f:>2)")
@example("see http://example.org:8080")
@example("a AND (b:1.2) AND c :3 in fog AND d: 2 > 1 cats AND e:1>")  # near misses outside of brackets
@example("(a AND b:1>2)")  # AND ends the bracket, so that nothing is weighed
def test_a_prompt_of_ordinary_patterns_is_one_plain_part(text: str) -> None:
    if text.startswith("(a AND"):
        assert parse_prompt(text).parts == (text,)
        assert parse_prompt(text, negative=True).weights  # AND is a word there, and the bracket is whole
    else:
        assert left_alone(text)


@pytest.mark.parametrize(
    ("text", "label", "schedule", "name"),
    [
        ("(math lesson: 3 > 2)", "math lesson", "3@0, 2@1", None),
        ("(res:w=512)", "res", "512", "w"),
        ("(a:b=3)", "a", "3", "b"),
        ("(fog:1 in 0.2..0.8)", "fog", "1 in 0.2..0.8", None),
        ("a cat AND math lesson: 3 > 2", "math lesson", "3@0, 2@1", None),
        ("a AND [b :1>2", "[b", "1@0, 2@1", None),  # square brackets are nothing to an AND weight
        ("(a [b:1>2)", "a [b", "1@0, 2@1", None),  # nor to the weight of a round one
        ("(sad >:( face:1@0, 0.5@1)", "face", "1@0, 0.5@1", None),
        ("sad :( cat :1>2 AND b", "sad :( cat", "1@0, 2@1", None),
    ],
)
def test_where_the_host_reads_a_weight_a_schedule_is_read(
    text: str, label: str, schedule: str, name: str | None
) -> None:
    (weight,) = parse_prompt(text).weights
    assert (weight.label, str(weight.schedule), weight.name) == (label, schedule, name)


@pytest.mark.parametrize(
    "text",
    [
        "(a, b:3 > 2 is true)",
        "(neon:1.4@0, 1@0.5",
        "a (neon:1.4@0, 1@0.5, a cat",
        "(neon:1@0, 1@0.5,)",
        "(neon:1@0, 1@10)",
        "(neon:1@0 (very) 0@1)",
        "(neon:glow=1>0 slowly)",
        "a AND (b:1>2 AND c",
        "a AND b :1@0.5, 0@0.2",  # wholly of the grammar, with values that cannot be
        "(fog:1 in 0.8..0.2)",
    ],
)
def test_a_near_miss_is_an_error_that_shows_the_place_and_the_way_out(text: str) -> None:
    with pytest.raises(RequestError, match=r"in the prompt at character \d+.*write the colon as \\:"):
        parse_prompt(text)
    assert left_alone(text.replace(":", r"\:"))


def test_thousands_of_prompts_like_published_ones_are_left_alone() -> None:
    found = list(ordinary_prompts(PUBLISHED_LIKE))
    assert len(set(found)) > PUBLISHED_LIKE * 0.95
    assert [text for text in found if not left_alone(text)] == []
    hard = [text for text in found if ":" in text and any(sign in text for sign in "@>=")]
    assert len(hard) > PUBLISHED_LIKE / 2


def test_a_prompt_without_a_sign_before_a_number_is_not_even_walked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prompts, "_Reader", None)
    text = "masterpiece, (cat:1.2), ratio 16:9, in fog, <lora:x:0.8>, f:1.8, a=b, http://a.example:80"
    (part,) = parse_prompt(text).parts
    assert part is text


# In the WebUI


def test_an_idle_extension_leaves_every_prompt_to_the_webui(host: FakeWebUI) -> None:
    script = fresh("script").CtrlGenScript()
    needs_schedules = fresh("sampling.prompt_check").needs_schedules
    found = list(ordinary_prompts(PUBLISHED_LIKE, seed=1))
    for first in range(0, len(found), 40):
        batch = found[first : first + 40]
        p: Any = Processing(host, all_prompts=batch, all_negative_prompts=batch[::-1], all_hr_prompts=batch)
        before, own = dict(vars(p)), list(batch)
        assert not needs_schedules(p, ControlRequest())
        script.process(p, "")
        assert vars(p) == before
        assert p.all_prompts is batch
        assert batch == own
    assert host.callbacks.count == 0
