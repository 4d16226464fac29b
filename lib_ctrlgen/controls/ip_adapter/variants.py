"""The variants of IP-Adapters for faces, and what decides where a file's keys fit two of them.

First the file's metadata, then its name, then the parameter `variant` of the unit, which has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from lib_ctrlgen.controls.params import AUTO_VARIANT
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.faces.face import MOST
from lib_ctrlgen.faces.packs import FACE_ID, INSTANT_ID
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.tensor_files import read_metadata

OR = " or "
FACEID_PLUS = "faceid_plus or faceid_plus_v2"
FACE_RESAMPLER = "portrait_unnorm or instant_id"
_WORDS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "faceid_plus_v2": re.compile(r"plus[ _.-]?v2", re.IGNORECASE),
        "faceid_plus": re.compile(r"face[ _.-]?id[ _.-]?plus", re.IGNORECASE),
        "portrait_unnorm": re.compile(r"unnorm", re.IGNORECASE),
        "instant_id": re.compile(r"instant[ _.-]?id", re.IGNORECASE),
    }
)  # the first that is found holds


@dataclass(frozen=True, kw_only=True)
class FaceVariant:
    """What an IP-Adapter of this variant reads from a face.

    pack    the model pack of insightface whose embeddings it was trained with
    normed  whether it reads the embedding divided by its norm
    crop    whether it also reads the picture of the aligned face
    wide    whether that shows the whole head, as FFHQ's pictures do
    most    how many faces it takes, 0: any number
    """

    pack: str = FACE_ID
    normed: bool = True
    crop: bool = False
    wide: bool = False
    most: int = 0


KNOWN: Mapping[str, FaceVariant] = MappingProxyType(
    {
        "faceid": FaceVariant(),
        "faceid_plus": FaceVariant(crop=True),
        "faceid_plus_v2": FaceVariant(crop=True),
        "portrait": FaceVariant(most=MOST),
        "portrait_unnorm": FaceVariant(normed=False),
        "instant_id": FaceVariant(pack=INSTANT_ID, normed=False),
    }
)
FACE_VARIANTS = frozenset({*KNOWN, FACEID_PLUS, FACE_RESAMPLER})


def decided(kind: ModelKind, path: Path) -> ModelKind:
    """The kind of a file whose keys fit two variants, by its metadata, then its name and its folder's.

    The same kind where neither says it. Raises ModelError for an unreadable file.
    """
    possible = kind.variant.split(OR)
    if len(possible) == 1:
        return kind
    texts = (" ".join(read_metadata(path).values()), path.stem, path.parent.name)
    found = (
        name for text in texts for name, word in _WORDS.items() if name in possible and word.search(text)
    )
    return replace(kind, variant=next(found, kind.variant))


def chosen(known: str, asked: str, path: str) -> str:
    """The variant of a file: the one that the unit asks for, else the one that is known.

    `known` is `ModelKind.variant`, of keys, metadata and name. Raises RequestError at `path` where the keys
    contradict the unit, or where nothing decides.
    """
    if asked == AUTO_VARIANT:
        if OR in known:
            message = (
                f"neither the file's keys nor its metadata nor its name say whether it is {known}: say it"
            )
            raise RequestError(path, message)
        return known
    alike = next((pair for pair in (FACEID_PLUS, FACE_RESAMPLER) if known in (pair, *pair.split(OR))), known)
    if asked not in alike.split(OR):
        raise RequestError(path, f"the file's tensors are those of {alike}, not of {asked}")
    return asked
