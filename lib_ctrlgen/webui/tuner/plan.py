"""Plans and checks a grid or a search of the WebUI's tuner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import shared

from lib_ctrlgen.request.spec import ControlRequest
from lib_ctrlgen.tuner.cells import Grid, TuneSpec, grid_of, key_of
from lib_ctrlgen.tuner.progress_file import ProgressFile
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
        from lib_ctrlgen.tuner.coarse import grid_tuner
        from lib_ctrlgen.tuner.search.auto_tuner import auto_tuner  # imports torch, so only when needed

        from .host import TunedRequest

        if self.grid is None:
            return auto_tuner(host, self.payload, self.tune, TunedRequest, self.folder)
        return grid_tuner(host, self.grid, self.folder, TunedRequest, self.tune.coarse)


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


def progress_file(folder: Path) -> ProgressFile:
    """Return the progress file of a tuner folder; the start time of this WebUI identifies the server."""
    return ProgressFile(folder, server=float(shared.state.server_start or 0.0))
