"""Reads the tuner's arguments, from the page or REST, and plans and checks its grid or search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import RequestError, below
from lib_ctrlgen.request.spec import ControlRequest, parse_request
from lib_ctrlgen.tuner.cells import NAMES, Grid, TuneSpec, grid_of, key_of
from lib_ctrlgen.tuner.search.space import space_of
from lib_ctrlgen.webui.settings import model_store


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A grid or a search and its folder. For a search `cells` and `pictures` are the maximum."""

    tune: TuneSpec
    payload: Mapping[str, Any]
    folder: Path
    grid: Grid | None
    cells: int
    pictures: int

    def tuner(self, host: Any) -> Any:
        """Return the tuner that runs it. Raises RequestError."""
        from lib_ctrlgen.tuner.run import Tuner
        from lib_ctrlgen.tuner.search.auto_tuner import auto_tuner  # imports torch, so only when needed

        from .host import TunedRequest

        if self.grid is None:
            return auto_tuner(host, self.payload, self.tune, TunedRequest, self.folder)
        return Tuner(host, self.grid, self.folder)


def plan_of(p: Any, request: ControlRequest, tune: TuneSpec, name: str) -> Plan:
    """Plan the grid or search over a generation `p` and its control request. Raises RequestError."""
    from lib_ctrlgen.tuner.axis_errors import check_grid, check_space
    from lib_ctrlgen.tuner.open_seed import with_kept_seeds
    from lib_ctrlgen.tuner.scoring.clip_likeness import chosen_encoder
    from lib_ctrlgen.tuner.search.auto_tuner import require_optuna

    from .host import TunedRequest, WebUIHost, folder_of, payload_of

    payload = payload_of(p, request)
    folder = folder_of(p, name, key_of(payload))
    payload = with_kept_seeds(payload, folder)
    host = WebUIHost(p=p, place=0)
    chosen_encoder(model_store(), tune.encoder)
    if tune.auto is not None:
        check_space(space_of(payload, tune.auto, TunedRequest), lambda cell: host.batch(cell, tune.seeds))
        require_optuna()
        count, pictures = max(1, tune.auto.budget // tune.seeds), tune.auto.budget
        return Plan(tune=tune, payload=payload, folder=folder, grid=None, cells=count, pictures=pictures)
    grid = grid_of(payload, tune, TunedRequest)
    check_grid(grid, lambda cell: host.batch(cell, tune.seeds))
    return Plan(
        tune=tune,
        payload=payload,
        folder=folder,
        grid=grid,
        cells=len(grid.cells),
        pictures=grid.pictures,
    )


def read_tune(args: Sequence[Any]) -> tuple[TuneSpec, str]:
    """Read the axes and the folder's name from the script's arguments. Raises RequestError at `$.tune`."""
    first, *values = args or ("",)
    fields = _from_json(first) if first not in (None, "") else _from_panel(values)
    name = str(fields.pop("name", "") or "")
    fields.pop("job", None)  # set by the job route, not by a user
    with below("$.tune"):
        return parse_request(fields, TuneSpec), name


def _from_json(first: Any) -> dict[str, Any]:
    try:
        fields = json.loads(first) if isinstance(first, str) else first
    except ValueError as error:
        raise RequestError("$.tune", f"not JSON: {error}") from error
    if not isinstance(fields, Mapping):
        raise RequestError(
            "$.tune", 'expected an object such as {"x": {"path": "Steps", "values": "10, 20"}}'
        )
    return dict(fields)


def _from_panel(fields: Sequence[Any]) -> dict[str, Any]:
    axes: dict[str, Any] = {}
    pairs, rest = [*fields[: 2 * len(NAMES)]], fields[2 * len(NAMES) :]
    for name, place, values in zip(NAMES, pairs[::2], pairs[1::2], strict=False):
        if str(place or "").strip():
            axes[name] = {"path": str(place).strip(), "values": str(values or "").strip()}
    seeds, folder, force, budget = [*rest, "", "", "", ""][:4]
    whole = {"seeds": int(seeds or 1), "name": str(folder or "").strip(), "force": bool(force)}
    if not budget:
        return axes | whole
    return whole | {"auto": {"budget": int(budget), "ranges": list(axes.values())}}
