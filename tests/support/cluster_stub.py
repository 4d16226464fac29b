"""A cluster worker without an engine. It imports little, because each worker process imports it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_ctrlgen.cluster.actor import CellOutcomes, CellRequest
from lib_ctrlgen.errors import CtrlGenError, HostError


@dataclass(frozen=True)
class Stub:
    """Says "made" of a cell. Those in `deadly` take the worker with them; `missing` keeps it from opening."""

    deadly: tuple[str, ...] = ()
    restartable: bool = True
    missing: str = ""

    @property
    def options(self) -> Mapping[str, Any]:
        return {"num_cpus": 1}

    def build(self) -> "Stub":
        if self.missing:
            raise HostError(self.missing)
        return self

    def make(self, cells: Sequence[CellRequest]) -> CellOutcomes:
        if any(key in self.deadly for key, _ in cells):
            os._exit(1)
        return [(key, CtrlGenError("made")) for key, _ in cells]

    def stop(self) -> None:
        """Nothing to put away."""
