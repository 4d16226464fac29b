"""Run every program in this folder: `python benchmarks [--quick | --smoke] [NAME ...]`.

Ends with a summary; exits with 1 when a program failed or missed a limit. Programs run one after the
other, so that none disturbs another's timing. With `--smoke`, which judges no time, one runs per core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def programs(names: list[str]) -> list[Path]:
    """The programs called `names`, or all; SystemExit for a name that is none."""
    found = {path.stem: path for path in sorted(FOLDER.glob("[!_]*.py"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise SystemExit(f"no benchmark {', '.join(unknown)}; there are {', '.join(found)}")
    return [found[name] for name in names or found]


def run(program: Path, flags: Sequence[str]) -> tuple[int, str]:
    """Run one program and pass on what it prints; returns its exit code and its last line."""
    command = [sys.executable, str(program), "--json", *flags]
    threads = {"OMP_NUM_THREADS": "1"} if "--smoke" in flags else {}  # as many programs as cores
    last = ""
    environment = {**os.environ, **threads}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line
    return process.returncode, last


def report(program: Path, flags: Sequence[str]) -> tuple[str, str]:
    """Run one program; returns its verdict and its line of the summary."""
    print(f"== {program.stem}", flush=True)
    start = time.perf_counter()
    said = verdict(*run(program, flags))
    return said, f"  {program.stem:<24} {time.perf_counter() - start:7.1f} s  {said}"


def verdict(code: int, last_line: str) -> str:
    """What the summary says of a program: `ok`, `missed a limit`, or `failed` without a whole result."""
    try:
        result = json.loads(last_line)
        whole = isinstance(result["figures"], dict) and isinstance(result["limits"], dict)
        if not whole or (code and result["ok"]):
            return "failed"
        return "missed a limit" if code else "ok"
    except (ValueError, TypeError, KeyError):
        return "failed"


def main() -> int:
    """Run what was asked for and print the summary."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these programs")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="under a minute each")
    size.add_argument("--smoke", action="store_true", help="a few seconds each: whether it starts and ends")
    chosen = parser.parse_args()
    flags = [f"--{name}" for name in ("quick", "smoke") if getattr(chosen, name)]
    with ThreadPoolExecutor((os.cpu_count() or 1) if chosen.smoke else 1) as together:
        reports = list(together.map(partial(report, flags=flags), programs(chosen.names)))
    print("\n".join(["== summary", *(line for _, line in reports)]))
    return 0 if all(said == "ok" for said, _ in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
