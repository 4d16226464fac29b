"""`ctrlgen product`: from pictures of one product to pictures of it in many environments, each judged."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.errors import RequestError, StoppedError
from lib_ctrlgen.files import expanded

from .common import Parser, add_model_folders, add_threads, add_tokenizer, engine_of
from .output import PARTLY_FAILED
from .product_app import add_app, add_recipe, app_command, recipes_of
from .projects import (
    absolute_model,
    bars,
    command_line,
    errors_at_options,
    model_folder,
    require_drawable,
    say,
)
from .train import training_engine

if TYPE_CHECKING:
    from lib_ctrlgen.headless.engine import Engine
    from lib_ctrlgen.projects.product.diagnosis.run import Diagnosis
    from lib_ctrlgen.projects.product.result import ProductResult
    from lib_ctrlgen.projects.product.run import ProductRun
    from lib_ctrlgen.projects.product.settings import ProductSettings
    from lib_ctrlgen.projects.product.setup import Setup
    from lib_ctrlgen.request.training import TrainingSpec

DIAGNOSE = "diagnose"
INTERRUPTED = 130
EPILOG = f"""\
examples:
  ctrlgen product ball --draw 12                    draws twelve views of a striped ball into a new folder
  ctrlgen product ball --out shots                  trains an adapter, and makes and judges pictures
  ctrlgen product mug --out shots --model my-sd15 --models ~/stable-diffusion-webui --subject "a mug" \\
      --environments places.txt
  ctrlgen product mug --out shots --adapter mug.safetensors     with an adapter that is there already
  ctrlgen product diagnose shots                    data, base model, encoder, weight: what to do first
  ctrlgen product shots --app                       all of this on a page, for this computer alone
  ctrlgen product mug --out shots --recipe mug      keeps each picture as a recipe, with its versions

DIR has pictures, or folders pictures, masks (white on the product) and others (pictures of other things). The
same command again makes only what is missing. Open report.html in the output folder.

exit code: 0 when every file was used and every picture made; {PARTLY_FAILED} when some were left out; 2 after
an error; 130 after Ctrl-C.
"""


def add_product(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "product",
        help="train on pictures of one product, show it in many environments, flag where it got lost",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="[diagnose] DIR",
        help="the product's folder, an output folder, or the folder of a trained IP-Adapter",
    )
    parser.add_argument(
        "--out", type=expanded, metavar="DIR", help="folder to write (ctrlgen-out/NAME OF DIR)"
    )
    parser.add_argument("--model", help="checkpoint, by name or path (ctrlgen-tiny)")
    _add_data(parser)
    _add_pictures(parser)
    add_recipe(parser)
    add_app(parser)
    parser.add_argument(
        "--draw", type=int, default=0, metavar="N", help="only draw N views of a ball into DIR (with --seed)"
    )
    add_model_folders(parser)
    add_tokenizer(parser)
    add_threads(parser)
    parser.set_defaults(command=product_command, map_cache=None)


def _add_data(parser: Parser) -> None:
    """The options for what is trained, and from what."""
    parser.add_argument("--subject", help='what the product is, in common words: "a mug"')
    parser.add_argument("--masks", type=expanded, metavar="DIR", help="masks with the pictures' file names")
    parser.add_argument(
        "--others", type=expanded, metavar="DIR", help="pictures of other things, which the adapter keeps"
    )
    parser.add_argument(
        "--adapter", type=expanded, metavar="FILE", help="an IP-Adapter of the product: nothing is trained"
    )
    parser.add_argument(
        "--train",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="an option of `ctrlgen train ip-adapter`, such as steps=600; may be given several times",
    )


def _add_pictures(parser: Parser) -> None:
    """The options for the pictures. Those that are not given are the usual ones, or the output folder's."""
    parser.add_argument(
        "--environments",
        type=expanded,
        metavar="FILE",
        help="one a line, or YAML with depth pictures and places",
    )
    numbers: tuple[tuple[str, type, str, str], ...] = (
        ("identity", str, "W", 'weight of the adapter, or a schedule such as "1>0.5 in 0.2..1" (1)'),
        ("placement", str, "W", "the same of the depth model; 0 lets the model choose the place (0.8)"),
        ("size", int, "N", "side of the pictures in pixels (the checkpoint's own)"),
        ("steps", int, "N", "of the sampler (20)"),
        ("cfg", float, "SCALE", "guidance scale (6; of the bundled model 4)"),
        ("seed", int, "N", "of all environments (0)"),
        ("count", int, "N", "pictures for each environment (1)"),
    )
    for name, kind, shown, text in numbers:
        parser.add_argument(f"--{name}", type=kind, metavar=shown, help=text)
    parser.add_argument("--sampler", help="by the WebUI's name (DPM++ 2M)")
    parser.add_argument("--negative", metavar="PROMPT", help="negative prompt")


def product_command(options: argparse.Namespace) -> int:
    """`ctrlgen product`. Returns the exit code: 0, PARTLY_FAILED, or INTERRUPTED."""
    diagnose = options.words[0] == DIAGNOSE and len(options.words) > 1
    if len(options.words) != 1 + diagnose:
        raise RequestError("", f"one folder is expected, got {' '.join(options.words)}")
    folder = expanded(options.words[-1])
    if options.draw:
        return draw_command(folder, options)
    if options.app:
        return app_command(lambda: run_of(folder, options, lambda *_: None), options)
    with bars() as progress:
        run = run_of(folder, options, progress)
        if diagnose:
            return diagnose_command(run)
        try:
            result = run()
        except (KeyboardInterrupt, StoppedError):
            print(f"ctrlgen: what is finished is in {run.out}; continue with: {run.command}", file=sys.stderr)
            return INTERRUPTED
    return report(result)


def draw_command(folder: Path, options: argparse.Namespace) -> int:
    """`ctrlgen product DIR --draw N`: prints the views that were drawn."""
    from lib_ctrlgen.projects.product.example import write_product

    require_drawable(options.draw, folder)
    for path in write_product(folder, options.draw, options.seed or 0):
        print(path)
    return 0


def run_of(
    folder: Path, options: argparse.Namespace, progress: Callable[[str, int, int], None]
) -> ProductRun:
    """The run of the options; for the output folder of a run, with that run's settings."""
    from lib_ctrlgen.projects.product.environments import environments_of
    from lib_ctrlgen.projects.product.run import ProductRun
    from lib_ctrlgen.projects.product.setup import adapter_setup, read_setup
    from lib_ctrlgen.projects.product.views import ProductFolders

    opened = read_setup(folder)
    known = opened or adapter_setup(folder)
    out = (options.out or (folder if opened else Path("ctrlgen-out") / folder.resolve().name)).absolute()
    last = opened or (read_setup(out) if options.app else None)  # what the page opens with
    settings = settings_of(options, last or known)
    adapter = options.adapter or (known.adapter if known else None)
    if adapter is not None and not adapter.is_file():
        raise RequestError(
            "--adapter", f"{adapter} {'is a folder' if adapter.is_dir() else 'does not exist'}"
        )
    roots = (*model_folder(settings.model), out / "adapter", *([adapter.resolve().parent] if adapter else []))
    listed = last.environments if last and options.environments is None else ()
    environments = listed or environments_of(options.environments, settings)
    return ProductRun(
        folders=known.folders if known else ProductFolders.of(folder, options.masks, options.others),
        out=out,
        settings=settings,
        environments=environments,
        engine=engine_of(options, roots),
        engine_for=lambda spec: _trainer(options, spec, roots),
        adapter=adapter,
        training=training_options(options.train),
        as_trained=options.app,
        recipes=recipes_of(options),
        tell=say,
        progress=progress,
        command=command_line(),
    )


def _trainer(options: argparse.Namespace, spec: TrainingSpec, roots: tuple[Path, ...]) -> Engine:
    return training_engine(options, spec, roots)


def settings_of(options: argparse.Namespace, known: Setup | None) -> ProductSettings:
    """The settings of the options, over those of an earlier run. Raises RequestError with the option."""
    from lib_ctrlgen.projects.product.settings import ProductSettings, as_inputs
    from lib_ctrlgen.request.spec import parse_request

    names = {"cfg_scale": "cfg", "negative_prompt": "negative"}
    given = {field: getattr(options, names.get(field, field)) for field in ProductSettings.__struct_fields__}
    if given["model"] is not None:
        given["model"] = absolute_model(given["model"])
    earlier = as_inputs(known.settings) if known else {}
    fields = earlier | {name: value for name, value in given.items() if value is not None}
    with errors_at_options(names):
        return parse_request(fields, ProductSettings)


def training_options(given: list[str]) -> dict[str, Any]:
    """Fields of a training from texts such as `steps=600`. Raises RequestError."""
    from typing import get_type_hints

    from lib_ctrlgen.errors import nearest
    from lib_ctrlgen.headless.job_text import parse_value
    from lib_ctrlgen.request.training import TrainingSpec

    hints = get_type_hints(TrainingSpec, include_extras=True)
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise RequestError("--train", f"expected FIELD=VALUE such as steps=600, not {text!r}")
        if name not in hints:
            raise RequestError("--train", f"unknown field {name!r} ({nearest(name, hints)})")
        found[name] = parse_value(value, hints[name], f"--train {name}")
    return found


def diagnose_command(run: ProductRun) -> int:
    """`ctrlgen product diagnose DIR`: prints each answer, and what to do first."""
    from lib_ctrlgen.projects.product.diagnosis.run import diagnosed

    found = diagnosed(run)
    for line in answers(found):
        print(line)
    return 0


def answers(found: Diagnosis) -> Iterator[str]:
    """The lines of a diagnosis."""
    said = {"good": "ok", "bad": "PROBLEM", "unknown": "not known"}
    for each in found.findings:
        yield f"{said[each.verdict]:>9}  {each.topic}: {each.name}: {each.seen}"
        if each.bad:
            yield f"{'':>9}  -> {each.advice}"
    yield (
        "No problem was found."
        if found.first is None
        else f"First: {found.first.advice} ({found.first.name})."
    )
    yield str(found.page)


def report(result: ProductResult) -> int:
    """Print what was made and what was flagged; returns the exit code."""
    print(f"{result.made} pictures made; {len(result.flagged)} of {len(result.records)} lost the product")
    print(result.threshold.reason)
    for record in result.records:
        flag = "LOST" if record["name"] in result.flagged else ""
        print(f"{record['likeness']:.3f}\t{record['name']}\t{flag}".rstrip())
    for path in (result.report, *result.contact):
        print(path)
    if not result.left_out:
        return 0
    print(f"ctrlgen: {len(result.left_out)} files were left out", file=sys.stderr)
    return PARTLY_FAILED
