"""A process in the place of `python -m lib_ctrlgen train`: quick steps, the same files, the same ends.

A training whose caption is `crash` dies without a word, one with `refuse` says why in its log, and one with
`slow` waits for a file `stop`.
"""

from __future__ import annotations

from pathlib import Path

PROGRAM = """
import json, os, shutil, sys, time
from pathlib import Path

words = sys.argv[1:]
spec = json.loads(Path(words[words.index("--spec") + 1]).read_text())
out = Path(spec["out"])
run = out.with_suffix(".training")
mode = spec.get("captions", "")
if "--dry-run" in words:
    if mode == "refuse":
        print(json.dumps({"type": "refused", "path": "$.batch", "message": "needs 9.0 GB"}))
        sys.exit(2)
    if mode == "crash":
        print("Killed", file=sys.stderr)
        sys.exit(1)
    count = len(list(Path(spec["pictures"]).glob("*.png")))
    cost = {"text": "about 1 GB", "memory": "main", "bytes": 1, "free": None, "seconds": 2.0, "times": {},
            "parameters": 3, "disk": 4, "disk_free": None}
    print(json.dumps({"about": "a LoRA", "training": count, "held_out": 0, "warnings": [], "cost": cost}))
    sys.exit()
if mode == "refuse":
    print("ctrlgen: error: $.batch: needs 9.0 GB", file=sys.stderr)
    sys.exit(2)
run.mkdir(exist_ok=True)
stop, kept = run / "stop", run / "checkpoint.pt"
stop.unlink(missing_ok=True)
step = int(kept.read_text()) if kept.exists() else 0

def write(status, **more):
    state = {"status": status, "kind": spec["kind"], "out": str(out), "process": os.getpid(), "step": step,
             "steps": spec.get("steps", 1000), "cost": "about 1 GB", **more}
    part = run / ".part"
    part.write_text(json.dumps(state))
    part.replace(run / "state.json")

while step < spec.get("steps", 1000):
    step += 1
    kept.write_text(str(step))
    write("training", loss=0.5)
    while mode == "slow" and not stop.exists():
        time.sleep(0.02)
    if stop.exists():
        write("stopped")
        sys.exit(130)
    if mode == "crash":
        os._exit(9)
out.write_bytes(b"weights")
target = Path(words[words.index("--copy-to") + 1])
target.mkdir(parents=True, exist_ok=True)
shutil.copy(out, target)
(run / "report.html").write_text("<html>")
write("finished")
"""


def write_program(folder: Path) -> Path:
    """A folder with a package `lib_ctrlgen` that is the program."""
    package = folder / "lib_ctrlgen"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(PROGRAM)
    return folder
