"""`ctrlgen convert`, which turns requests and infotexts of sd-webui-controlnet into jobs."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.files import expanded, save_bytes, save_text

from .common import Parser

if TYPE_CHECKING:
    from lib_ctrlgen.compat.old_job import OldJob
    from lib_ctrlgen.request.notices import Notices

PARTLY = 3
STDIN = "-"
EPILOG = f"""\
FILE is one of
  a REST request (JSON) with alwayson_scripts.ControlNet, or with controlnet_units
  one unit of sd-webui-controlnet (JSON), or a list of units
  an infotext: a text file, or a picture with one, of sd-webui-controlnet, Forge or CtrlGen
  - for one of the texts on standard input

examples:
  ctrlgen convert request.json --out job.yaml    the job, and its pictures beside it
  ctrlgen convert request.json --payload         the same REST request with CtrlGen's units
  ctrlgen convert 00012-1.png --image pose.png   an infotext holds no pictures: name them

The units carry out what they did in sd-webui-controlnet; with --own, windows, weights and maps are CtrlGen's.

exit code: 0 when everything was converted; {PARTLY} when parts are not in the result (stderr names them);
2 after an error, which includes a unit that cannot be converted.
"""


def add_convert(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    convert = commands.add_parser(
        "convert",
        help="turn a request or an infotext of sd-webui-controlnet into a job",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    convert.add_argument("file", metavar="FILE", help="request, unit or infotext; see below")
    convert.add_argument("--out", type=expanded, metavar="FILE", help="file to write (standard output)")
    convert.add_argument("--payload", action="store_true", help="a REST request instead of a job")
    convert.add_argument("--own", action="store_true", help="give the units CtrlGen's own semantics")
    convert.add_argument(
        "--image",
        type=expanded,
        action="append",
        default=[],
        metavar="FILE",
        help="picture of the next enabled unit (repeatable)",
    )
    convert.set_defaults(command=convert_command)


def convert_command(options: argparse.Namespace) -> int:
    """`ctrlgen convert`. Returns the exit code."""
    from lib_ctrlgen.compat.old_units import ConversionError
    from lib_ctrlgen.request.notices import Notices

    notices, left_out = Notices(), Notices()
    try:
        old = read_old(options.file, left_out, own=options.own)
        content = job_content(old, notices, options.image)
    except ConversionError as error:
        for each in error.problems[1:]:
            print(f"ctrlgen: error: {each}", file=sys.stderr)
        raise
    is_body = options.payload and old.body is not None
    said = notices.of() if is_body else (*left_out.of(), *notices.of())
    for text in said:
        print(f"ctrlgen: {text}", file=sys.stderr)
    text = payload_text(old, content) if options.payload else job_text(old, content, options.out)
    if options.out is None:
        print(text, end="")
    else:
        print(save_text(text, options.out))
    return PARTLY if said else 0


def read_old(name: str, notices: Notices, *, own: bool) -> OldJob:
    """What a file holds. Raises HostError, RequestError."""
    from lib_ctrlgen.compat.infotext import read_infotext
    from lib_ctrlgen.compat.old_job import job_of_body, job_of_infotext, job_of_units

    text, recorded = text_in(name)
    if recorded is not None:
        return recorded_job(recorded)
    if not text.lstrip().startswith(("{", "[")):
        return job_of_infotext(read_infotext(text), notices, own=own)
    from lib_ctrlgen.headless.job_text import parse_json_text

    found = parse_json_text(text, name)
    if isinstance(found, list):
        return job_of_units(found, own=own)
    if is_unit(found):
        return job_of_units([found], own=own)
    return job_of_body(found, notices, own=own)


def is_unit(found: dict[str, Any]) -> bool:
    """Whether a JSON object is a unit rather than a request."""
    return bool({"module", "model"} & found.keys()) and not {"alwayson_scripts", "prompt"} & found.keys()


def text_in(name: str) -> tuple[str, str | None]:
    """The text of a file, or the infotext of a picture, and the request in a picture of `ctrlgen run`.

    Raises HostError.
    """
    if name == STDIN:
        return sys.stdin.read(), None
    try:
        data = expanded(name).read_bytes()
    except OSError as error:
        raise HostError(f"{name}: {error.strerror or error}") from error
    texts = picture_texts(data)
    if texts is None:
        try:
            return data.decode("utf-8-sig"), None
        except UnicodeDecodeError as error:
            raise HostError(f"{name}: neither a picture nor a text in UTF-8") from error
    if not texts.get("parameters") and not texts.get("ctrlgen"):
        raise HostError(f"{name}: this picture has no infotext")
    return texts.get("parameters", ""), texts.get("ctrlgen")


def picture_texts(data: bytes) -> dict[str, str] | None:
    """The texts in a picture's file (PNG chunks, or the comment in Exif), None for any other file."""
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            texts = {str(name): value for name, value in image.info.items() if isinstance(value, str)}
            comment = image.getexif().get_ifd(0x8769).get(0x9286)  # UserComment of the Exif IFD
    except (UnidentifiedImageError, OSError, ValueError):
        return None
    if isinstance(comment, bytes) and "parameters" not in texts:
        coding = "utf-16-be" if comment.startswith(b"UNICODE") else "utf-8"
        texts["parameters"] = comment[8:].decode(coding, "replace")
    return texts


def recorded_job(text: str) -> OldJob:
    """The request that `ctrlgen run` wrote into a picture; its pictures are hashes."""
    from lib_ctrlgen.compat.generation import Generation
    from lib_ctrlgen.compat.old_job import OldJob

    try:
        found = json.loads(text)
    except ValueError as error:
        raise HostError(f"the picture's request is damaged: {error}") from error
    return OldJob(fields=dict(found), generation=Generation(family="sd15"), pictureless=True)


def job_content(old: OldJob, notices: Notices, images: list[Path]) -> dict[str, Any]:
    """The job as JSON types: its fields, CtrlGen's own request, the converted units. Raises RequestError."""
    from lib_ctrlgen.client.pictures import sent
    from lib_ctrlgen.compat.old_units import own_units

    pictures = [sent(path, "--image") for path in images]
    own = dict(old.controls)
    units = [*own.pop("units", ()), *own_units(old, notices, pictures)]
    content = {**old.fields, **own} | ({"units": units} if units else {})
    if "model" not in content and content.get("prompt") is not None:
        message = (
            "no checkpoint is named: `ctrlgen send` uses the one that is loaded, `ctrlgen run` needs one"
        )
        notices.add("$.model", message)
    return named_pictures(content, notices)


def named_pictures(content: dict[str, Any], notices: Notices) -> dict[str, Any]:
    """The job with the name of a file in the place of each picture of which only the hash is known."""
    from lib_ctrlgen.request.pictures import EMBEDDINGS, LISTS, PICTURES, pictured_parts

    for path, part in pictured_parts(content):
        start = path.removeprefix("$.").replace("[", "-").replace("]", "").replace(".", "-")
        for name in (*PICTURES, *LISTS, *EMBEDDINGS):
            value = part.get(name)
            listed = value if isinstance(value, list) else [value]
            if not any(isinstance(each, str) and each.startswith(("sha:", "sha256:")) for each in listed):
                continue
            end = "safetensors" if name in EMBEDDINGS else "png"
            names = [f"{start}-{name}-{number}.{end}" for number in range(len(listed))]
            part[name] = names if isinstance(value, list) else f"{start}-{name}.{end}"
            notices.add(f"{path}.{name}", f"only its hash is known: put it at {part[name]} beside the job")
    return content


def job_text(old: OldJob, content: dict[str, Any], out: Path | None) -> str:
    """The job as YAML; with a file to write, its pictures are written beside it. Raises RequestError."""
    from lib_ctrlgen.headless.job_text import yaml_text
    from lib_ctrlgen.headless.jobs import parse_job

    if old.fields:
        parse_job(content)
    if out is not None:
        write_pictures(content, out)
    return yaml_text(content)


def write_pictures(content: dict[str, Any], out: Path) -> None:
    """Write the pictures in a job beside its file, and name the files instead. Raises HostError."""
    for number, (part, name, text) in enumerate(inline_pictures(content)):
        data = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text)
        kind = ".jpg" if data.startswith(b"\xff\xd8") else ".webp" if data[8:12] == b"WEBP" else ".png"
        part[name] = save_bytes(data, out.with_name(f"{out.stem}-{number}-{name}{kind}")).name


def inline_pictures(content: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Each picture of a job that is not a file's name: the part that holds it, its field, its text."""
    from lib_ctrlgen.request.pictures import PICTURES, pictured_parts

    for _, part in list(pictured_parts(content)):
        for name in PICTURES:
            text = part.get(name)
            if isinstance(text, str) and (text.startswith("data:") or len(text) > 200):
                yield part, name, text


def payload_text(old: OldJob, content: dict[str, Any]) -> str:
    """The REST request as JSON: the old one with CtrlGen's units, or that which the job means."""
    from lib_ctrlgen.client.bodies import generation_body, with_controls
    from lib_ctrlgen.headless.jobs import parse_job
    from lib_ctrlgen.request.spec import ControlRequest

    controls = {name: content[name] for name in ControlRequest.__struct_fields__ if name in content}
    if old.body is not None:
        controls.pop("cfg_scale", None)
        controls |= {name: old.controls[name] for name in ("cfg_scale",) if name in old.controls}
        scripts = old.body.get("alwayson_scripts", {})
        body = with_controls(old.body, controls)
        if scripts:
            body["alwayson_scripts"] = {**scripts, **body.get("alwayson_scripts", {})}
    elif old.fields:
        body = generation_body(parse_job(content))
    else:
        body = with_controls({}, controls)
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"
