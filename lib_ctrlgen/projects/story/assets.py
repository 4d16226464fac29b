"""The requests of a story's assets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.projects.control_models import Controls, controls_for, usual_preprocessor
from lib_ctrlgen.request.blend_map import map_cells
from lib_ctrlgen.request.spec import GenerationRequest, parse_request, to_payload

from .asset_list import PORTRAIT, ROW, Asset, AssetList
from .pictures import ReadStory
from .story_file import FIELD, Place, Pose, StoryControl

LARGEST_SEED = 2**32 - 2
EMPTY_PARTS = re.compile(r"\s*,(?:\s*,)+")
Payload = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Planner(AssetList):
    """Makes the requests of a story's assets for a checkpoint and the control files that fit it."""

    read: ReadStory
    controls: Controls
    store: ModelStore

    def request(self, asset: Asset, portrait: str) -> Payload:
        """The request of an asset as JSON types; `portrait` is a data URL.

        Raises RequestError with a path in the story file.
        """
        story = self.story
        aligned = story.consistency == "aligned" and not asset.role and asset.pose not in (None, 0)
        units = self.units(asset, portrait)
        if aligned:
            units = [*self.aligned_units(asset, units), {"control": "style_aligned"}]
        payload = {
            "model": story.model,
            "prompt": self.prompt(asset),
            "negative_prompt": story.negative_prompt,
            "width": story.width,
            "height": story.height,
            "steps": story.steps,
            "cfg_scale": to_payload(story, whole=True)["cfg_scale"],
            "sampler": story.sampler,
            "seed": self.seed(asset),
            "batch_size": 2 if aligned else 1,
            "units": units,
            **self.blend(asset),
        }
        with at_path("$"):
            return to_payload(parse_request(payload, GenerationRequest))

    def prompt(self, asset: Asset) -> str:
        """The words of an asset in the story's template; commas around missing parts go."""
        return filled(self.story.prompt, self.words(asset))

    def words(self, asset: Asset) -> dict[str, str]:
        """The words of an asset's parts, by the names that templates have for them."""
        one, style, place, pose = self.parts(asset)
        somewhere = place.prompt if place else ""
        return {
            "character": one.prompt,
            "style": style.prompt if style else "",
            "place": self.story.portrait if asset.role == PORTRAIT else somewhere,
            "pose": pose.prompt if pose else "",
        }

    def seed(self, asset: Asset) -> int:
        """The seed: the character's or the story's; with `independent`, one that the asset's name gives."""
        story = self.story
        own = story.characters[asset.character].seed
        seed = story.seed if own is None else own
        if story.consistency != "independent" or asset.role:
            return seed
        return (seed + crc32(self.name(asset).encode())) % LARGEST_SEED

    def blend(self, asset: Asset) -> Payload:
        """The `blend` of a style with concepts; in a row with the weights of its place.

        If no concept takes the prompt, the request has none.
        """
        style = self.parts(asset)[1]
        if style is None or not style.concepts:
            return {}
        blend = style.blend(style.row if asset.role == ROW else 0)
        payload = to_payload(map_cells(blend)[asset.number])
        words = self.words(asset)
        for concept in payload["concepts"]:
            concept["prompt"] = filled(concept["prompt"], words)
        used = any("{prompt}" in concept["prompt"] for concept in payload["concepts"])
        return {"blend": payload} if used else {"blend": payload, "prompt": ""}

    def units(self, asset: Asset, portrait: str) -> list[Payload]:
        """The units: controls of pose and place, the mood board, the character's reference picture."""
        found = self.controls_at(asset)
        if asset.style is not None:
            found += self.mood_board(asset.style)
        return [*found, *self.reference(asset, portrait)]

    def controls_at(self, asset: Asset) -> list[Payload]:
        """The units of the controls of an asset's pose and place."""
        found = []
        for where, number in (("poses", asset.pose), ("places", asset.place)):
            if number is not None:
                part: Pose | Place = getattr(self.story, where)[number]
                path = f"$.{where}[{number}].controls"
                found += [self.unit(each, f"{path}[{at}]") for at, each in enumerate(part.controls)]
        return found

    def unit(self, control: StoryControl, path: str) -> Payload:
        """The unit of a control. Raises RequestError at `path` if no model, or not the named one, fits."""
        fields = to_payload(control)
        model = self.fitting(control.model, f"{path}.model")
        file = self.controls.file(control.kind)
        if not model and file is None:
            here = (
                ", ".join(self.controls.kinds(tuple(dict.fromkeys(_kinds(self.controls))))) or "none at all"
            )
            checkpoint = self.controls.checkpoint
            message = f"no model for {control.kind!r} fits {checkpoint}; there are models for: {here}"
            raise RequestError(f"{path}.kind", message)
        unit = {name: fields[name] for name in ("weight", "guidance_start", "guidance_end") if name in fields}
        return unit | {
            "model": model or (file.name if file else ""),
            "preprocessor": control.preprocessor or usual_preprocessor(control.kind, file, self.store),
            "image": self.read.pictures[control.picture],
        }

    def fitting(self, model: str, path: str) -> str:
        """The name of a model that a story names, empty for none. Raises RequestError if it does not fit."""
        if model:
            with at_path(path):
                self.controls.require_fit(self.store.resolve(model))
        return model

    def mood_board(self, number: int) -> list[Payload]:
        """The unit of a style's mood board, if it has one. Raises RequestError if there is no IP-Adapter."""
        style = self.story.styles[number]
        shown: list[Payload] = [
            {**to_payload(each), "image": self.read.pictures[each.picture]} for each in style.pictures
        ]
        for each in shown:
            each.pop("picture", None)
        shown += [{"image": each} for each in self.read.boards.get(number, ())]
        if not shown:
            return []
        path = f"$.styles[{number}].model"
        with at_path(path):
            model = self.fitting(style.model, path) or self.controls.adapter().name
        weight = to_payload(style, whole=True)["weight"]
        return [{"model": model, "references": shown, "weight": weight, "combine": style.combine}]

    def reference(self, asset: Asset, portrait: str) -> list[Payload]:
        """The unit of the character's reference picture, with `consistency: reference`."""
        story = self.story
        if story.consistency != "reference" or asset.role == PORTRAIT:
            return []
        one = story.characters[asset.character]
        picture = self.read.pictures[one.picture] if one.picture else portrait
        with at_path("$.consistency"):
            model = self.controls.adapter().name
        return [{"model": model, "image": picture, "weight": to_payload(one, whole=True)["weight"]}]

    def aligned_units(self, asset: Asset, units: list[Payload]) -> list[Payload]:
        """The units of two pictures: the first pose of the place, and the asset's.

        Raises RequestError if the controls of both poses differ in more than their pictures.
        """
        first = self.units(replace(asset, pose=0), "")
        plain = [[_without_picture(unit) for unit in each] for each in (first, units)]
        if plain[0] != plain[1]:
            path = f"$.poses[{asset.pose}].controls"
            raise RequestError(
                path, "with `consistency: aligned`, poses have equal controls but for the pictures"
            )
        found = []
        for one, other in zip(first, units, strict=True):
            shared = one.get("image") == other.get("image")
            pair = {} if shared else {"images": [one["image"], other["image"]]}
            found.append(dict(other) if shared else {**_without_picture(other), **pair})
        return found


def planner_of(read: ReadStory, store: ModelStore) -> Planner:
    """The planner for a story's checkpoint. Raises RequestError at `$.model` if that is unknown."""
    try:
        controls = controls_for(read.story.model, store.files)
    except RequestError as error:
        raise RequestError("$.model", error.message) from error
    return Planner(story=read.story, read=read, controls=controls, store=store)


def filled(template: str, words: Mapping[str, str]) -> str:
    """A template with words in the place of its fields; commas around empty ones go, other fields stay.

    >>> filled("{character}, {pose}, {place}", {"character": "a fox", "pose": "", "place": "harbour"})
    'a fox, harbour'
    """
    text = FIELD.sub(lambda found: words.get(found[1], found[0]), template)
    return re.sub(r"\s+", " ", EMPTY_PARTS.sub(",", text)).strip(" ,")


def _without_picture(unit: Mapping[str, Any]) -> Payload:
    return {name: value for name, value in unit.items() if name != "image"}


def _kinds(controls: Controls) -> list[str]:
    return [kind for file in controls.files for kind in file.kinds]
