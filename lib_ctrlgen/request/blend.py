"""The `blend` section of a request: two to eight concepts in one picture.

`u` is the unconditional prediction, `c_k` the prediction for concept k, `d_k = c_k - u` their difference, `s`
the guidance scale, `w_k(t)` a weight schedule, `m_k` a mask with values in 0..1.

    prediction     u + s * sum w_k m_k d_k: the WebUI's own AND (composable diffusion,
                   arXiv 2206.01714), with masks. Negative weights subtract: + smiling - neutral
    perpendicular  the first concept, and of each other concept the part perpendicular to the first one:
                   d_k - d_1 <d_1, d_k> / |d_1|^2 (Perp-Neg, arXiv 2304.04968)
    saliency       each latent element is that of the most salient concept, the one with the largest
                   w_k m_k softmax(|d_k| / rms(d_k)) (MagicFusion, arXiv 2303.13126)
    embedding      one prediction for mixed text features, around the features e_0 of the empty prompt:
                   e_0 + sum w_k (e_k - e_0), or the slerp of these differences
    trajectory     a row of pictures from the first concept to the last, denoised in one batch; a latent
                   between two concepts becomes slerp(x, slerp(x_a, x_b, f), crossfeed(t)) before each step
    seeds          one picture from a mix of initial noises, or of the latents of img2img pictures

>>> Concept(prompt="a red circle").weight(0.5)
1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from lib_ctrlgen.errors import RequestError

from .base import RANDOM_SEED, Spec, check_share
from .schedule import Schedule, constant, parse_schedule

BlendMode: TypeAlias = Literal["prediction", "embedding", "perpendicular", "saliency", "trajectory", "seeds"]
Interpolation: TypeAlias = Literal["auto", "lerp", "slerp"]
Seed: TypeAlias = Annotated[int, Meta(ge=RANDOM_SEED, le=2**32 - 1)]

MIN_CONCEPTS, MAX_CONCEPTS = 2, 8
MAX_MAP, MAX_CORNERS = 9, 4
FILM_ROUNDS = 2
THE_PROMPT = "{prompt}"
ROW_MODES = ("prediction", "perpendicular", "saliency")

# The fields of a concept that each mode uses, then those of the blend; other fields are errors.
TAKES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "prediction": frozenset({"prompt", "image", "weight", "hires", "mask", "mask_strength"}),
        "perpendicular": frozenset({"prompt", "image", "weight", "hires", "mask", "mask_strength"}),
        "saliency": frozenset({"prompt", "image", "weight", "hires", "mask", "mask_strength"}),
        "embedding": frozenset({"prompt", "weight", "hires"}),
        "trajectory": frozenset({"prompt", "seed"}),
        "seeds": frozenset({"seed", "image", "weight", "mask"}),
    }
)
BLEND_TAKES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "prediction": frozenset({"normalise", "model", "explore"}),
        "perpendicular": frozenset({"model", "explore"}),
        "saliency": frozenset({"model", "explore"}),
        "embedding": frozenset({"normalise", "interpolation", "explore"}),
        "trajectory": frozenset({"interpolation", "crossfeed", "animation", "spacing"}),
        "seeds": frozenset({"interpolation", "explore"}),
    }
)


def _one() -> Schedule:
    return constant(1.0)


def _decaying() -> Schedule:
    return parse_schedule("1@0 hold, 0.8@0.2, 0@0.6")


class Concept(Spec, frozen=True, kw_only=True):
    """One concept of a blend.

    prompt  its prompt; `{prompt}` in it is replaced by the request's prompt, and so is an empty text
    image   a reference picture for the IP-Adapter `blend.model`, or in mode `seeds` an img2img picture;
            base64 or a data URL
    weight  number or schedule; negative weights subtract
    hires   the weight in the hires pass of the WebUI; when absent, `weight` is used
    mask    picture whose white areas belong to the concept; grey values are allowed
    mask_strength  how far the mask is applied, from 0 (not at all) to 1 (fully); number or schedule
    seed    the seed of the concept's initial noise (modes `trajectory`, `seeds`): -1 draws one; when absent,
            it is the request's seed
    """

    prompt: str = ""
    image: str = ""
    weight: Annotated[Schedule, Meta(extra_json_schema={"default": 1})] = field(default_factory=_one)
    hires: Schedule | None = None
    mask: str = ""
    mask_strength: Annotated[Schedule, Meta(extra_json_schema={"default": 1})] = field(default_factory=_one)
    seed: Seed | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("mask_strength", self.mask_strength)

    def in_pass(self, *, hires: bool) -> Schedule:
        """The weight in the hires pass, or in the first one."""
        return self.hires if hires and self.hires is not None else self.weight


class Blend(Spec, frozen=True, kw_only=True):
    """How concepts are blended; docs/blend.md has the formulas.

    mode           `prediction`, `perpendicular`, `saliency`: the predictions of all concepts are combined;
                   `embedding`: one prediction for mixed text features; `trajectory`: a row of pictures from
                   concept to concept; `seeds`: mixed initial noises or latents
    concepts       two to eight
    normalise      divide by the sum of the weights (times masks) wherever it is not zero
    interpolation  of features, noises or latents; `auto`: lerp for features, slerp for the others
    crossfeed      how far a latent between two concepts is moved towards their mix, 0..1 over the steps
    animation      an animation of a trajectory's pictures to write beside the strip: WebP or MP4
    spacing        how often a trajectory runs again with its pictures moved so that neighbours differ
                   equally; when absent, 2 with an animation and else 0
    model          the IP-Adapter for the concepts' reference pictures
    explore        n > 1: a map of n x n pictures with a concept in each corner (for two concepts a row of n)
    """

    mode: BlendMode = "prediction"
    concepts: Annotated[tuple[Concept, ...], Meta(min_length=MIN_CONCEPTS, max_length=MAX_CONCEPTS)]
    normalise: bool = False
    interpolation: Interpolation = "auto"
    crossfeed: Annotated[Schedule, Meta(extra_json_schema={"default": "1@0 hold, 0.8@0.2, 0@0.6"})] = field(
        default_factory=_decaying
    )
    animation: Literal["none", "webp", "mp4"] = "none"
    spacing: Annotated[int, Meta(ge=0, le=4)] | None = None
    model: str = ""
    explore: Annotated[int, Meta(ge=0, le=MAX_MAP)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_others(self, BLEND_TAKES[self.mode] | {"mode", "concepts"}, "", self.mode)
        for index, concept in enumerate(self.concepts):
            _refuse_others(concept, TAKES[self.mode], f"concepts[{index}].", self.mode)
        self._check_weights()
        self._check_pictures()
        if self.explore == 1 or (self.explore and len(self.concepts) > MAX_CORNERS):
            raise RequestError(
                "explore", f"a map has 2..{MAX_MAP} pictures per side and at most {MAX_CORNERS} concepts"
            )
        check_share("crossfeed", self.crossfeed)

    def _check_weights(self) -> None:
        for index, concept in enumerate(self.concepts):
            path = f"concepts[{index}].weight"
            if self.mode == "seeds" and concept.weight.constant is None:
                raise RequestError(path, "noises and latents are mixed once: give a number")
            low = min(concept.weight.bounds[0], concept.in_pass(hires=True).bounds[0])
            if low < 0 and self.must_be_positive:
                raise RequestError(path, f"must not be negative in this blend, is {concept.weight}")

    def _check_pictures(self) -> None:
        pictures = [index for index, concept in enumerate(self.concepts) if concept.image]
        if self.mode in ROW_MODES and pictures and not self.model:
            raise RequestError("model", "name the IP-Adapter for the concepts' reference pictures")
        if self.mode == "seeds" and pictures and len(pictures) < len(self.concepts):
            missing = next(i for i in range(len(self.concepts)) if i not in pictures)
            raise RequestError(
                f"concepts[{missing}].image", "give every concept a picture (latents) or none (noises)"
            )

    @property
    def must_be_positive(self) -> bool:
        """Whether weights may not be negative: with `normalise`, slerps, and the modes saliency and seeds."""
        return self.normalise or self.mode in {"saliency", "seeds"} or self.slerps

    @property
    def rounds(self) -> int:
        """How often a trajectory runs again with its pictures moved; 0 for other modes."""
        if self.mode != "trajectory":
            return 0
        return (0 if self.animation == "none" else FILM_ROUNDS) if self.spacing is None else self.spacing

    @property
    def slerps(self) -> bool:
        """Whether features, noises or latents are mixed by slerp instead of lerp."""
        if self.interpolation == "auto":
            return self.mode in {"trajectory", "seeds"}
        return self.interpolation == "slerp"

    @property
    def has_masks(self) -> bool:
        """Whether any concept has a mask."""
        return any(concept.mask for concept in self.concepts)

    @property
    def mixes_prompts(self) -> bool:
        """Whether the text features of the concepts are mixed, so that a picture has one conditional row."""
        return self.mode in {"embedding", "trajectory"}


def _refuse_others(part: Spec, allowed: frozenset[str], prefix: str, mode: str) -> None:
    """Raise RequestError at a field that is set although the mode does not use it."""
    plain = Concept() if isinstance(part, Concept) else None
    for name in part.__struct_fields__:
        value = getattr(part, name)
        default = getattr(plain, name) if plain else BLEND_DEFAULTS.get(name, value)
        if name not in allowed and value != default:
            modes = [m for m in TAKES if name in (TAKES[m] if plain else BLEND_TAKES[m])]
            raise RequestError(f"{prefix}{name}", f"mode {mode} does not use it ({', '.join(modes)} do)")


BLEND_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "normalise": False,
        "interpolation": "auto",
        "crossfeed": _decaying(),
        "animation": "none",
        "spacing": None,
        "model": "",
        "explore": 0,
    }
)
