"""The model names in a request."""

from __future__ import annotations

from collections.abc import Iterator

from .spec import ControlRequest


def used_models(request: ControlRequest) -> Iterator[tuple[str, str]]:
    """Yield the JSON path and the name of each model that a request uses.

    These are its checkpoint, if it names one, the files of its enabled units, and the model of its blend.

    >>> from .spec import ControlUnit
    >>> list(used_models(ControlRequest(units=(ControlUnit(model="edges"),))))
    [('$.units[0].model', 'edges')]
    """
    checkpoint = getattr(request, "model", None)
    if checkpoint is not None:
        yield "$.model", checkpoint
    for index, unit in request.enabled_units:
        if unit.model:
            yield f"$.units[{index}].model", unit.model
    if request.blend is not None and request.blend.model:
        yield "$.blend.model", request.blend.model
