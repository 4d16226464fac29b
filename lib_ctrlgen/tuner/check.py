"""Checks the models, preprocessors and parameters of all cells before the first picture is generated."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib_ctrlgen.controls.checked import check_unit
from lib_ctrlgen.errors import at_path
from lib_ctrlgen.images.control_pictures import decode_control_picture
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit


@dataclass
class Checker:
    """Checks the units of many requests; units and pictures that were checked before are skipped.

    Without a store the models are not checked, because they are on another machine.
    """

    store: ModelStore | None
    pictures: set[str] = field(default_factory=set)
    units: list[ControlUnit] = field(default_factory=list)

    def check(self, request: ControlRequest) -> None:
        """Raise RequestError at a unit that no generation would accept."""
        for index, unit in request.enabled_units:
            if unit not in self.units:
                path = f"$.units[{index}]"
                check_unit(unit, path, self.store)
                self.check_pictures(unit, path)
                self.units.append(unit)
        if request.blend is not None and request.blend.model and self.store is not None:
            with at_path("$.blend.model"):
                self.store.resolve(request.blend.model)

    def check_pictures(self, unit: ControlUnit, path: str) -> None:
        """Raise RequestError at a picture that cannot be read."""
        named = {"image": unit.image, "mask": unit.mask}
        for name, many in (("images", unit.images), ("masks", unit.masks)):
            named |= {f"{name}[{number}]": text for number, text in enumerate(many)}
        for name, text in named.items():
            if text and text not in self.pictures:
                decode_control_picture(text, f"{path}.{name}")
                self.pictures.add(text)
