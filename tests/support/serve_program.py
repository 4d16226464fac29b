"""A server with fast fake engines as a program: FOLDER PORT WORKERS, and `page` for the page, too."""

import sys
from pathlib import Path

from lib_ctrlgen.serve.local_worker import LocalWorker
from lib_ctrlgen.serve.program import ServerOptions, serve
from tests.support.serve_fakes import BUILD
from tests.support.serve_jobs import FakeModels


def main(folder: Path, port: int, workers: int, *, page: bool) -> None:
    values = {"log": str(folder / "log.txt"), "seconds": 0.005}
    found = [LocalWorker(f"worker {number}", values, BUILD) for number in range(workers)]
    options = ServerOptions(
        folder=folder / "data",
        users=folder / "users.yaml",
        port=port,
        patience=2.0,
        page=page,
    )
    serve(options, found, FakeModels())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), page="page" in sys.argv)
