"""Makes one asset of a story into its folder: the recipe with its pictures, the result and a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_ctrlgen.files import save_bytes, save_picture
from lib_ctrlgen.headless.engine import Generation
from lib_ctrlgen.headless.outputs import picture_infos
from lib_ctrlgen.headless.tune import EngineHost
from lib_ctrlgen.recipes.content import Recipe, files_of
from lib_ctrlgen.recipes.from_picture import with_hashes
from lib_ctrlgen.recipes.library import Library
from lib_ctrlgen.request.per_picture import for_picture
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

from .asset_list import RESULT, Asset
from .assets import Planner
from .measures import measured

MESSAGE = "ctrlgen story"
VERSION = 1  # of how assets are made from their requests: raise it when that changes


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes assets; `library` keeps their versions, None for no versions.

    prefix  of the names of recipes, where several stories share a library
    """

    host: EngineHost
    planner: Planner
    library: Library | None = None
    prefix: str = ""

    def inputs(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """All that an asset depends on: equal inputs give the same asset."""
        return {"job": dict(payload), "version": VERSION}

    def recipe_name(self, asset: Asset) -> str:
        """The name of an asset's recipe."""
        return f"{self.prefix}{self.planner.name(asset)}"

    def make(self, asset: Asset, payload: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Write an asset into `folder`, and a version of its recipe into the library; returns its record.

        Raises RequestError, ModelError and HostError.
        """
        request = parse_request(dict(payload), GenerationRequest)
        generation = self.host.engine.generate(request, self.host.progress)
        save_picture(
            generation.images[-1], folder / RESULT, picture_infos(generation.request, generation)[-1]
        )
        result = (folder / RESULT).read_bytes()
        recipe = Recipe(job=with_hashes(payload, result), result=result)
        for name, data in files_of(recipe).items():
            save_bytes(data, folder / name)
        single = for_picture(request, request.batch_size - 1)
        record = self.record(asset, generation) | measured(self.host, generation.images[-1], single)
        if self.library is not None:
            version = self.library.save(self.recipe_name(asset), recipe, MESSAGE)
            record["recipe"] = {"name": self.recipe_name(asset), "version": version.id}
        return record

    def record(self, asset: Asset, generation: Generation) -> dict[str, Any]:
        """What is kept of an asset as JSON types."""
        names = [part.name if part is not None else "" for part in self.planner.parts(asset)]
        return {
            "name": self.planner.name(asset),
            **dict(zip(("character", "style", "place", "pose"), names, strict=True)),
            "role": asset.role,
            "share": asset.share,
            "prompt": self.planner.prompt(asset),
            "seed": generation.seeds[-1],
            "seconds": round(generation.seconds, 3),
            "models": generation.loaded.listed(),
            "warnings": list(generation.warnings),
        }
