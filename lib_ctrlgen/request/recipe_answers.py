"""Bodies and answers of the REST routes under /ctrlgen/v1/recipes, as types."""

from __future__ import annotations

from typing import Any

from msgspec import field

from .answers import Answer
from .base import Spec


class RecipeBody(Spec, frozen=True, kw_only=True):
    """A recipe to save: a job with its pictures as base64 or data URLs, and the picture that was made.

    job       the fields of a job, see `ctrlgen schema`
    settings  entries of the WebUI's infotext that a job has no field for
    result    the picture that was made, as base64 or a data URL of PNG, JPEG or WebP
    message   words for the history
    variant   the variant to save into; the current one when empty
    """

    job: dict[str, Any]
    settings: dict[str, str] = field(default_factory=dict)
    result: str = ""
    message: str = ""
    variant: str = ""


class RecipeChange(Spec, frozen=True, kw_only=True):
    """What is to be changed of a recipe; empty fields leave it as it is.

    name     its new name
    variant  the variant to switch to
    """

    name: str = ""
    variant: str = ""


class RecipeRestore(Spec, frozen=True, kw_only=True):
    """The version that is to become the newest one, by at least 7 digits of its hash."""

    version: str


class RecipeVariant(Spec, frozen=True, kw_only=True):
    """A variant to make and to switch to.

    variant  its name
    version  the version that it begins with; the newest one when empty
    """

    variant: str
    version: str = ""


class CellRecipe(Spec, frozen=True, kw_only=True):
    """A cell of a tuner job to save as a recipe.

    recipe   the name of the recipe, which gets a new version if it exists
    cell     the 16 hexadecimal digits in its pictures' file names; the recommended cell when empty
    picture  which of the cell's pictures, counted from 0
    message  words for the history
    """

    recipe: str
    cell: str = ""
    picture: int = 0
    message: str = ""


class RecipeVersion(Answer, frozen=True, kw_only=True):
    """A version of a recipe.

    id       its hash
    saved    when it was saved, in ISO 8601
    message  the words that were saved with it
    author   who saved it: a user of `ctrlgen serve`, else CtrlGen
    """

    id: str
    saved: str
    message: str
    author: str = ""


class RecipeListed(Answer, frozen=True, kw_only=True):
    """A recipe in the list.

    name     its name
    variant  its current variant
    version  the newest version of that
    """

    name: str
    variant: str
    version: RecipeVersion


class RecipeAnswer(Answer, frozen=True, kw_only=True):
    """A recipe with its pictures.

    name      its name
    variant   its current variant
    variants  all of its variants
    version   the hash of the version in this answer
    job       the fields of a job; its pictures are data URLs
    settings  entries of the WebUI's infotext that a job has no field for
    infotext  the infotext that the WebUI can paste
    result    the picture that was made, as a data URL; empty for none
    missing   the hashes of pictures that the recipe does not hold
    """

    name: str
    variant: str
    variants: list[str]
    version: str
    job: dict[str, Any]
    settings: dict[str, str]
    infotext: str
    result: str
    missing: list[str]


class RecipePair(Answer, frozen=True, kw_only=True):
    """Two pictures at the same place.

    place    `result`, or a JSON path in the job
    image    old, new and absolute difference side by side, as a data URL
    largest  the largest difference of a value of 0..255
    """

    place: str
    image: str
    largest: int


class RecipeDiff(Answer, frozen=True, kw_only=True):
    """What differs between two versions.

    text      a unified diff of the files in YAML, empty if they are the same
    pictures  the pictures side by side
    """

    text: str
    pictures: list[RecipePair]


class RecipeAdded(Answer, frozen=True, kw_only=True):
    """A recipe that was added.

    name   its name, with a number behind it if the name was taken
    notes  sentences on what is missing in it
    """

    name: str
    notes: list[str]


class RecipeDeleted(Answer, frozen=True, kw_only=True):
    """A recipe that was deleted with its history.

    name      its name
    versions  how many versions its current variant had
    """

    name: str
    versions: int


class RecipeSaved(Answer, frozen=True, kw_only=True):
    """A recipe that was saved from something else.

    name     its name
    version  the new version
    notes    sentences on what is missing in it
    """

    name: str
    version: RecipeVersion
    notes: list[str]
