"""What the REST routes of `ctrlgen serve` answer: the client reads it, and FastAPI describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

KEY_HEADER = "Idempotency-Key"  # what is sent again with the same value is queued once
Kind: TypeAlias = Literal["run", "tune", "story", "preview"]
State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class AssetAnswer:
    """An asset of a story. Its picture is at /jobs/{id}/assets/{name} as soon as it is made.

    character, style, place, pose  the names of its parts, empty where the story has none
    role     empty, or `portrait` (for reference pictures), or `row` (of a blend)
    made     whether it is made
    picture  its number at /jobs/{id}/pictures/{n}, when the job is done
    """

    name: str
    character: str
    style: str
    place: str
    pose: str
    role: str
    made: bool
    picture: int | None


@dataclass(frozen=True, kw_only=True)
class ErrorDetail:
    """Why a request or a job failed, with the JSON path of the place in the job; empty if there is none."""

    path: str
    message: str


@dataclass(frozen=True, kw_only=True)
class JobAnswer:
    """A job.

    kind      `run`: the pictures of a request; `tune`: a grid or a search; `story`: the assets of a story;
              `preview`: a small picture for the page of dials, which no list has
    state     `queued`, `running`, `done`, `failed` or `cancelled`
    stopping  whether a running job is being cancelled
    title     the beginning of the prompt; the title of a story
    done, total  the steps that are done and all steps, while it runs; the cells of a tuner's job, the assets
              of a story
    created, started, ended  seconds since 1970
    attempts  more than 1 if a worker was lost, or the server was restarted, while the job ran
    pictures  the number of pictures, which are at /jobs/{id}/pictures/{n} from 0
    """

    id: str
    user: str
    kind: Kind
    state: State
    stopping: bool
    title: str
    done: int
    total: int
    created: float
    started: float | None
    ended: float | None
    attempts: int
    error: ErrorDetail | None
    pictures: int


@dataclass(frozen=True, kw_only=True)
class WholeJobAnswer(JobAnswer):
    """A job with its settings and results.

    settings     the job as it was sent, with a hash in the place of each picture
    files        the paths of all files, which are at /jobs/{id}/files/{path}
    sheets       those of `files` that show many pictures in one
    report       the file of a tuner's or a story's report; empty for another job
    assets       of a story, also while it runs
    failed       the cells or assets that could not be made; `warnings` say why
    recommended  the values that a tuner's job recommends, and why in `reason`
    """

    settings: dict[str, Any]
    files: list[str] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    report: str = ""
    recommended: str = ""
    reason: str = ""
    assets: list[AssetAnswer] = field(default_factory=list)
    failed: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LimitsAnswer:
    """The limits of one user.

    side      pixels of a picture's width and height
    pictures  of one job
    queue     jobs that wait or run
    upload    bytes of one request
    stored    bytes that the user keeps, of jobs with their files and of versions of recipes
    days      after which jobs that have ended are removed; 0 for never
    """

    side: int
    pictures: int
    queue: int
    upload: int
    stored: int
    days: int


@dataclass(frozen=True, kw_only=True)
class MeAnswer:
    """Who the token belongs to, how many jobs the user has in each state, the kept bytes, and the limits."""

    name: str
    role: str
    jobs: dict[str, int]
    kept: int
    limits: LimitsAnswer


@dataclass(frozen=True, kw_only=True)
class ModelsAnswer:
    """The models and preprocessors that a job may name.

    checkpoints   for a job's `model`
    controls      for a unit's `model`
    """

    checkpoints: list[str]
    controls: list[str]
    preprocessors: list[str]
    samplers: list[str]


@dataclass(frozen=True, kw_only=True)
class HealthAnswer:
    """Whether the server works: `ok`, or `no worker` while none is ready."""

    status: str
    version: str


@dataclass(frozen=True, kw_only=True)
class ErrorAnswer:
    """The answer of every request that failed."""

    detail: ErrorDetail


@dataclass(frozen=True, kw_only=True)
class VersionAnswer:
    """A version of a recipe: its hash, when it was saved (ISO 8601), the words for it, and by whom."""

    id: str
    saved: str
    message: str
    author: str


@dataclass(frozen=True, kw_only=True)
class ListedRecipeAnswer:
    """A recipe in the list: its name, current variant, and the newest version of that."""

    name: str
    variant: str
    version: VersionAnswer


@dataclass(frozen=True, kw_only=True)
class WholeRecipeAnswer(ListedRecipeAnswer):
    """A version of a recipe.

    creator   who saved the first version
    variants  the names of all variants
    settings  the job of the version, with a hash in the place of each picture
    missing   the hashes of pictures that the recipe does not hold
    """

    creator: str
    variants: list[str]
    settings: dict[str, Any]
    missing: list[str]


@dataclass(frozen=True, kw_only=True)
class SavedAnswer:
    """A picture that was saved as a recipe, and sentences on what is missing in it."""

    name: str
    version: VersionAnswer
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class DeletedAnswer:
    """A recipe that was deleted, and how many versions its current variant had."""

    name: str
    versions: int


@dataclass(frozen=True, kw_only=True)
class PairAnswer:
    """Two pictures at the same place: old, new and difference side by side, as a data URL.

    place    `result`, or a JSON path in the job
    largest  the largest difference of a value of 0..255
    """

    place: str
    image: str
    largest: int


@dataclass(frozen=True, kw_only=True)
class DifferenceAnswer:
    """What differs between two versions: a unified diff of the YAML, and the pictures."""

    text: str
    pictures: list[PairAnswer]
