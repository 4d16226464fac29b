"""Does the base model draw what the prompts ask for? Without that, no adapter can place a product there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from PIL import Image

from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.projects.product.environments import Environment
from lib_ctrlgen.projects.product.picture import Photographer
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

from .finding import Finding, finding, unknown

NAME = "prompt-not-drawn"
TRIED, SEEDS = 2, 2
GAIN = 0.01  # of the likeness to a picture's own prompt over that to the other prompt


def base_findings(
    photographer: Photographer, environments: Sequence[Environment], tell: Callable[[int, int], None]
) -> tuple[Finding, ...]:
    """Whether pictures are more like their own prompts than like each other's, by the encoder.

    The prompts are those of two environments with the product; the pictures are made without any control.
    """
    product = photographer.settings.product
    prompts = list(dict.fromkeys(each.prompt_for(product) for each in environments))[:TRIED]
    if len(prompts) < TRIED:
        return (unknown("base model", NAME, "one environment: a second one is needed to compare with"),)
    found: dict[bool, list[float]] = {True: [], False: []}
    tries = [(prompt, seed) for prompt in prompts for seed in range(SEEDS)]
    for number, (prompt, seed) in enumerate(tries):
        picture = _drawn(photographer, prompt, seed)
        for text in prompts:
            value, reason = _likeness(photographer, picture, text)
            if value is None:
                return (unknown("base model", NAME, reason),)
            found[text == prompt].append(value)
        tell(number + 1, len(tries))
    own, other = fmean(found[True]), fmean(found[False])
    seen = (
        f"pictures without the adapter have a likeness of {own:.2f} to their own prompts and {other:.2f} "
        f"to each other's ({', '.join(map(repr, prompts))}; at least {GAIN} apart)"
    )
    model = photographer.settings.model
    advice = f"say it in words that {model} knows (--subject, --environments), or take another model"
    return (finding("base model", NAME, seen, advice, bad=own - other < GAIN),)


def _drawn(photographer: Photographer, prompt: str, seed: int) -> Image.Image:
    """A picture of a prompt without any control."""
    return photographer.engine.generate(_request(photographer, prompt, seed)).images[0]


def _likeness(photographer: Photographer, picture: Image.Image, text: str) -> tuple[float | None, str]:
    """The likeness of a picture to a text, or why it cannot be measured."""
    encoder = EngineHost(engine=photographer.engine).text_encoder(_request(photographer, text, 0))
    scores = photographer.identity.likeness.prompt(picture, text, encoder)
    return scores.values.get("prompt"), "; ".join(scores.reasons.values())


def _request(photographer: Photographer, prompt: str, seed: int) -> GenerationRequest:
    settings = photographer.settings
    payload = {
        "model": settings.model,
        "prompt": prompt,
        "width": photographer.side,
        "height": photographer.side,
        "steps": settings.steps,
        "cfg_scale": settings.guidance,
        "sampler": settings.sampler,
        "seed": (settings.seed + seed) % 2**32,
    }
    return parse_request(payload, GenerationRequest)
