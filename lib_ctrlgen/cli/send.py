"""`ctrlgen send` makes the pictures of a job on a WebUI, and `ctrlgen payload` prints the request for it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import expanded, new_folder, png_text, save_picture, save_text

from .common import Parser, add_job, bar, out_of

if TYPE_CHECKING:
    from lib_ctrlgen.client.pictures import Picture
    from lib_ctrlgen.client.results import Generated
    from lib_ctrlgen.client.watched import TaskProgress

LOGIN = "CTRLGEN_WEBUI_AUTH"
DEFAULT_URL = "http://127.0.0.1:7860"
TAB = "txt2img"
HUNDRED = 100
NO_PREVIEWS = "the WebUI sent no previews: see its settings for live previews"
END_OF_BODY = "CTRLGEN_BODY"
EPILOG = f"""\
examples:
  ctrlgen send job.yaml --webui http://127.0.0.1:7860 --out pictures
  {LOGIN}=user:password ctrlgen send job.yaml --webui https://example.org/webui --previews

The job is one of `ctrlgen run`. Models are those of the WebUI; a path of a model stands for its file's name
there, and a job without `model` uses the checkpoint that is loaded. Ctrl-C interrupts the generation in the
WebUI; a second one leaves it alone.

exit code: 0 when the pictures are written; 2 after an error; 130 after Ctrl-C.
"""


def add_send(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands `send` and `payload`."""
    send = commands.add_parser(
        "send",
        help="make the pictures of a job file on a running WebUI",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_job(send)
    send.add_argument("--webui", required=True, metavar="URL", help="address of the WebUI")
    add_login(send)
    send.add_argument("--out", type=expanded, help="folder to write (ctrlgen-out/NAME OF THE JOB)")
    send.add_argument("--previews", action="store_true", help="also write the previews into the folder")
    send.set_defaults(command=send_command)
    payload = commands.add_parser("payload", help="print the JSON that `send` posts, or a curl command")
    add_job(payload)
    payload.add_argument("--curl", action="store_true", help="print a command that posts it")
    payload.add_argument(
        "--webui", default=DEFAULT_URL, metavar="URL", help="address in the command (%(default)s)"
    )
    payload.set_defaults(command=payload_command)


def add_login(parser: Parser) -> None:
    """Add the login of `--api-auth`."""
    parser.add_argument(
        "--auth",
        metavar="USER:PASSWORD",
        help=f"login of --api-auth (also {LOGIN}, which other users of this machine do not see)",
    )


def login_of(options: argparse.Namespace) -> tuple[str, str] | None:
    """The user and the password of the option or the environment variable. Raises HostError."""
    text = options.auth or os.environ.get(LOGIN)
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise HostError(f"--auth and {LOGIN} take USER:PASSWORD")
    return user, password


def job_body(path: Path, changes: list[str]) -> dict[str, Any]:
    """The body of txt2img that makes the pictures of a job file. Raises RequestError."""
    from lib_ctrlgen.client.bodies import generation_body
    from lib_ctrlgen.headless.jobs import read_job
    from lib_ctrlgen.request.names import split_hash

    job = read_job(path, changes)
    model = Path(split_hash(job.request.model)[0])
    if model.is_absolute() and model.is_dir():
        message = "a WebUI cannot load a diffusers folder: name one of its checkpoints"
        raise RequestError("$.model", message)
    body = generation_body(job.request)
    if "model" not in job.fields:
        del body["override_settings"]["sd_model_checkpoint"]
    return body


def send_command(options: argparse.Namespace) -> None:
    """`ctrlgen send`."""
    body = job_body(options.job, options.set)
    from lib_ctrlgen.client.watched import watched
    from lib_ctrlgen.client.webui import WebUI

    webui = WebUI(options.webui, login_of(options))
    out = new_folder(out_of(options))
    previews: list[Path] = []
    with bar(options.job.stem, "%") as show:
        report = reporter(show, previews, out if options.previews else None)
        made = watched(webui, TAB, body, report, previews=options.previews)
        show(HUNDRED, HUNDRED)
    unseen = (NO_PREVIEWS,) if options.previews and not previews else ()
    for text in (*made.warnings, *unseen):
        print("ctrlgen: warning:", text, file=sys.stderr)
    for path in (*write_generated(made, out), *previews):
        print(path)


def reporter(
    show: Callable[[int, int], None], written: list[Path], folder: Path | None
) -> Callable[[TaskProgress], None]:
    """A function that shows the progress, and writes previews into a folder if there is one."""
    waits: list[str] = []

    def report(progress: TaskProgress) -> None:
        if progress.state == "running":
            show(min(HUNDRED - 1, round(HUNDRED * progress.share)), HUNDRED)
        elif progress.text and progress.text not in waits:
            waits.append(progress.text)
            print(f"ctrlgen: {progress.text}", file=sys.stderr)
        if folder is not None and progress.preview is not None:
            name = f"preview-{progress.preview_id:05}{progress.preview.suffix}"
            written.append(progress.preview.save(folder / name))

    return report


def write_generated(made: Generated, folder: Path) -> list[Path]:
    """Write the pictures with their infotexts, the sheets, the control maps and the WebUI's record.

    They are numbered as those of `ctrlgen run`. Raises HostError.
    """
    from lib_ctrlgen.headless.numbering import numbered

    if not made.pictures:
        raise HostError("the WebUI made no picture: the generation was interrupted there")
    with numbered(folder) as first:
        written = [
            save_infotext(each, folder / f"{first + number:05}-{each.seed}.png")
            for number, each in enumerate(made.pictures)
        ]
        kinds = {"sheet": made.sheets, "map": made.control_maps}
        others = [
            each.save(folder / f"{first:05}-{kind}-{number}{each.suffix}")
            for kind, pictures in kinds.items()
            for number, each in enumerate(pictures)
        ]
        record = {
            "images": [path.name for path in written],
            "others": [path.name for path in others],
            "seeds": list(made.seeds),
            "warnings": list(made.warnings),
            "info": made.info,
        }
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        return [*written, *others, save_text(text, folder / f"{first:05}-result.json")]


def save_infotext(picture: Picture, path: Path) -> Path:
    """Write a picture as a PNG with its infotext; a file that is one already is written as it was sent."""
    with picture.image as image:
        if image.format == "PNG" and image.info.get("parameters") == picture.infotext:
            return picture.save(path)
        return save_picture(image, path, png_text(picture.infotext))


def payload_command(options: argparse.Namespace) -> None:
    """`ctrlgen payload`."""
    text = json.dumps(job_body(options.job, options.set), indent=2, ensure_ascii=False)
    if not options.curl:
        print(text)
        return
    from lib_ctrlgen.client.connection import Address

    url = f"{Address.of(options.webui).url}/sdapi/v1/{TAB}"
    login = f' -u "${LOGIN}"' if os.environ.get(LOGIN) else ""
    header = "-H 'Content-Type: application/json'"
    print(f"curl --fail-with-body{login} {header} --data-binary @- {shlex.quote(url)} <<'{END_OF_BODY}'")
    print(text)
    print(END_OF_BODY)
