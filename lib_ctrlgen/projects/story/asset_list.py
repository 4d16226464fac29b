"""The assets of a story: every character, style, place and pose together, and their names."""

from __future__ import annotations

from dataclasses import dataclass

from .story_file import Character, Place, Pose, StoryFile, Style

PORTRAIT, ROW = "portrait", "row"
ASSETS, RESULT = "assets", "result.png"  # the folder of all assets, and the picture in each one's folder


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One picture of a story.

    character, style, place, pose  its parts, by their numbers in the story; None where the story has none
    role   empty, or `portrait` (for reference pictures), or `row` (of a blend)
    share  in a row, 0 for the first concept to 1 for the second; `number` counts from 0
    """

    character: int
    style: int | None = None
    place: int | None = None
    pose: int | None = None
    role: str = ""
    number: int = 0
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AssetList:
    """The assets of a story."""

    story: StoryFile

    @property
    def count(self) -> int:
        """The number of assets, without making them: a short file may name millions."""
        story = self.story
        styles = max(1, len(story.styles))
        portraits = sum(not one.picture for one in story.characters) if self.has_portraits else 0
        placed = len(story.characters) * max(1, len(story.places)) * max(1, len(story.poses))
        return styles * (portraits + placed) + sum(style.row for style in story.styles)

    @property
    def pictures(self) -> int:
        """The number of pictures that are generated: two for an asset that shares with its first pose."""
        story = self.story
        if story.consistency != "aligned":
            return self.count
        placed = len(story.characters) * max(1, len(story.places)) * max(1, len(story.styles))
        return self.count + placed * (len(story.poses) - 1)

    @property
    def has_portraits(self) -> bool:
        """Whether characters without a picture get a portrait first."""
        return self.story.consistency == "reference"

    def assets(self) -> tuple[Asset, ...]:
        """All assets in the order in which they are made; portraits come before what refers to them."""
        story = self.story
        styles, places, poses = (_numbers(part) for part in (story.styles, story.places, story.poses))
        found: list[Asset] = []
        for character, one in enumerate(story.characters):
            for style in styles:
                if self.has_portraits and not one.picture:
                    found.append(Asset(character=character, style=style, role=PORTRAIT))
                found += [
                    Asset(character=character, style=style, place=place, pose=pose)
                    for place in places
                    for pose in poses
                ]
        return (*found, *self.rows())

    def rows(self) -> tuple[Asset, ...]:
        """The pictures of the rows between two concepts, with the first character, place and pose."""
        story = self.story
        return tuple(
            Asset(
                character=0,
                style=number,
                place=0 if story.places else None,
                pose=0 if story.poses else None,
                role=ROW,
                number=place,
                share=place / (style.row - 1),
            )
            for number, style in enumerate(story.styles)
            for place in range(style.row)
        )

    def name(self, asset: Asset) -> str:
        """The name of an asset's folder, such as `keeper--dusk--harbour--left`."""
        one, style, place, pose = self.parts(asset)
        if asset.role == ROW:
            assert style is not None
            return f"{one.slug}--{style.slug}--row-{asset.number + 1}"
        named = [part.slug for part in (one, style, place, pose) if part is not None]
        return "--".join([*named, *([PORTRAIT] if asset.role == PORTRAIT else [])])

    def parts(self, asset: Asset) -> tuple[Character, Style | None, Place | None, Pose | None]:
        """The parts of the story that an asset is made of."""
        story = self.story
        return (
            story.characters[asset.character],
            None if asset.style is None else story.styles[asset.style],
            None if asset.place is None else story.places[asset.place],
            None if asset.pose is None else story.poses[asset.pose],
        )

    def portrait_of(self, asset: Asset) -> Asset | None:
        """The portrait that must be made before an asset; None if it needs none."""
        needs = self.has_portraits and asset.role != PORTRAIT
        if not needs or self.story.characters[asset.character].picture:
            return None
        return Asset(character=asset.character, style=asset.style, role=PORTRAIT)


def _numbers(parts: tuple[object, ...]) -> list[int | None]:
    return [*range(len(parts))] or [None]
