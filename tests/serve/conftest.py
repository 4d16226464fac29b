"""A service with fast fake engines in real worker processes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.local_worker import LocalWorker
from lib_ctrlgen.serve.service import Service
from tests.support.serve_fakes import BUILD

LIMITS = {"queue": 3, "side": 128, "pictures": 6, "upload": 200_000}
Make = Callable[..., Service]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes services, which end with the test."""
    made: list[Service] = []

    def service(workers: int = 1, **limits: int) -> Service:
        options = {"log": str(tmp_path / "log.txt")}
        found = [LocalWorker(f"worker {number}", options, BUILD, patience=1.0) for number in range(workers)]
        made.append(Service(tmp_path / "data", found, Limits(**limits)))
        return made[-1]

    yield service
    for each in made:
        if not each.stopping.is_set():
            each.stop(0)


@pytest.fixture
def team(make: Make, tmp_path: Path) -> Any:
    """A server with one worker."""
    from tests.support.serve_team import Team

    service = make(1, **LIMITS)
    service.start()
    return Team(service, tmp_path)


@pytest.fixture
def idle(make: Make, tmp_path: Path) -> Any:
    """A server whose workers were not started: jobs wait."""
    from tests.support.serve_team import Team

    return Team(make(0, **LIMITS), tmp_path)
