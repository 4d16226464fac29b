"""Scheduled weights in prompts: which are found, which text is left alone, which is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.prompts.numbers import plain_number
from lib_ctrlgen.prompts.scheduled import NOTHING, parse_prompt
from lib_ctrlgen.request.schedule import constant, parse_schedule

LEFT_ALONE = [
    "",
    "a cat",
    "a (cat:1.2) on [grass] ((very)) [green]",
    "a [cat:dog:0.4] and [a|b] BREAK (deep:0.5)",
    "<lora:style:0.8> a cat <hypernet:x:1>",
    "a cat AND a dog :0.5 AND a (mouse:1.1):1.2",
    r"a \(cat:1@0\) and (x\:1>2)",
    "ratio 16:9 (see: 3 cats) (a: b@c) http://a.b:80",
    "unbalanced (a:1.2 [b ) ] c)",
    "(a: 0.5 )",
    "(:1.2)",
]


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_an_ordinary_prompt_is_left_alone(text: str) -> None:
    prompt = parse_prompt(text)
    assert prompt.weights == ()
    assert prompt.at(0.3) == text


@pytest.mark.parametrize(
    ("text", "progress", "expected"),
    [
        ("a (neon sign:1.4@0, 1@0.5, 0.6@1), x", 0.25, "a (neon sign:1.2), x"),
        ("(fog:0.2>1.3)", 0.0, "(fog:0.2)"),
        ("((fog:0.2>1.2) deep:1.3)", 0.5, "((fog:0.7) deep:1.3)"),
        ("([a:(b:1>2):0.4] c:2>4)", 0.5, "([a:(b:1.5):0.4] c:3)"),
        ("[(a:1>2)|b] BREAK c", 1.0, "[(a:2)|b] BREAK c"),
        ("(a:1 in 0.5..1)", 0.4, "(a:0)"),
        ("(a:1@0 hold, 2@0.5)", 0.4, "(a:1)"),
        ("(a:-1>1 * 2)", 0.0, "(a:-2)"),
        ("a cat AND oil painting :0.2@0, 1@0.6", 0.3, "a cat AND oil painting :0.6"),
        ("a :1>2 AND b (c:0>1):0.5 AND d:3", 0.5, "a :1.5 AND b (c:0.5):0.5 AND d:3"),
        ("<lora:x:0.8> (a:1>2)", 0.5, "<lora:x:0.8> (a:1.5)"),
        ("(neon sign:glow=1.2)", 0.7, "(neon sign:1.2)"),
        ("(neon sign: glow = 1>2 )", 0.5, "(neon sign:1.5 )"),
        ("a AND b :mix=0.25", 0.0, "a AND b :0.25"),
    ],
)
def test_the_prompt_at_a_progress(text: str, progress: float, expected: str) -> None:
    assert parse_prompt(text).weights
    assert parse_prompt(text).at(progress) == expected


def test_named_weights_are_replaced_and_others_are_not() -> None:
    prompt = parse_prompt("(a:glow=1.2) (b:1>2) (c:glow=2)")
    assert [weight.name for weight in prompt.weights] == ["glow", None, "glow"]
    assert [weight.label for weight in prompt.weights] == ["a", "b", "c"]
    named = {"glow": parse_schedule("0>1")}
    assert prompt.at(0.5, named) == "(a:0.5) (b:1.5) (c:0.5)"
    assert prompt.at(0.5, {"other": constant(9.0)}) == prompt.at(0.5, NOTHING)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a (b:1@0,)", "expected a value"),
        ("a (b:1@0, 2@0)", "progress must rise"),
        ("a (b:1@0 quick, 2@1)", "unknown easing"),
        ("a (b:glow=1>0 2)", "unexpected"),
        ("a (b:1>2", "not closed"),
        ("a (b:1>2 AND c", "not closed"),
        ("a AND b :1>2 in 0.5..2", "progress must be"),
    ],
)
def test_a_malformed_schedule_is_an_error_that_shows_the_place(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        parse_prompt(text)
    assert "in the prompt at character" in str(caught.value)


@given(st.text("ab :()[]<>@=,.0123456789AND|\\*in-", max_size=40), st.floats(0, 1))
@example("(a:1>2)(b:0.5)", 0.5)
def test_any_text_is_read_or_refused_and_reads_the_same_again(text: str, progress: float) -> None:
    try:
        prompt = parse_prompt(text)
    except RequestError:
        return
    plain = prompt.at(progress)
    if not prompt.weights:
        assert plain == text
    assert parse_prompt(plain).weights == ()


@given(st.floats(-1e6, 1e6))
def test_numbers_are_written_without_exponent_and_read_back(value: float) -> None:
    text = plain_number(value)
    assert "e" not in text
    assert float(text) == pytest.approx(value, abs=1e-8)
