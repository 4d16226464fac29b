"""`ctrlgen detect`, which writes the control maps of pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.errors import HostError, ModelError, RequestError
from lib_ctrlgen.files import expanded, new_folder, save_picture, save_text

from .common import Parser, add_map_cache, add_model_folders, bar, folders_of, map_cache_of, weight_roots
from .output import PARTLY_FAILED

if TYPE_CHECKING:
    from lib_ctrlgen.preprocessors.standalone import Detector
    from lib_ctrlgen.request.detection import DetectionSettings

EPILOG = f"""\
examples:
  ctrlgen detect canny photo.jpg --out maps
  ctrlgen detect "canny | invert" photos/ --set low_threshold=50 --out maps
  ctrlgen detect '[{{"name": "canny", "params": {{"low_threshold": 50}}}}, "invert"]' photos/*.png --out maps
  ctrlgen detect openpose_json poses/ --out maps

Each map is a PNG with its picture's name and size; beside it is NAME.json where a pose was found.

exit code: 0 when every map was made; {PARTLY_FAILED} when some failed (stderr names the files); 2 when all
failed, or after another error; 130 after Ctrl-C.
"""


def add_detect(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    detect = commands.add_parser(
        "detect",
        help="write the control maps of pictures, made by a preprocessor",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    detect.add_argument("preprocessor", help="a name, several names (canny | invert), or a JSON list")
    detect.add_argument("images", nargs="+", metavar="IMAGES", help="files, folders or patterns")
    detect.add_argument("--out", type=expanded, required=True, metavar="DIR", help="folder to write")
    detect.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="value of a parameter, such as low_threshold=50 (repeatable; see ctrlgen preprocessors)",
    )
    add_model_folders(detect)
    add_map_cache(detect)
    detect.set_defaults(command=detect_command)


def detect_command(options: argparse.Namespace) -> int:
    """`ctrlgen detect`. Returns the exit code: 0, or PARTLY_FAILED."""
    settings = settings_of(options.preprocessor, options.set)
    import torch

    from lib_ctrlgen.models.memory import Automatic
    from lib_ctrlgen.models.places import own_index
    from lib_ctrlgen.models.store import ModelStore
    from lib_ctrlgen.preprocessors.standalone import Detector

    disk = map_cache_of(options)
    index = own_index() if disk else None
    store = ModelStore(folders_of(options), Automatic(), weight_roots(options.models), index, disk)
    detector = Detector.of(settings, store, "cuda" if torch.cuda.is_available() else "cpu")
    pictures = list(found_pictures(options.images, poses=detector.chain.reads_pose))
    targets = names_in(new_folder(options.out), pictures)
    failed: list[RequestError] = []
    with store.working_set(), bar("detect", "picture") as report:
        for number, (picture, target) in enumerate(zip(pictures, targets, strict=True)):
            try:
                _write(detector, picture, target)
            except RequestError as error:
                if isinstance(error.__cause__, ModelError):  # every other picture would fail, too
                    raise
                failed.append(error)
                print(f"ctrlgen: error: {_named(error, picture)}", file=sys.stderr)
            report(number + 1, len(pictures))
    if len(failed) == len(pictures):
        raise HostError(f"no control map could be made of {len(pictures)} pictures")
    return PARTLY_FAILED if failed else 0


def settings_of(preprocessor: str, changes: Sequence[str]) -> DetectionSettings:
    """The settings in the command's arguments. Raises RequestError."""
    from lib_ctrlgen.headless.job_text import parse_value
    from lib_ctrlgen.request.detection import DetectionSettings
    from lib_ctrlgen.request.preprocessing import Param, Preprocessing
    from lib_ctrlgen.request.spec import parse_request

    params: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise RequestError("", f"--set takes NAME=VALUE, for example low_threshold=50, not {change!r}")
        params[name] = parse_value(text, Param, f"--set {change}")
    named = parse_value(preprocessor, Preprocessing, "PREPROCESSOR")
    return parse_request({"preprocessor": named, "params": params}, DetectionSettings)


def found_pictures(named: Sequence[str], *, poses: bool) -> Iterator[Path]:
    """The files that arguments name: files, folders and patterns, the latter two in the order of names.

    With `poses`, a folder's JSON files are taken instead of its pictures. Raises HostError if there are none.
    """
    from lib_ctrlgen.headless.jobs import PICTURE_SUFFIXES

    suffixes = {".json"} if poses else PICTURE_SUFFIXES
    for text in named:
        path = expanded(text)
        if path.is_dir():
            found = sorted(each for each in path.iterdir() if each.suffix.lower() in suffixes)
        else:
            found = [path] if path.exists() else sorted(_matching(path))
        if not found:
            kinds = ", ".join(sorted(suffixes))
            raise HostError(f"{text}: " + (f"no {kinds} in this folder" if path.is_dir() else "no such file"))
        yield from found


def _matching(pattern: Path) -> Iterator[Path]:
    """The files that fit a pattern."""
    whole = pattern.absolute()
    try:
        found = Path(whole.anchor).glob(str(whole.relative_to(whole.anchor)))
        yield from (path for path in found if path.is_file())
    except (OSError, ValueError) as error:
        raise HostError(f"{pattern}: {error}") from error


def names_in(folder: Path, pictures: Sequence[Path]) -> list[Path]:
    """The PNG to write for each picture: its name, with a number where several have the same.

    Raises HostError if a picture itself would be overwritten.
    """
    sources = {path.resolve() for path in pictures}
    taken: set[str] = set()
    found = []
    for picture in pictures:
        number, name = 1, picture.stem
        while name.lower() in taken:
            number += 1
            name = f"{picture.stem}-{number}"
        taken.add(name.lower())
        target = folder / f"{name}.png"
        if not sources.isdisjoint({target.resolve(), target.with_suffix(".json").resolve()}):
            raise HostError(f"{target} is one of the pictures: choose another folder for --out")
        found.append(target)
    return found


def _write(detector: Detector, picture: Path, target: Path) -> None:
    """Write the control map of a picture, and the pose in it. Raises RequestError at the picture's path."""
    from lib_ctrlgen.images.control_pictures import decode_control_bytes
    from lib_ctrlgen.images.poses.openpose_json import write_pose
    from lib_ctrlgen.preprocessors.blank import note_blank
    from lib_ctrlgen.request.notices import Notices

    notices, path = Notices(), str(picture)
    try:
        data = picture.read_bytes()
    except OSError as error:
        raise RequestError(path, error.strerror or str(error)) from error
    found = detector(decode_control_bytes(data, path, notices=notices), path)
    note_blank(detector.chain, found, path, notices)
    for text in notices.of():
        print("ctrlgen: warning:", text, file=sys.stderr)
    print(save_picture(found.map, target))
    if found.pose is not None:
        print(save_text(write_pose(found.pose), target.with_suffix(".json")))


def _named(error: RequestError, picture: Path) -> str:
    """The error's text, with the file's name in it."""
    text = " ".join(str(error).split())
    return text if str(picture) in text else f"{picture}: {text}"
