"""What is wrong with a unit's choices before it is generated with, and the change that mends it.

>>> file = file_of("canny_sd15")
>>> advice(UnitChoices(enabled=False, picture="photo", model=file.name, file=file, preprocessor="canny"))
(Advice(text='This unit has a picture but is off.', action='switch_on', value=True),)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from PIL import Image, ImageChops

from lib_ctrlgen.images.map_look import MapLook, map_look
from lib_ctrlgen.request import catalogue

from .control_files import MAPPED, ControlFile, best_file, best_preprocessor, file_of, kind_of_unit
from .kinds import KINDS, OTHER, kind_of_preprocessor
from .preprocessor_fields import stage_names
from .unit_fields import NO_MODEL

__all__ = ["Advice", "UnitChoices", "advice", "file_of", "look_of"]

Action = Literal["", "switch_on", "preprocessor", "model"]
Look = Literal["photo", "map", "flat"] | MapLook
UNION = "controlnet_union"
DARK = 24  # the brightness below which a pixel is black
GREY = 10  # largest difference of two channels in a grey pixel (after JPEG)
MOST, ALL = 0.6, 0.98  # shares of a picture's pixels
# The kinds whose control maps look like this.
KINDS_OF_LOOK: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "skeleton": ("pose",),
        "lines": ("edges", "lines", "scribble", "soft_edges", "straight_lines"),
        "normals": ("normals",),
    }
)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A sentence about a unit, and what its button does: nothing, or set one field to a value."""

    text: str
    action: Action = ""
    value: Any = None

    @property
    def label(self) -> str:
        """What the button says."""
        return "Switch on" if self.action == "switch_on" else f"Use {self.value}"


@dataclass(frozen=True, kw_only=True)
class UnitChoices:
    """What a unit's fields hold, as far as advice depends on it.

    picture     what `look_of` says of it, `pose` for an edited pose, or empty for none
    file        the file of `model`; None if there is none of this name
    base        the family of the checkpoint, empty if it is not known
    files       every control file
    is_ready    whether a preprocessor's weights are here
    """

    enabled: bool
    picture: str
    model: str
    preprocessor: str
    file: ControlFile | None
    base: str = ""
    files: Sequence[ControlFile] = ()
    is_ready: Callable[[str], bool] = lambda _: True
    weight_type: str = "linear"


def advice(unit: UnitChoices) -> tuple[Advice, ...]:
    """What is to be said about a unit, the most important first; nothing for an unused one."""
    if not unit.enabled and not unit.picture:
        return ()
    found: list[Advice] = []
    if not unit.model or unit.model == NO_MODEL:
        return (
            Advice(text="No model is chosen: choose above what the picture is for, or a model under More."),
        )
    if not unit.enabled:
        found.append(Advice(text="This unit has a picture but is off.", action="switch_on", value=True))
    if unit.file is None:
        return (*found, _missing_model(unit))
    found += [each for each in (_other_base(unit, unit.file), _no_picture(unit, unit.file)) if each]
    if unit.file.control in MAPPED and unit.picture != "pose":
        found += [each for each in (_preprocessor(unit, unit.file),) if each]
    return tuple(found)


def _missing_model(unit: UnitChoices) -> Advice:
    text = f"The model {unit.model!r} is not in the model folders."
    return _with_file(unit, text, file_of(unit.model).kinds)


def _other_base(unit: UnitChoices, file: ControlFile) -> Advice | None:
    if file.fits(unit.base):
        return None
    text = f"{file.name} is for {file.base}, but the checkpoint is {unit.base}."
    return _with_file(unit, text, (unit_kind(unit) or file.kinds[0],))


def _with_file(unit: UnitChoices, text: str, kinds: Sequence[str]) -> Advice:
    """Advice to use another file of the first of these kinds; without a button if there is none."""
    kind = next((each for each in kinds if each != OTHER), "")
    other = best_file(kind, unit.files, unit.base) if kind else None
    if other is None:
        return Advice(text=f"{text} Choose another model under More.")
    return Advice(text=text, action="model", value=other.name)


def _no_picture(unit: UnitChoices, file: ControlFile) -> Advice | None:
    needs = next((each.needs_image for each in catalogue.CONTROLS if each.name == file.control), False)
    if unit.picture or not needs:
        return None
    return Advice(text="This unit is on but has no picture: drop one, or press Use the last result.")


def _preprocessor(unit: UnitChoices, file: ControlFile) -> Advice | None:
    """Advice on the preprocessor: none for a photo, one for a map or for other maps, or missing weights."""
    names = stage_names(unit.preprocessor)
    is_none = set(names) <= {"none"}
    if is_none and file.control == UNION:
        return _photo_for_union(unit, file)
    kind = unit_kind(unit) or (file.kinds[0] if len(file.kinds) == 1 else OTHER)
    if kind == OTHER or not KINDS[kind].preprocessors:
        return None
    return _photo(unit, file, kind) if is_none else _detector(unit, file, kind, names)


def _photo(unit: UnitChoices, file: ControlFile, kind: str) -> Advice | None:
    """Advice on a photo that no preprocessor reads."""
    if unit.picture != "photo" and (unit.picture != "flat" or kind == "segmentation"):
        return None
    text = f"The model reads a control map ({KINDS[kind].label}), and the picture looks like none."
    best = best_preprocessor(kind, file, unit.is_ready)
    return Advice(text=text, action="preprocessor", value=best)


def _detector(unit: UnitChoices, file: ControlFile, kind: str, names: Sequence[str]) -> Advice | None:
    """Advice on preprocessors that get a map, make maps of another kind, or lack their weights."""
    made = [each for each in map(kind_of_preprocessor, names) if each]
    if made and kind in KINDS_OF_LOOK.get(unit.picture, ()):
        return _already_map(file)
    best = best_preprocessor(kind, file, unit.is_ready)
    fits = kind in made or not made or set(names) & set(file.preprocessors)
    if not fits:
        wanted, other = KINDS[kind].label, KINDS[made[-1]].label
        text = f"The preprocessor {unit.preprocessor} makes {other}, but the model reads {wanted}."
        return Advice(text=text, action="preprocessor", value=best)
    missing = [each for each in names if not unit.is_ready(each)]
    if missing and unit.is_ready(best):
        text = f"The weights of {missing[0]} are missing: download them below, or use another."
        return Advice(text=text, action="preprocessor", value=best)
    return None


def _already_map(file: ControlFile) -> Advice:
    """Advice to use no preprocessor; a Union then needs the type of the map, too."""
    if file.control == UNION:
        text = (
            "This picture looks like a control map already: use no preprocessor, and choose the type of the "
            "map under More."
        )
        return Advice(text=text)
    text = "This picture looks like a control map already: use no preprocessor."
    return Advice(text=text, action="preprocessor", value="none")


def _photo_for_union(unit: UnitChoices, file: ControlFile) -> Advice | None:
    """Advice to choose one of a Union's kinds for a photo; the button takes the first one that is ready."""
    if unit.picture != "photo":
        return None
    labels = ", ".join(KINDS[kind].label for kind in file.kinds)
    text = f"The model reads a control map, and the picture looks like none: choose above one of {labels}."
    first = next(iter(_ready(unit, file)), None)
    return Advice(text=text, action="preprocessor" if first else "", value=first)


def _ready(unit: UnitChoices, file: ControlFile) -> list[str]:
    """The best preprocessor for each kind of a file, without those whose weights are missing."""
    found = [best_preprocessor(kind, file, unit.is_ready) for kind in file.kinds]
    return [each for each in found if unit.is_ready(each)]


def unit_kind(unit: UnitChoices) -> str:
    """The kind of a unit, empty if it has none."""
    chosen = stage_names(unit.preprocessor)[-1:] or ("none",)
    return kind_of_unit(unit.file, chosen[0], unit.weight_type) if unit.file else ""


def look_of(picture: Image.Image) -> Look:
    """Whether a picture seems to be a control map. A small copy without smoothing is enough.

    Poses, lines and normals that `map_look` is sure of are named. Other grey or dark pictures may be maps:
    `map`. A picture of few colours may be a map of segments: `flat`. All others are photos.
    """
    rgb = picture.convert("RGB")
    if sure := map_look(rgb):
        return sure
    pixels = rgb.width * rgb.height
    red, green, blue = rgb.split()
    high = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    low = ImageChops.darker(ImageChops.darker(red, green), blue)
    grey = sum(ImageChops.subtract(high, low).histogram()[: GREY + 1])
    if grey >= ALL * pixels or sum(high.histogram()[:DARK]) >= MOST * pixels:
        return "map"
    return "photo" if rgb.getcolors(maxcolors=max(8, pixels // 32)) is None else "flat"
