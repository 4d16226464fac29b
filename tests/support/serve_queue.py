"""A queue with fast fake engines as a program: FOLDER WORKERS JOBS. It ends when no job waits or runs."""

import sys
import time
from pathlib import Path

from lib_ctrlgen.serve.checks import checked_job
from lib_ctrlgen.serve.limits import Limits
from lib_ctrlgen.serve.local_worker import LocalWorker
from lib_ctrlgen.serve.service import Service
from lib_ctrlgen.serve.users import User
from tests.support.serve_fakes import BUILD

USERS = ("anna", "bert", "cora", "dora")


def main(folder: Path, workers: int, jobs: int) -> None:
    values = {"log": str(folder / "log.txt"), "seconds": 0.004}
    found = [LocalWorker(f"worker {number}", values, BUILD) for number in range(workers)]
    limits = Limits(queue=jobs)
    service = Service(folder / "data", found, limits)
    for number in range(len(service.store.listed(most=-1)), jobs):
        content = {"prompt": f"p{number}", "steps": 5, "seed": number}
        user = User(name=USERS[number % len(USERS)], role="user")
        service.submit(user, checked_job(content, limits, lambda _request: None))
    service.start()
    while any(service.store.listed(state=state, most=1) for state in ("queued", "running")):
        time.sleep(0.01)
    service.stop(5)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
