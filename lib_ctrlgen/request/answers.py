"""What the REST routes under /ctrlgen/v1 answer, as types.

The client reads answers into them, and the OpenAPI document describes them. Fields that a later version adds
are ignored when an answer is read.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

JobState: TypeAlias = Literal["waiting", "running", "done", "interrupted", "failed", "stopped"]
Pixels: TypeAlias = Annotated[list[float], Meta(min_length=4, max_length=4)]
Point: TypeAlias = Annotated[list[float], Meta(min_length=2, max_length=2)]


class Answer(Struct, frozen=True, kw_only=True):
    """Base class of all answers."""


class ModelFile(Answer, frozen=True, kw_only=True):
    """A control model, or the weights of a preprocessor.

    name     as a request's `model` names it
    hash     the first letters of the hash of its content
    kind     the control family, or `preprocessor`
    variant  of the family; empty for none
    base     the checkpoint family that it fits; empty where it is not known
    size     in bytes
    purpose  what it is for, such as `edges (Canny)`; empty where it is not known
    error    why it cannot be used; empty if it can
    """

    name: str
    hash: str
    kind: str
    variant: str
    base: str
    size: int
    purpose: str
    error: str


class ModelList(Answer, frozen=True, kw_only=True):
    """The control models of a WebUI.

    version  of CtrlGen
    models   the names of the control models
    hashed   each model's `name [hash]`, with `hashes=true`
    files    what each file is, without `details=false`
    """

    version: str
    models: list[str]
    hashed: list[str] = []
    files: list[ModelFile] = []


class PreprocessorParam(Answer, frozen=True, kw_only=True):
    """A parameter of a preprocessor.

    kind              of its values
    minimum, maximum  inclusive bounds; null for none
    choices           the values of the kind `choice`
    off               one more allowed number outside of the bounds; null for none
    info              a sentence about it
    advanced          whether it is rarely changed
    """

    name: str
    label: str
    kind: Literal["float", "int", "choice", "bool", "text", "image", "embedding"]
    default: bool | int | float | str
    minimum: float | None
    maximum: float | None
    step: float | None
    choices: list[str]
    off: float | None
    info: str
    advanced: bool


class EnvironmentInfo(Answer, frozen=True, kw_only=True):
    """An environment of its own that a preprocessor needs, and whether it is installed."""

    name: str
    installed: bool


class PreprocessorInfo(Answer, frozen=True, kw_only=True):
    """A preprocessor.

    reads        what the unit's picture must be
    pose         whether it also returns OpenPose JSON
    union_type   the type of its maps for a ControlNet Union; null for none
    marks_holes  whether the picture's transparent area is a hole, which is generated anew
    after_unet   whether it also changes the predicted latent or the finished picture
    environment  of its own that it needs; null for none
    """

    name: str
    title: str
    params: list[PreprocessorParam]
    reads: Literal["picture", "pose"]
    pose: bool
    union_type: str | None
    marks_holes: bool
    after_unet: bool
    environment: EnvironmentInfo | None = None


class PreprocessorList(Answer, frozen=True, kw_only=True):
    """The preprocessors of a WebUI, and its version of CtrlGen."""

    version: str
    preprocessors: list[PreprocessorInfo]


class PlanAnswer(Answer, frozen=True, kw_only=True):
    """The weights of a request before it runs.

    labels   of the rows
    weights  of each row at each step
    note     what does not act, and why; empty for nothing
    table    the same as text
    svg      the same as a drawing
    """

    labels: list[str]
    weights: list[list[float]]
    note: str
    table: str
    svg: str


class DetectAnswer(Answer, frozen=True, kw_only=True):
    """The control maps of pictures.

    images    PNG files in data URLs, one for each picture
    poses     OpenPose JSON of each picture; null where no pose was detected or given
    warnings  sentences
    """

    images: list[str]
    poses: list[dict[str, Any] | None]
    warnings: list[str]


class FoundFace(Answer, frozen=True, kw_only=True):
    """A face in a picture.

    box        left, top, right and bottom in pixels
    points     x and y in pixels: the eyes, the nose, the corners of the mouth
    score      of the detector, from 0 to 1
    embedding  a safetensors file in base64
    """

    box: Pixels
    points: Annotated[list[Point], Meta(min_length=5, max_length=5)]
    score: float
    embedding: str


class FacesAnswer(Answer, frozen=True, kw_only=True):
    """The faces of a picture, from left to right.

    pack        insightface's model pack
    recogniser  the network that made the embeddings
    embeddings  one safetensors file in base64 for all faces
    """

    pack: str
    recogniser: str
    faces: list[FoundFace]
    embeddings: str


class JobAccepted(Answer, frozen=True, kw_only=True):
    """A tuner job that was started: its name, and the numbers of its cells and pictures."""

    id: str
    cells: int
    pictures: int


class JobListed(Answer, frozen=True, kw_only=True):
    """A tuner job with its state, and how many of its cells are done."""

    id: str
    state: JobState
    done: int
    total: int


class JobCell(Answer, frozen=True, kw_only=True):
    """A finished cell of a tuner job.

    coords    the indices of its values on the axes
    values    its values as text
    scores    by name
    sd        the standard deviation of each score over the seeds
    reasons   why there is no score, by name
    files     paths of its pictures in the job's folder, one per seed
    error     why it failed; empty if it did not
    encoder   the CLIP vision encoder that measured its likeness
    stopped   whether it was made with fewer steps only, by a search that stops early or a coarse grid
    """

    coords: list[int]
    values: list[str]
    scores: dict[str, float]
    sd: dict[str, float]
    reasons: dict[str, str]
    files: list[str]
    warnings: list[str] = []
    error: str
    encoder: str = ""
    stopped: bool = False


class RecommendedCell(Answer, frozen=True, kw_only=True):
    """The cell that a report recommends: its place in `cells`, and the reason."""

    cell: int
    reason: str


class JobStatus(Answer, frozen=True, kw_only=True):
    """The progress of a tuner job.

    done            finished cells, of `total`
    seconds_left    an estimate; null where there is none
    cells           the finished cells
    recommended     null until the job is done
    error           why the job failed; empty if it did not
    scores_version  of how scores are measured
    """

    id: str
    state: JobState
    done: int
    total: int
    seconds_left: float | None
    cells: list[JobCell]
    recommended: RecommendedCell | None
    error: str
    scores_version: int


class Problem(Answer, frozen=True, kw_only=True):
    """Where a request is wrong, as a JSON path, and what to do."""

    path: str
    message: str


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """The answer to a request that cannot be carried out.

    error   the kind of the error
    detail  the place in the request and what to do there, or a sentence
    body    empty
    errors  the same in one line
    """

    error: str
    detail: Problem | str
    body: str
    errors: str
