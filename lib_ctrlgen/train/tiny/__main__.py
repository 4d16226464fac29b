"""`ctrlgen train tiny --out DIR [--workers 2] [--start FOLDER] [--seed 0] [--quick]`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from .stages import STAGES, TOKENIZER, Run, train


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the bundled model from scratch; stages that are finished are loaded instead."""
    parser = argparse.ArgumentParser(prog="ctrlgen train tiny", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, sheets and export")
    parser.add_argument("--stage", choices=STAGES, default=STAGES[-1], help="the last stage to run")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread that share the work")
    parser.add_argument("--start", type=Path, help="an export whose weights the last stage goes on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few steps of every stage")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run = Run(
        out=options.out,
        seed=options.seed,
        quick=options.quick,
        start=options.start,
        tokenizer=options.tokenizer,
    )
    train(run, options.stage, options.workers)


if __name__ == "__main__":
    main()
