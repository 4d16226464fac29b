"""A service whose workers are actors of the connected Ray cluster, with the fast fake engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.service import Service
from tests.support.serve_fakes import FakeRecipe


@contextmanager
def service_on_cluster(folder: Path, workers: int) -> Iterator[Service]:
    from lib_ctrlgen.cluster.job_actors import RayJobWorker

    recipe = FakeRecipe(str(folder / "log.txt"))
    found = [RayJobWorker(f"worker {number}", recipe) for number in range(workers)]
    service = Service(folder / "data", found, Limits())
    service.start()
    try:
        yield service
    finally:
        service.stop(0)
