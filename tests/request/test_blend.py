"""The blend section of a request and the prompts of its concepts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_ctrlgen.blending.trajectory import Trajectory
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.prompts.blended import MixedPrompt, blended_prompt, split_and, waypoint_weights
from lib_ctrlgen.request.blend import BLEND_TAKES, TAKES, Blend
from lib_ctrlgen.request.spec import parse_request, to_payload

VALUES: dict[str, Any] = {
    "prompt": "a star", "image": "x", "weight": 0.5, "hires": 0.5, "mask": "x", "seed": 3,
    "mask_strength": 0.5,
    "normalise": True, "interpolation": "lerp", "crossfeed": 0.5, "animation": "webp", "model": "ip",
    "explore": 3, "spacing": 1,
}  # fmt: skip


def read(**blend: Any) -> Blend:
    found = parse_request({"blend": {"concepts": [{}, {}], **blend}}).blend
    assert found is not None
    return found


@pytest.mark.parametrize("mode", TAKES)
def test_what_a_mode_cannot_use_is_an_error_at_the_field(mode: str) -> None:
    for name in {"prompt", "image", "weight", "hires", "mask", "mask_strength", "seed"} - TAKES[mode]:
        with pytest.raises(RequestError) as caught:
            read(mode=mode, concepts=[{}, {name: VALUES[name]}])
        assert caught.value.path == f"$.blend.concepts[1].{name}"
    for name in {
        "normalise",
        "interpolation",
        "crossfeed",
        "animation",
        "model",
        "explore",
        "spacing",
    } - BLEND_TAKES[mode]:
        with pytest.raises(RequestError) as caught:
            read(mode=mode, **{name: VALUES[name]})
        assert caught.value.path == f"$.blend.{name}"


@pytest.mark.parametrize("mode", TAKES)
def test_a_blend_survives_its_payload(mode: str) -> None:
    fields = {name: VALUES[name] for name in BLEND_TAKES[mode]}
    concept = {name: VALUES[name] for name in TAKES[mode]}
    request = parse_request({"blend": {"mode": mode, "concepts": [concept, concept], **fields}})
    assert parse_request(to_payload(request)) == request
    assert request.acts
    assert hash(request.blend) == hash(parse_request(to_payload(request)).blend)


@pytest.mark.parametrize(
    ("blend", "path"),
    [
        ({"concepts": [{}]}, "$.blend.concepts"),
        ({"concepts": [{}] * 9}, "$.blend.concepts"),
        ({"normalise": True, "concepts": [{}, {"weight": "1>-1"}]}, "$.blend.concepts[1].weight"),
        ({"mode": "seeds", "concepts": [{"weight": "0>1"}, {}]}, "$.blend.concepts[0].weight"),
        ({"mode": "seeds", "concepts": [{"image": "x"}, {}]}, "$.blend.concepts[1].image"),
        ({"mode": "embedding", "interpolation": "slerp", "concepts": [{}, {"hires": -1}]},
         "$.blend.concepts[1].weight"),
        ({"mode": "trajectory", "crossfeed": "1>2"}, "$.blend.crossfeed"),
        ({"concepts": [{"image": "x"}, {}]}, "$.blend.model"),
        ({"mode": "mix"}, "$.blend.mode"),
        ({"concepts": [{"mask_strength": "0>2"}, {}]}, "$.blend.concepts[0].mask_strength"),
    ],
)  # fmt: skip
def test_mistakes_are_found_at_their_place(blend: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(**blend)
    assert caught.value.path == path


def test_a_prompt_that_no_concept_uses_is_an_error() -> None:
    blend = read(concepts=[{"prompt": "a"}, {"prompt": "b"}])
    assert blended_prompt(blend, " ").at(0) == "a :1 AND b :1"
    with pytest.raises(RequestError, match=r"\{prompt\}"):
        blended_prompt(blend, "a room")
    used = read(concepts=[{"prompt": "{prompt}, a"}, {"weight": -0.5}])
    assert blended_prompt(used, "a room").at(0) == "a room, a :1 AND a room :-0.5"


def test_weights_of_concepts_parts_and_passes_multiply() -> None:
    blend = read(concepts=[{"prompt": "a :2 AND (b:1.5>0.5)", "weight": "1>0", "hires": 3}, {"prompt": "c"}])
    assert blended_prompt(blend, "").at(0.5) == "a :1 AND (b:1) :0.5 AND c :1"
    assert blended_prompt(blend, "", hires=True).at(0) == "a :6 AND (b:1.5) :3 AND c :1"
    assert [weight.label for weight in blended_prompt(blend, "").weights] == ["b"]
    whole = read(normalise=True, concepts=[{"prompt": "a", "weight": 3}, {"prompt": "b"}])
    assert blended_prompt(whole, "").at(0) == "a :0.75 AND b :0.25"


def test_mixed_features_take_one_text_each() -> None:
    blend = read(mode="embedding", concepts=[{"prompt": "a"}, {"prompt": "b AND c"}])
    with pytest.raises(RequestError, match="takes no AND") as caught:
        blended_prompt(blend, "")
    assert caught.value.path == "$.blend.concepts[1].prompt"
    prompt = blended_prompt(read(mode="trajectory"), "a (b:2>1)", place=0.25)
    assert isinstance(prompt, MixedPrompt)
    assert prompt.weights_at(0.3) == (0.75, 0.25)
    assert prompt.texts_at(0.5) == ("a (b:1.5)",) * 2


@given(st.floats(0, 1), st.integers(2, 8))
def test_a_place_lies_between_two_concepts(place: float, count: int) -> None:
    weights = waypoint_weights(place, count)
    assert sum(weights) == pytest.approx(1)
    assert sum(weight > 0 for weight in weights) <= 2
    mean = sum(k * weight for k, weight in enumerate(weights)) / (count - 1)
    assert mean == pytest.approx(place, abs=1e-9)


def test_parts_are_read_as_the_webui_reads_them() -> None:
    texts = {
        "a": [("a", 1.0)],
        "a :.5 AND b:2. ": [("a", 0.5), ("b", 2.0)],
        "4:5": [("4", 5.0)],
        "LAND": [("LAND", 1.0)],
    }
    for text, wanted in texts.items():
        assert [(part.text, part.weight) for part in split_and(text)] == wanted


def test_the_pictures_of_a_trajectory() -> None:
    steps = Trajectory(pictures=5, concepts=3)
    assert steps.places == (0, 0.25, 0.5, 0.75, 1)
    assert steps.nearest == (0, 1, 1, 2, 2)
    for pictures in (1, 3, 4, 6):
        with pytest.raises(RequestError, match="5, 7, 9") as caught:
            Trajectory(pictures=pictures, concepts=3)
        assert caught.value.path == "$.batch_size"
