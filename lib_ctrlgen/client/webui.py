"""The client of one WebUI with CtrlGen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from lib_ctrlgen.request.answers import (
    Answer,
    DetectAnswer,
    FacesAnswer,
    JobListed,
    ModelList,
    PlanAnswer,
    PreprocessorInfo,
    PreprocessorList,
)
from lib_ctrlgen.request.recipe_answers import RecipeAdded, RecipeListed
from lib_ctrlgen.request.spec import to_payload

from .bodies import SCRIPTS, TITLE, Controls, Payload, body_of, controls_of
from .connection import Connection, Login, Timeouts
from .jobs import TuneJob, listed_jobs, post_job
from .pictures import Picture, SentPicture, sent
from .reading import read_answer
from .recipes import WebUIRecipe, add_recipe, listed_recipes
from .results import Detected, Generated, Progress, generated, progress_of

ROOT = "/ctrlgen/v1"
AnyAnswer = TypeVar("AnyAnswer", bound=Answer)


class WebUI:
    """A WebUI with CtrlGen, at an address such as `http://127.0.0.1:7860` (https and a path are possible).

    auth     user and password of `--api-auth`; they may also be in the address
    timeout  seconds until a call is given up, for everything, or a `Timeouts`

    Methods raise the errors of `lib_ctrlgen.client.errors`. Pictures are given as Pillow's images, paths,
    bytes, base64 or data URLs. Threads need an object each.
    """

    def __init__(self, url: str, auth: Login = None, timeout: float | Timeouts | None = None) -> None:
        self.connection = Connection.to(url, auth, timeout)

    def __repr__(self) -> str:
        return f"WebUI({self.url!r})"

    @property
    def url(self) -> str:
        """The address without the login."""
        return self.connection.url

    # Generations

    def txt2img(self, request: Controls = None, **fields: Any) -> Generated:
        """Make pictures. `fields` are those of the WebUI's route: `prompt`, `steps`, `enable_hr`, ...

        `request` is a `ControlRequest`, a `GenerationRequest`, or the same as a dictionary; without one the
        WebUI makes an ordinary picture.
        """
        return self.generate("txt2img", body_of(request, fields))

    def img2img(
        self,
        request: Controls = None,
        *,
        init_images: Iterable[SentPicture],
        mask: SentPicture | None = None,
        **fields: Any,
    ) -> Generated:
        """Make pictures from others. White areas of the `mask` are painted anew."""
        found = [sent(each, f"$.init_images[{n}]") for n, each in enumerate(init_images)]
        own: Payload = {"init_images": found} | ({} if mask is None else {"mask": sent(mask, "$.mask")})
        return self.generate("img2img", body_of(request, fields | own))

    def generate(self, tab: str, body: Mapping[str, Any]) -> Generated:
        """Post a body of the WebUI's route of a tab (`txt2img` or `img2img`) as it is."""
        timeout = self.connection.timeouts.generation
        answer = self.connection.json("POST", f"/sdapi/v1/{tab}", body, timeout=timeout)
        args = body.get(SCRIPTS, {}).get(TITLE, {}).get("args") or [{}]
        return generated(self.url, answer, args[0] if isinstance(args[0], Mapping) else {})

    def progress(self, *, preview: bool = False) -> Progress:
        """How far the WebUI's current generation is."""
        skipped = "" if preview else "?skip_current_image=true"
        return progress_of(self.url, self.connection.json("GET", f"/sdapi/v1/progress{skipped}"))

    def interrupt(self) -> None:
        """Interrupt the WebUI's current generation, whoever began it."""
        self.connection.json("POST", "/sdapi/v1/interrupt")

    # CtrlGen's routes

    def models(self, *, refresh: bool = False, hashes: bool = False, details: bool = True) -> ModelList:
        """The control models; with `refresh`, the model folders are read again."""
        options = {"refresh": refresh, "hashes": hashes, "details": details}
        query = "&".join(f"{name}={str(value).lower()}" for name, value in options.items())
        return self._read("GET", f"models?{query}", ModelList)

    def preprocessors(self) -> tuple[PreprocessorInfo, ...]:
        """The preprocessors with their parameters."""
        return tuple(self._read("GET", "preprocessors", PreprocessorList).preprocessors)

    def schema(self) -> Payload:
        """The JSON Schema of a request, as this WebUI's version of CtrlGen reads it."""
        return dict(self.connection.json("GET", f"{ROOT}/schema"))

    def plan(
        self, request: Controls, *, steps: int = 20, prompt: str = "", negative_prompt: str = ""
    ) -> PlanAnswer:
        """The weights of a request at each step, without generating."""
        prompts = {"prompt": prompt, "negative_prompt": negative_prompt}
        return self._read("POST", "plan", PlanAnswer, controls_of(request) | prompts | {"steps": steps})

    def detect(
        self,
        preprocessor: str | list[Any],
        pictures: Iterable[SentPicture],
        params: Mapping[str, Any] | None = None,
    ) -> tuple[Detected, ...]:
        """The control map of each picture."""
        images = [sent(each, f"$.images[{number}]") for number, each in enumerate(pictures)]
        body = {"preprocessor": preprocessor, "images": images, "params": dict(params or {})}
        timeout = self.connection.timeouts.generation
        found = self._read("POST", "detect", DetectAnswer, body, timeout=timeout)
        pairs = zip(found.images, found.poses, strict=True)
        warnings = tuple(found.warnings)
        return tuple(Detected(map=Picture.of(each), pose=pose, warnings=warnings) for each, pose in pairs)

    def faces(self, picture: SentPicture, *, pack: str = "", face_choice: str = "all") -> FacesAnswer:
        """The faces of a picture, from left to right. Raises RefusedError where there is none."""
        body = {"image": sent(picture, "$.image"), "face_choice": face_choice}
        return self._read("POST", "faces", FacesAnswer, body | ({"pack": pack} if pack else {}))

    # Tuner jobs

    def tune(
        self,
        tune: Mapping[str, Any] | Struct,
        request: Controls = None,
        *,
        tab: str = "txt2img",
        **fields: Any,
    ) -> TuneJob:
        """Start a job of the tuner: `tune` has the axes or the search, the rest is as in `txt2img`."""
        axes = to_payload(tune) if isinstance(tune, Struct) else dict(tune)
        return post_job(self.connection, axes, body_of(request, fields), tab)

    def job(self, name: str) -> TuneJob:
        """The job of this name."""
        return TuneJob(connection=self.connection, id=name)

    def jobs(self) -> tuple[JobListed, ...]:
        """All jobs, the newest first."""
        return listed_jobs(self.connection)

    # Recipes

    def recipes(self) -> tuple[RecipeListed, ...]:
        """All recipes, the last saved one first."""
        return listed_recipes(self.connection)

    def recipe(self, name: str) -> WebUIRecipe:
        """The recipe of this name, which may be saved, read, renamed, deleted, ..."""
        return WebUIRecipe(connection=self.connection, name=name)

    def add_recipe(self, file: Path | bytes, name: str = "") -> RecipeAdded:
        """Add the recipe in a zip or a picture, under `name` or that of the file."""
        return add_recipe(self.connection, file, name)

    def _read(
        self,
        method: str,
        path: str,
        kind: type[AnyAnswer],
        body: Any = None,
        *,
        timeout: float | None = None,
    ) -> AnyAnswer:
        content = self.connection.json(method, f"{ROOT}/{path}", body, timeout=timeout)
        return read_answer(self.url, content, kind)
