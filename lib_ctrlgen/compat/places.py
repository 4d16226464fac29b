"""JSON paths of units that were converted from those of sd-webui-controlnet.

Errors and warnings name the paths in the client's request.

>>> UnitPlaces(own=2).renamed("$.units[3].preprocessor")
'$.alwayson_scripts.ControlNet.args[1].module'
>>> UnitPlaces(own=2).renamed("$.units[1].preprocessor")
'$.units[1].preprocessor'
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.notices import Notice, Notices

ARGUMENTS = "$.alwayson_scripts.ControlNet.args"
UNIT = re.compile(r"\$\.units\[(?P<index>\d+)\](?:\.(?P<field>\w+))?(?P<rest>.*)", re.DOTALL)
# The fields of CtrlGen's units that have another name in sd-webui-controlnet's; others keep theirs.
FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "preprocessor": "module",
        "params": "module",
        "control": "model",
        "images": "image",
        "image_from": "image",
        "references": "image",
        "mask": "effective_region_mask",
        "masks": "effective_region_mask",
        "layer_weights": "advanced_weighting",
        "hires": "hr_option",
        "inpaint_crop": "inpaint_crop_input_image",
    }
)


@dataclass(frozen=True)
class UnitPlaces:
    """Which units of a request were converted: all after the first `own`."""

    own: int = sys.maxsize

    def renamed(self, path: str) -> str:
        """The path in the client's request of a place in the request that was made of it."""
        found = UNIT.fullmatch(path)
        if found is None or int(found["index"]) < self.own:
            return path
        place = f"{ARGUMENTS}[{int(found['index']) - self.own}]"
        name = found["field"]
        return f"{place}.{FIELDS.get(name, name)}" if name else f"{place}{found['rest']}"

    @contextmanager
    def in_errors(self) -> Iterator[None]:
        """Rename the path of a RequestError."""
        try:
            yield
        except RequestError as error:
            path = self.renamed(error.path)
            if path == error.path:
                raise
            raise RequestError(path, error.message) from error


class PlacedNotices(Notices):
    """Warnings whose paths are renamed as `UnitPlaces` says."""

    def __init__(self, places: UnitPlaces) -> None:
        super().__init__()
        self._places = places

    def add(self, path: str, message: str, picture: int | None = None) -> None:
        """Add a warning at a JSON path, for one picture of the batch or for all."""
        super().add(self._places.renamed(path), message, picture)

    def extend(self, notices: Iterable[Notice]) -> None:
        """Add several warnings."""
        super().extend(replace(each, path=self._places.renamed(each.path)) for each in notices)


@contextmanager
def at_unit(number: int) -> Iterator[None]:
    """Give an error about a field of CtrlGen's unit the path of the client's unit of this number."""
    try:
        yield
    except RequestError as error:
        if error.path.startswith("$"):
            raise
        name, dot, rest = error.path.partition(".")
        path = f"{ARGUMENTS}[{number}].{FIELDS.get(name, name)}".rstrip(".")
        message = f"{rest}: {error.message}" if dot else error.message
        raise RequestError(path, message) from error
