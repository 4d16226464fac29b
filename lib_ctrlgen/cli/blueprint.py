"""`ctrlgen blueprint`: a folder of hand-drawn plans and elevations becomes consistent renderings."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.files import expanded

from .common import Parser, add_model_folders, add_threads, add_tokenizer, engine_of
from .output import PARTLY_FAILED
from .projects import (
    absolute_model,
    bars,
    command_line,
    errors_at_options,
    model_folder,
    require_drawable,
    say,
)

if TYPE_CHECKING:
    from PIL import Image

    from lib_ctrlgen.projects.blueprint.run import BlueprintResult
    from lib_ctrlgen.projects.blueprint.settings import BlueprintSettings

EPILOG = f"""\
examples:
  ctrlgen blueprint sketches --draw 6              draws six sketches by hand into an empty folder
  ctrlgen blueprint sketches --out renderings      renders them with the bundled tiny model
  ctrlgen blueprint sketches --out renderings --model my-sd15 --models ~/stable-diffusion-webui
  ctrlgen blueprint sketches --out renderings --look photo.jpg --prompt "timber {{drawing}}, winter morning"
  ctrlgen blueprint sketches --out renderings --kinds lines,depth --strength 0.8 --size 768x512

The same command again makes only what is missing: after an interruption, or when pictures were added. Open
index.html in the output folder.

exit code: 0 when every file was rendered; {PARTLY_FAILED} when some were left out (stderr names them); 2
after an error; 130 after Ctrl-C.
"""
LOOKS = ("seed", "aligned")


def add_blueprint(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "blueprint",
        help="render a folder of hand-drawn plans and elevations in one look",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", type=expanded, metavar="DIR", help="folder with the sketches, and folders in it"
    )
    parser.add_argument(
        "--out", type=expanded, metavar="DIR", help="folder to write (ctrlgen-out/NAME OF DIR)"
    )
    parser.add_argument("--model", default="ctrlgen-tiny", help="checkpoint, by name or path (%(default)s)")
    _add_look(parser)
    _add_controls(parser)
    parser.add_argument(
        "--recipe", default="", metavar="NAME", help="save each sheet as the recipe NAME SHEET"
    )
    parser.add_argument(
        "--draw",
        type=int,
        default=0,
        metavar="N",
        help="only draw N sketches into DIR, as an example (with --seed)",
    )
    add_model_folders(parser)
    add_tokenizer(parser)
    add_threads(parser)
    parser.set_defaults(command=blueprint_command, map_cache=None)


def _add_look(parser: Parser) -> None:
    """The options for what renderings look like."""
    parser.add_argument(
        "--prompt",
        default="",
        help="template: {drawing} says what is drawn, {kind} is plan or elevation, {name}",
    )
    parser.add_argument("--negative", default="", metavar="PROMPT", help="negative prompt")
    parser.add_argument(
        "--look",
        default="seed",
        metavar="LOOK",
        help="what makes sheets alike: seed, aligned (StyleAligned, twice the time), or a reference picture "
        "(IP-Adapter) (%(default)s)",
    )
    parser.add_argument(
        "--look-weight", type=float, default=0.8, metavar="W", help="of the picture (%(default)s)"
    )
    parser.add_argument("--size", default="", help="side of a square sheet, others get its area; or 768x512")
    parser.add_argument("--steps", type=int, default=20, help="of the sampler (%(default)s)")
    parser.add_argument("--sampler", default="DPM++ 2M", help="by the WebUI's name (%(default)s)")
    parser.add_argument(
        "--cfg", type=float, default=6.0, metavar="SCALE", help="guidance scale (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all sheets (%(default)s)")


def _add_controls(parser: Parser) -> None:
    """The options for how drawings control renderings."""
    parser.add_argument(
        "--kinds",
        default="",
        metavar="KIND,...",
        help="control kinds to try: lines, edges, scribble, straight_lines, depth, segmentation (all for "
        "which there is a model)",
    )
    parser.add_argument(
        "--strength", default="auto", metavar="W", help="weight of the controls; auto: the tuner finds it"
    )


def blueprint_command(options: argparse.Namespace) -> int:
    """`ctrlgen blueprint`. Returns the exit code: 0, or PARTLY_FAILED."""
    if options.draw:
        return draw_command(options)
    settings, look = settings_of(options), look_of(options)
    from lib_ctrlgen.projects.blueprint.run import Run

    roots = model_folder(options.model)
    command = command_line()
    out = options.out or Path("ctrlgen-out") / options.folder.resolve().name
    with bars() as progress:
        run = Run(
            folder=options.folder,
            out=out,
            settings=settings,
            engine=engine_of(options, roots),
            look=look,
            tell=say,
            progress=progress,
            command=command,
        )
        try:
            result = run()
        except KeyboardInterrupt:
            print(f"ctrlgen: finished sheets are in {out}; continue with: {command}", file=sys.stderr)
            raise
    return report(result, out, options.recipe)


def draw_command(options: argparse.Namespace) -> int:
    """`ctrlgen blueprint DIR --draw N`: prints the sketches that were drawn."""
    from lib_ctrlgen.projects.blueprint.sketches.sketch import save_sketches

    require_drawable(options.draw, options.folder)
    for path in save_sketches(options.folder, options.draw, options.seed):
        print(path)
    return 0


def settings_of(options: argparse.Namespace) -> BlueprintSettings:
    """The settings of the options. Raises RequestError that names the option."""
    from lib_ctrlgen.projects.blueprint.settings import PICTURE, BlueprintSettings
    from lib_ctrlgen.request.spec import parse_request

    fields = {
        "model": absolute_model(options.model),
        "prompt": options.prompt,
        "negative_prompt": options.negative,
        "look": options.look if options.look in LOOKS else PICTURE,
        "look_weight": options.look_weight,
        "kinds": [kind.strip() for kind in options.kinds.split(",") if kind.strip()],
        "strength": strength_of(options.strength),
        "size": options.size,
        "steps": options.steps,
        "cfg_scale": options.cfg,
        "sampler": options.sampler,
        "seed": options.seed,
    }
    names = {"cfg_scale": "cfg", "negative_prompt": "negative", "look_weight": "look-weight"}
    with errors_at_options(names):
        return parse_request(fields, BlueprintSettings)


def strength_of(text: str) -> float | None:
    """The weight in an argument, None for `auto`. Raises RequestError."""
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise RequestError("--strength", f"a weight such as 0.8, or auto, not {text!r}") from error


def look_of(options: argparse.Namespace) -> Image.Image | None:
    """The reference picture that `--look` names; None for a look by its name. Raises RequestError."""
    if options.look in LOOKS:
        return None
    path = expanded(options.look)
    if not path.is_file():
        raise RequestError("--look", f"{options.look!r} is neither seed nor aligned, nor a picture's file")
    from lib_ctrlgen.projects.sources import FoundFile, read_source

    return read_source(FoundFile(path=path, name=path.stem))


def report(result: BlueprintResult, out: Path, recipe: str) -> int:
    """Print what was made, and save recipes; returns the exit code."""
    if recipe:
        from lib_ctrlgen.projects.blueprint.recipes import save_recipes

        for name in save_recipes(result.records, out, recipe, recipes_folder()):
            print(f"recipe\t{name}")
    print(f"{result.made} sheets rendered, {len(result.records) - result.made} were there already")
    for path in (result.index, *result.contact):
        print(path)
    if not result.failed:
        return 0
    print(f"ctrlgen: {len(result.failed)} files were left out", file=sys.stderr)
    return PARTLY_FAILED


def recipes_folder() -> Path:
    """The library of recipes, as of `ctrlgen recipes`."""
    from .recipes import DEFAULT, VARIABLE

    return expanded(os.environ.get(VARIABLE) or DEFAULT).absolute()
