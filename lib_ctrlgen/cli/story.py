"""`ctrlgen story`: characters, places, poses and styles of a story file become sheets of assets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lib_ctrlgen.files import expanded

from .common import Parser, add_model_folders, add_threads, add_tokenizer, bar, engine_of
from .output import PARTLY_FAILED
from .projects import command_line, model_folder, say
from .server import add_server, require_server_options, server_command

if TYPE_CHECKING:
    from lib_ctrlgen.projects.story.pictures import ReadStory
    from lib_ctrlgen.projects.story.run import StoryResult, StoryRun

EPILOG = f"""\
examples:
  ctrlgen story examples/story/story.yaml --out lantern      all assets of the example
  ctrlgen story story.yaml --out DIR --check                 lists assets and their cost, makes nothing
  ctrlgen story story.yaml --out DIR --only "mia--*"         the assets of one character
  ctrlgen story story.yaml --out DIR --models ~/stable-diffusion-webui
  ctrlgen story story.yaml --out DIR --server URL            makes them on a server for a team

The same command again makes only what is missing or changed. Open index.html in the output folder. Fields of
the story file: `ctrlgen schema story`, and examples/story/README.md.

exit code: 0 when every asset was made; {PARTLY_FAILED} when some could not be made (stderr names them); 2
after an error; 130 after Ctrl-C.
"""


def add_story(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "story",
        help="make the assets of a story: characters in poses and places, in blended styles, as sheets",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("story", type=expanded, help="story file, YAML or JSON (see ctrlgen schema story)")
    parser.add_argument(
        "--out", type=expanded, metavar="DIR", help="folder to write (ctrlgen-out/NAME OF THE STORY)"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help='only assets of these names, such as "mia--*" (repeatable)',
    )
    parser.add_argument(
        "--check", action="store_true", help="check the story, list its assets and the cost, and make nothing"
    )
    recipes = parser.add_mutually_exclusive_group()
    recipes.add_argument(
        "--recipes",
        type=expanded,
        metavar="FOLDER",
        help="library for recipes named TITLE ASSET (recipes/ in the output folder, named ASSET)",
    )
    recipes.add_argument(
        "--no-recipes", action="store_true", help="keep no versions of recipes (they need the program git)"
    )
    add_model_folders(parser)
    add_tokenizer(parser)
    add_threads(parser)
    add_server(parser)
    parser.set_defaults(command=story_command, map_cache=None)


def story_command(options: argparse.Namespace) -> int:
    """`ctrlgen story`. Returns the exit code: 0, or PARTLY_FAILED."""
    from lib_ctrlgen.projects.story.pictures import read_story

    on_server = require_server_options(options)
    read = read_story(options.story)
    out = Path(options.out or Path("ctrlgen-out") / options.story.stem)
    if on_server:
        return sent_command(options, read, out)
    run = run_of(options, read, out)
    if options.check:
        return check_command(run)
    with bar("assets", "asset") as report:
        run.progress = lambda _phase, done, total: report(done, total)
        try:
            result = run()
        except KeyboardInterrupt:
            print(f"ctrlgen: finished assets are in {out}; continue with: {run.command}", file=sys.stderr)
            raise
    return print_result(result)


def sent_command(options: argparse.Namespace, read: ReadStory, out: Path) -> int:
    """`ctrlgen story --server`."""
    from lib_ctrlgen.projects.story.posted import sent_story

    for note in read.notes:
        say(note)
    return server_command(options, "story", sent_story(read), out)


def run_of(options: argparse.Namespace, read: ReadStory, out: Path) -> StoryRun:
    """The run of the options."""
    from lib_ctrlgen.projects.story.run import StoryRun

    library = None if options.no_recipes else (options.recipes or out / "recipes").absolute()
    return StoryRun(
        read=read,
        out=out,
        engine=engine_of(options, model_folder(read.story.model)),
        library=library,
        prefix=f"{read.story.title} " if options.recipes else "",
        only=options.only,
        tell=say,
        command=command_line(),
    )


def check_command(run: StoryRun) -> int:
    """`ctrlgen story --check`: prints the assets with their prompts."""
    maker, assets = run.checked()
    for note in run.read.notes:
        say(note)
    for asset in assets:
        print(f"{maker.planner.name(asset)}\t{maker.planner.prompt(asset)}")
    say(run.cost(maker.planner, assets))
    return 0


def print_result(result: StoryResult) -> int:
    """Print what was made; returns the exit code."""
    print(f"{result.made} assets made, {len(result.records) - result.made} were there already")
    for path in (result.index, *result.sheets):
        print(path)
    if not result.failed:
        return 0
    print(f"ctrlgen: {len(result.failed)} assets could not be made", file=sys.stderr)
    return PARTLY_FAILED
