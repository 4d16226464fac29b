"""`ctrlgen train`: trains on pictures of one's own, or the bundled tiny model again."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from msgspec.structs import replace

from lib_ctrlgen.errors import RequestError, StoppedError
from lib_ctrlgen.files import expanded
from lib_ctrlgen.request.field_docs import field_docs
from lib_ctrlgen.request.field_types import alternatives
from lib_ctrlgen.request.training import (
    DEFAULTS,
    KINDS,
    OWN_FIELDS,
    TrainingKind,
    TrainingSpec,
    training_spec,
)
from lib_ctrlgen.request.training_state import TrainingState, ask_to_stop

from .common import (
    Parser,
    add_model_folders,
    add_threads,
    add_tokenizer,
    bar,
    folders_of,
    require_folder,
    weight_roots,
)
from .train_check import print_check

if TYPE_CHECKING:
    from lib_ctrlgen.headless.engine import Engine
    from lib_ctrlgen.train.prepare import Prepared

STOPPED = 130
PIPELINE = "model_index.json"  # of a diffusers folder
TITLES: dict[TrainingKind, str] = {
    "ip-adapter": "adapt an IP-Adapter to one product",
    "lora": "train a LoRA: a style, or a subject",
    "dreambooth": "train a LoRA for one subject, named by a rare word, with prior preservation",
    "textual-inversion": "train an embedding: a new word for a subject or a style",
}
EPILOG = """\
Ctrl-C, or a file named `stop` in the run's folder (OUT.training), ends the training after the current step
with a checkpoint; the same command goes on from there, also after a crash. See docs/training.md.
"""


def add_train(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command and its methods to the parser."""
    train = commands.add_parser(
        "train", help="train a LoRA, an embedding, an IP-Adapter on your own pictures"
    )
    methods = train.add_subparsers(title="methods", metavar="METHOD", required=True, parser_class=Parser)
    for kind in KINDS:
        method = methods.add_parser(
            kind, help=TITLES[kind], epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        _add_fields(method, kind)
        _add_options(method)
        method.set_defaults(command=train_command, kind=kind)
    tiny = methods.add_parser("tiny", help="train the bundled tiny model again", add_help=False)
    tiny.set_defaults(command=tiny_training_command)


def _add_fields(parser: Parser, kind: TrainingKind) -> None:
    """Add an option for each field of the spec; one not given leaves the value of --spec, or the default."""
    texts, hints = field_docs(TrainingSpec), get_type_hints(TrainingSpec, include_extras=True)
    group = parser.add_argument_group("training")
    for name in TrainingSpec.__struct_fields__:
        if name != "kind" and kind in OWN_FIELDS.get(name, KINDS):
            text = f"{texts[name]}{_default(name, kind)}".replace("%", "%%")
            _add_field(group, name, hints[name], text)


def _add_field(group: argparse._ArgumentGroup, name: str, hint: Any, text: str) -> None:
    part = next(alternatives(hint))
    flag = f"--{name.replace('_', '-')}"
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text, "dest": name}
    if part is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    elif get_origin(part) is Literal:
        group.add_argument(flag, choices=get_args(part), **options)
    elif get_origin(part) is tuple:
        group.add_argument(flag, nargs="+", metavar="TEXT", **options)
    else:
        metavar = {int: "N", float: "X"}.get(part, "TEXT")
        group.add_argument(flag, type=part, metavar=metavar, **options)


def _default(name: str, kind: TrainingKind) -> str:
    info = TrainingSpec.__struct_defaults__
    fields = TrainingSpec.__struct_fields__
    place = fields.index(name) - (len(fields) - len(info))
    value = DEFAULTS[kind].get(name, info[place] if place >= 0 else None)
    return "" if value in (None, "", ()) else f" (default: {value})"


def _add_options(parser: Parser) -> None:
    parser.add_argument(
        "--spec", type=expanded, metavar="FILE", help="a YAML or JSON file with these options"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the checks and the cost, and stop")
    parser.add_argument(
        "--json", action="store_true", help="with --dry-run: print one line of JSON, also for an error"
    )
    parser.add_argument(
        "--copy-to", type=expanded, metavar="FOLDER", help="also put the finished file into this folder"
    )
    parser.add_argument("--restart", action="store_true", help="begin anew where a checkpoint is")
    add_model_folders(parser)
    add_tokenizer(parser)
    add_threads(parser)


def spec_of(options: argparse.Namespace) -> TrainingSpec:
    """The spec from --spec and the options. Raises RequestError."""
    payload: dict[str, Any] = {}
    if options.spec is not None:
        from lib_ctrlgen.headless.job_text import read_mapping

        payload = read_mapping(options.spec)
        if payload.setdefault("kind", options.kind) != options.kind:
            raise RequestError("$.kind", f"{options.spec} trains {payload['kind']}, not {options.kind}")
    given = {name: vars(options)[name] for name in TrainingSpec.__struct_fields__ if name in vars(options)}
    for name in ("base", "pictures", "out"):
        if name not in {**payload, **given}:
            raise RequestError(f"--{name}", "is required")
    return training_spec({**payload, **given, "kind": options.kind})


def train_command(options: argparse.Namespace) -> int:
    """`ctrlgen train METHOD`. Returns the exit code: 0, or STOPPED."""
    if options.json:
        if not options.dry_run:
            raise RequestError("--json", "belongs to --dry-run; a training writes its state.json")
        return print_check(lambda: _check(options))
    if options.dry_run:
        announce(_check(options))
        return 0
    spec, roots = with_paths(spec_of(options))
    from lib_ctrlgen.train.dataset.checks import read_pictures
    from lib_ctrlgen.train.run import folder_of, train

    read_pictures(spec)  # before networks are loaded
    engine = training_engine(options, spec, roots)
    again, copy = options.restart, options.copy_to
    with bar(Path(spec.out).stem) as report, _stopping(folder_of(spec)):
        try:
            shown = partial(_show, report=report)
            trained = train(spec, engine, shown, announce, restart=again, copy_to=copy)
        except StoppedError as error:
            print(f"ctrlgen: {error}", file=sys.stderr)
            return STOPPED
    _print_warnings(trained.warnings)
    print(f"step {trained.step} of {spec.steps} exported")
    print(trained.out)
    print(trained.report)
    return 0


def _check(options: argparse.Namespace) -> Prepared:
    """Check and estimate in a folder that is removed afterwards. Raises RequestError."""
    from tempfile import TemporaryDirectory

    from lib_ctrlgen.train.dataset.checks import read_pictures
    from lib_ctrlgen.train.prepare import prepare

    spec, roots = with_paths(spec_of(options))
    read_pictures(spec)  # before networks are loaded
    with TemporaryDirectory(prefix="ctrlgen-train-") as folder:
        return prepare(spec, training_engine(options, spec, roots), Path(folder))


def announce(prepared: Prepared) -> None:
    """Say what is trained and what it costs."""
    pictures = prepared.pictures
    print(prepared.method.about())
    print(f"{len(pictures.training)} pictures to learn from, {len(pictures.held_out)} held out")
    print(prepared.cost)
    _print_warnings(prepared.warnings)
    sys.stdout.flush()


def _print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print("ctrlgen: warning:", warning, file=sys.stderr)


def _show(state: TrainingState, report: Any) -> None:
    if state.status == "training":
        report(state.step, state.steps)


@contextmanager
def _stopping(folder: Path) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM ask the training to stop; a second one ends it at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        if not folder.is_dir():  # nothing has begun
            raise KeyboardInterrupt
        ask_to_stop(folder)
        print("\nctrlgen: stopping after this step; press Ctrl-C again to stop at once", file=sys.stderr)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def with_paths(spec: TrainingSpec) -> tuple[TrainingSpec, tuple[Path, ...]]:
    """The spec with absolute paths of models that it names by path, and the folders that they are in."""
    given = {name: expanded(getattr(spec, name)) for name in ("base", "adapter") if getattr(spec, name)}
    models = {name: path for name, path in given.items() if path.is_file() or (path / PIPELINE).is_file()}
    found = {name: path.resolve() for name, path in models.items()}
    named = {name: str(path) for name, path in found.items()}
    return replace(spec, **named), tuple(path.parent for path in found.values())


def training_engine(options: argparse.Namespace, spec: TrainingSpec, roots: Sequence[Path] = ()) -> Engine:
    """The engine that a training loads its networks and makes its previews with."""
    folders = folders_of(options, roots)
    if options.tokenizer is not None:
        require_folder(options.tokenizer, "the tokenizer folder")
    import torch

    from lib_ctrlgen.headless.checkpoints.load import Place
    from lib_ctrlgen.headless.engine import Engine
    from lib_ctrlgen.models.bundled import bundled_tokenizer
    from lib_ctrlgen.train.precision import dtype_of

    if options.threads:
        torch.set_num_threads(options.threads)
    best = Place.best(options.tokenizer or bundled_tokenizer())
    place = Place(device=best.device, dtype=dtype_of(spec.precision, best.device), tokenizer=best.tokenizer)
    threads = torch.get_num_threads()  # not measured: a training computes alike in all its processes
    return Engine(folders, place=place, threads=threads, weights=weight_roots(options.models))


def tiny_training_command(options: argparse.Namespace) -> None:
    """`ctrlgen train tiny`: passes its arguments on to `lib_ctrlgen.train.tiny`."""
    from lib_ctrlgen.train.tiny.__main__ import main as train

    train(options.rest)
