"""The story file: characters, places, poses and styles, from which all assets are made.

>>> from lib_ctrlgen.request.spec import parse_request
>>> story = parse_request({"characters": [{"name": "Mia", "prompt": "a girl"}]}, StoryFile)
>>> story.characters[0].slug, story.consistency
('mia', 'seed')
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from lib_ctrlgen.errors import RequestError, nearest
from lib_ctrlgen.forms.kinds import KINDS
from lib_ctrlgen.recipes.names import recipe_name
from lib_ctrlgen.request.base import Spec
from lib_ctrlgen.request.blend import MAX_CONCEPTS, MAX_MAP, MIN_CONCEPTS, Blend, BlendMode, Concept
from lib_ctrlgen.request.reference import Combine
from lib_ctrlgen.request.schedule import Schedule, constant
from lib_ctrlgen.request.spec import GenerationRequest, Size, Unit01
from lib_ctrlgen.request.unit import MOST_REFERENCES

Consistency: TypeAlias = Literal["seed", "reference", "aligned", "independent"]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=18)]

TEMPLATE = "{character}, {pose}, {place}, {style}"
FIELD = re.compile(r"\{(\w+)\}")
FIELDS = ("character", "pose", "place", "style")
THE_PROMPT = "prompt"  # in a concept
WEIGHTED = {"default": 1}


def _one() -> Schedule:
    return constant(1.0)


class StoryControl(Spec, frozen=True, kw_only=True):
    """A control of a pose or a place: a picture and what is kept of it.

    kind            what is kept: `pose`, `edges`, `lines`, `depth`, ...; the best model for it is found
    picture         a file, relative to the story file; for `pose` also an OpenPose JSON file
    weight          number or schedule
    guidance_start  first progress (0..1) at which it acts
    guidance_end    progress at which it stops acting
    preprocessor    makes the control map; when empty, the usual one for the kind; `none` for a map
    model           a control model by name, instead of the one that is found
    """

    kind: str
    picture: Annotated[str, Meta(min_length=1)]
    weight: Annotated[Schedule, Meta(extra_json_schema=WEIGHTED)] = field(default_factory=_one)
    guidance_start: Unit01 = 0.0
    guidance_end: Unit01 = 1.0
    preprocessor: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise RequestError("kind", f"unknown kind {self.kind!r} ({nearest(self.kind, KINDS)})")


class Named(Spec, frozen=True, kw_only=True):
    """A part of a story that has a name.

    name    appears in the names of assets, at most 18 letters
    prompt  its words, which stand in the template of the story's prompt; they may have LoRAs
            (`<lora:name:0.8>`)
    """

    name: Name
    prompt: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        recipe_name(self.name, "name")
        if not self.slug:
            raise RequestError("name", f"{self.name!r} has no letter and no digit")

    @property
    def slug(self) -> str:
        """The name as a part of file names: small letters, digits and hyphens."""
        return re.sub(r"[\W_]+", "-", self.name.casefold()).strip("-")


class Character(Named, frozen=True, kw_only=True):
    """Who or what the story is about.

    picture  a reference picture for `consistency: reference`; without one, a portrait is made first and taken
    weight   how strongly the reference picture acts; number or schedule
    seed     instead of the story's
    """

    picture: str = ""
    weight: Schedule = field(default_factory=lambda: constant(0.7))
    seed: Annotated[int, Meta(ge=0, le=2**32 - 2)] | None = None


class Controlled(Named, frozen=True, kw_only=True):
    """A part of a story that may have controls.

    controls  what is kept of pictures of it: the depth of a place, the skeleton or the lines of a pose
    """

    controls: tuple[StoryControl, ...] = ()


class Place(Controlled, frozen=True, kw_only=True):
    """Where it happens."""


class Pose(Controlled, frozen=True, kw_only=True):
    """What the character does."""


class MoodPicture(Spec, frozen=True, kw_only=True):
    """A picture of a mood board.

    picture  a file, relative to the story file
    weight   relative to the board's other pictures; number or schedule
    """

    picture: Annotated[str, Meta(min_length=1)]
    weight: Annotated[Schedule, Meta(extra_json_schema=WEIGHTED)] = field(default_factory=_one)


class StyleConcept(Spec, frozen=True, kw_only=True):
    """A concept of a blended style.

    prompt  its words; `{prompt}` stands for the prompt of the asset, `{character}`, `{pose}` and `{place}`
            for the words of one of its parts
    weight  number or schedule, such as `1>0`
    """

    prompt: Annotated[str, Meta(min_length=1)]
    weight: Annotated[Schedule, Meta(extra_json_schema=WEIGHTED)] = field(default_factory=_one)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_fields(self.prompt, (*FIELDS, THE_PROMPT))


class Style(Named, frozen=True, kw_only=True):
    """How it looks: words (with LoRAs), a mood board, or blended concepts, also together.

    pictures   the mood board, for an IP-Adapter
    board      a folder of further pictures of the mood board, each with weight 1
    weight     how strongly the mood board acts; number or schedule
    combine    how the pictures are combined: `concat` side by side, the others as one
    model      an IP-Adapter by name, instead of the one that is found
    concepts   two to eight concepts that are blended
    mode       how: `embedding` mixes their words, `prediction`, `perpendicular` and `saliency` their
               predictions
    normalise  divide by the sum of the concepts' weights (modes `prediction` and `embedding`)
    row        n > 1: also a row of n pictures from the first of two concepts to the second
    """

    pictures: Annotated[tuple[MoodPicture, ...], Meta(max_length=MOST_REFERENCES)] = ()
    board: str = ""
    weight: Schedule = field(default_factory=lambda: constant(0.8))
    combine: Combine = "concat"
    model: str = ""
    concepts: Annotated[tuple[StyleConcept, ...], Meta(max_length=MAX_CONCEPTS)] = ()
    mode: BlendMode = "embedding"
    normalise: bool = False
    row: Annotated[int, Meta(ge=0, le=MAX_MAP)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.concepts) == 1:
            raise RequestError("concepts", f"one concept is no blend: give {MIN_CONCEPTS} or more")
        if self.mode in {"trajectory", "seeds"}:
            raise RequestError("mode", "a style has embedding, prediction, perpendicular or saliency")
        if self.row == 1 or (self.row and len(self.concepts) != 2):
            raise RequestError("row", "a row has 2 or more pictures, and the style two concepts")
        if self.concepts:
            self.blend(0)

    def blend(self, explore: int) -> Blend:
        """The blend of the concepts. Raises RequestError for fields that the mode does not use."""
        concepts = tuple(Concept(prompt=each.prompt, weight=each.weight) for each in self.concepts)
        return Blend(mode=self.mode, normalise=self.normalise, explore=explore, concepts=concepts)


class StoryFile(Spec, frozen=True, kw_only=True):
    """A story: an asset is made for every character, style, place and pose.

    title            the headline of the report
    model            a checkpoint by name or path
    prompt           the template of all prompts: `{character}`, `{pose}`, `{place}` and `{style}` become
                     their words
    negative_prompt  of all assets
    portrait         the words that stand for the place in a portrait, see `characters`
    width, height    in pixels, multiples of 8
    steps            of the sampler
    cfg_scale        the guidance scale, number or schedule
    sampler          by the WebUI's name or alias
    seed             of all characters that have none of their own
    consistency      what keeps a character the same: `seed`: the same noise; `reference`: an IP-Adapter
                     follows its picture or portrait, too; `aligned`: StyleAligned, each pose shares
                     attention with the first pose of the same place (twice the time); `independent`: nothing,
                     another seed for each asset
    characters       at least one
    places, poses    what the sheets' rows and columns are; without any, there is one row or column
    styles           one sheet each; without any, the prompt alone
    """

    title: Annotated[str, Meta(max_length=60)] = "Story"
    model: str = "ctrlgen-tiny"
    prompt: str = TEMPLATE
    negative_prompt: str = ""
    portrait: str = "plain white background"
    width: Size = 512
    height: Size = 512
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    cfg_scale: Annotated[Schedule, Meta(extra_json_schema={"default": 7})] = field(
        default_factory=lambda: constant(7.0)
    )
    sampler: str = "DPM++ 2M"
    seed: Annotated[int, Meta(ge=0, le=2**32 - 2)] = 0
    consistency: Consistency = "seed"
    characters: Annotated[tuple[Character, ...], Meta(min_length=1, max_length=64)]
    places: Annotated[tuple[Place, ...], Meta(max_length=64)] = ()
    poses: Annotated[tuple[Pose, ...], Meta(max_length=64)] = ()
    styles: Annotated[tuple[Style, ...], Meta(max_length=64)] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_fields(self.prompt, FIELDS)
        for name in ("characters", "places", "poses", "styles"):
            _check_names(name, getattr(self, name))
        if self.consistency == "aligned" and len(self.poses) < 2:
            raise RequestError("consistency", "aligned needs two poses or more: each shares with the first")
        GenerationRequest(
            width=self.width,
            height=self.height,
            steps=self.steps,
            cfg_scale=self.cfg_scale,
            sampler=self.sampler,
        )


def _check_fields(template: str, known: Sequence[str]) -> None:
    """Raise RequestError at `prompt` for a field that the template cannot have."""
    for found in FIELD.findall(template):
        if found not in known:
            raise RequestError("prompt", f"unknown {{{found}}} in the template ({nearest(found, known)})")


def _check_names(where: str, parts: Sequence[Named]) -> None:
    """Raise RequestError at a name whose files would be those of an earlier one."""
    slugs = [part.slug for part in parts]
    for number, slug in enumerate(slugs):
        if slug in slugs[:number]:
            message = f"is the same as {parts[slugs.index(slug)].name!r} in file names: give it another name"
            raise RequestError(f"{where}[{number}].name", message)
