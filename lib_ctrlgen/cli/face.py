"""`ctrlgen face`, which saves the identity embedding of a face for units that read one."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

from lib_ctrlgen.files import expanded, save_bytes

from .common import Parser, add_model_folders, folders_of


def add_face(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    from lib_ctrlgen.faces.face import LARGEST
    from lib_ctrlgen.faces.packs import FACE_ID, PACKS

    face = commands.add_parser("face", help="save the identity embedding of a face in a picture")
    face.add_argument("picture", type=expanded, help="picture file with one or more faces")
    face.add_argument("--out", type=expanded, required=True, metavar="FILE", help="safetensors file to write")
    face.add_argument(
        "--choose",
        default=LARGEST,
        metavar="WHICH",
        help="largest, all, or the face's number counted from the left (%(default)s)",
    )
    face.add_argument(
        "--pack",
        choices=list(PACKS),
        default=FACE_ID,
        help="model pack: buffalo_l for FaceID, antelopev2 for InstantID and PuLID (%(default)s)",
    )
    add_model_folders(face)
    face.set_defaults(command=face_command)


def face_command(options: argparse.Namespace) -> None:
    """`ctrlgen face`."""
    from lib_ctrlgen.faces.embeddings import save_embedding
    from lib_ctrlgen.faces.face import require_faces, selected
    from lib_ctrlgen.faces.find import find_faces
    from lib_ctrlgen.faces.packs import PACKS
    from lib_ctrlgen.images.codec import to_rgb
    from lib_ctrlgen.images.files import decode_bytes

    folders = folders_of(options)
    path: Path = options.picture
    picture = to_rgb(decode_bytes(path.read_bytes(), str(path)))
    with redirect_stdout(sys.stderr):  # insightface prints the files that it loads
        faces = find_faces(picture, options.pack, folders)
    require_faces(faces, str(path))
    chosen = selected(faces, options.choose, "--choose")
    values = [face.embedding for face in chosen]
    save_bytes(save_embedding(values, options.pack, PACKS[options.pack].recogniser), options.out)
    for face in chosen:
        box = ", ".join(f"{side:.0f}" for side in face.box)
        print(f"face at {box} (left, top, right, bottom), score {face.score:.2f}")
    print(options.out)
