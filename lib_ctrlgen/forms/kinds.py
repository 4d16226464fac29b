"""What a unit's picture can be for (its kind): edges, a pose, a style, ..., and the preprocessors of each.

>>> KINDS["edges"].label, kind_of_preprocessor("hed"), kind_of_words("t2iadapter_sketch_sd15v2")
('Edges', 'soft_edges', 'scribble')
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of control.

    label          what the panel's button says
    about          a sentence on what it does, the button's tooltip
    words          a regular expression that finds the kind in the name of a model file
    preprocessors  those that make its control maps, the best one first; empty if it needs none
    """

    label: str
    about: str
    words: str = r"(?!)"
    preprocessors: tuple[str, ...] = ()


OTHER = "other"

# In the order of the panel's buttons. Of words that several kinds find in a name the first kind counts, but
# those of `FIRST_WORDS` are asked before the others.
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "pose": Kind(
            label="Pose",
            about="People take the pose of those in the picture",
            words=r"(?<!key)pose",
            preprocessors=(
                "dw_openpose_full",
                "openpose_full",
                "openpose",
                "openpose_hand",
                "openpose_face",
                "openpose_faceonly",
                "animal_openpose",
                "densepose",
                "densepose_parula",
                "openpose_json",
            ),
        ),
        "edges": Kind(
            label="Edges",
            about="Keeps the edges of the picture (Canny)",
            words=r"canny|edge",
            preprocessors=("canny",),
        ),
        "depth": Kind(
            label="Depth",
            about="Keeps what is near and what is far in the picture",
            words=r"depth|midas|zoe|leres",
            preprocessors=(
                "depth_anything_v2",
                "depth_anything",
                "depth",
                "depth_zoe",
                "depth_leres",
                "depth_leres++",
            ),
        ),
        "lines": Kind(
            label="Lines",
            about="Keeps the lines of a drawing or a photo (line art)",
            words=r"line_?art|misto",
            preprocessors=(
                "lineart",
                "lineart_anime",
                "lineart_anime_denoise",
                "lineart_coarse",
                "softedge_anyline",
                "lineart_standard",
            ),
        ),
        "scribble": Kind(
            label="Scribble",
            about="Turns a rough sketch into a picture",
            words=r"scribble|sketch",
            preprocessors=("scribble_hed", "pidinet_scribble", "pidinet_sketch", "scribble_xdog"),
        ),
        "soft_edges": Kind(
            label="Soft edges",
            about="Keeps the main outlines and leaves the details free (HED, PiDiNet)",
            words=r"soft_?edge|(?<![a-z])hed|pidi|teed",
            preprocessors=("softedge_teed", "pidinet", "hed", "pidinet_safe", "hed_safe"),
        ),
        "straight_lines": Kind(
            label="Straight lines",
            about="Keeps the straight lines of rooms and buildings (M-LSD)",
            words=r"mlsd",
            preprocessors=("mlsd",),
        ),
        "normals": Kind(
            label="Normals",
            about="Keeps the direction in which each surface faces",
            words=r"normal",
            preprocessors=("normal_bae", "normal_dsine", "normal_map"),
        ),
        "segmentation": Kind(
            label="Segments",
            about="Keeps which area is sky, wall, person and so on",
            words=r"(?<![a-z])seg(?![a-z])|segment",
            preprocessors=(
                "oneformer_ade20k",
                "segmentation",
                "oneformer_coco",
                "anime_face_segment",
                "mobile_sam",
            ),
        ),
        "tile": Kind(
            label="Tile",
            about="Keeps the picture and invents fine details, for larger sizes",
            words=r"(?<![a-z])(tile|blur)(?![a-z])",
            preprocessors=("tile_resample", "blur_gaussian", "tile_colorfix", "tile_colorfix+sharp"),
        ),
        "inpaint": Kind(
            label="Inpaint",
            about="Fills the transparent part of the picture, or what the inpainting mask marks",
            words=r"inpaint|repaint|outpaint",
            preprocessors=("inpaint_only+lama", "inpaint_only", "inpaint"),
        ),
        "recolour": Kind(
            label="Recolour",
            about="Gives new colours to a grey or coloured picture",
            words=r"recolou?r|brightness|luminance",
            preprocessors=("recolor_luminance", "recolor_intensity"),
        ),
        "shuffle": Kind(
            label="Shuffle",
            about="Takes the colours and textures of the picture, not its shapes",
            words=r"shuffle",
            preprocessors=("shuffle",),
        ),
        "colours": Kind(
            label="Colours",
            about="Takes the colours of the picture, in coarse squares",
            words=r"(?<![a-z])colou?r",
            preprocessors=("color",),
        ),
        "pattern": Kind(
            label="Pattern",
            about="Hides a pattern in the picture, such as a QR code",
            words=r"qr|illumination",
        ),
        "instruct": Kind(
            label="Instruct",
            about="Changes the picture as the prompt says (InstructPix2Pix)",
            words=r"ip2p|pix2pix",
        ),
        "image_prompt": Kind(
            label="Image prompt", about="Takes content and style of the picture, like a prompt (IP-Adapter)"
        ),
        "style": Kind(label="Style", about="Takes the style of the picture"),
        "composition": Kind(
            label="Composition", about="Takes the arrangement of the picture, not its content or style"
        ),
        "face": Kind(label="Face", about="Draws the person whose face the picture shows"),
        "face_position": Kind(
            label="Face position",
            about="Puts the face where it is in the picture (InstantID, MediaPipe)",
            words=r"mediapipe",
            preprocessors=("instant_id_face_keypoints", "mediapipe_face"),
        ),
        "reference": Kind(
            label="Reference", about="Stays close to the picture, without a model; takes longer"
        ),
        "style_aligned": Kind(
            label="Style aligned", about="Gives the pictures of a batch one style; needs no picture here"
        ),
        "revision": Kind(label="ReVision", about="The picture replaces the prompt (SDXL, CLIP ViT-bigG)"),
        "boxes": Kind(label="Boxes", about="Puts things into boxes that you draw (GLIGEN)"),
        OTHER: Kind(
            label="Other", about="A model whose name does not say what it is for: choose it under More"
        ),
    }
)
FIRST_WORDS = ("scribble", "soft_edges", "lines", "recolour")


def kind_of_words(name: str) -> str:
    """The kind of control maps that the words of a file's name say, or empty."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    order = (*FIRST_WORDS, *KINDS)
    return next((kind for kind in order if re.search(KINDS[kind].words, plain)), "")


def kind_of_preprocessor(name: str) -> str:
    """The kind of the control maps of a preprocessor; empty for one that fits many, such as `invert`."""
    return next((kind for kind, each in KINDS.items() if name in each.preprocessors), "")
