"""The fields of the tab: labels, explanations beside the pointer, and what is sent of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import yaml

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.training import DEFAULTS, OWN_FIELDS, TrainingKind

KINDS: Mapping[str, TrainingKind] = MappingProxyType(
    {
        "LoRA: a style, or anything with captions": "lora",
        "DreamBooth: one subject, under a rare word": "dreambooth",
        "Embedding: a new word for prompts": "textual-inversion",
        "IP-Adapter: one product, shown by a picture": "ip-adapter",
    }
)
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "Image tokens only": "tokens",
        "A low-rank change of keys and values": "low-rank",
        "The whole adapter": "whole",
    }
)
LABELS: Mapping[str, str] = MappingProxyType(
    {
        "kind": "What is trained",
        "name": "Name of the training and of its file",
        "base": "Base checkpoint",
        "pictures": "Folder with pictures",
        "files": "Or upload pictures",
        "captions": "Caption of the pictures",
        "token": "Rare word for the subject",
        "initial": "Words that it starts from",
        "vectors": "Tokens of the embedding",
        "prior_prompt": "Class of the subject",
        "adapter": "IP-Adapter to start from",
        "part": "Part of it that is trained",
        "steps": "Training steps",
        "resolution": "Resolution in pixels",
        "batch": "Pictures per pass",
        "rank": "Rank",
        "lr": "Learning rate (0: the usual one)",
        "hold_out": "Pictures kept to measure it",
        "backdrop": "Colour behind the subject",
        "checkpointing": "Less memory, more time",
        "more": "More options, one per line",
        "install": "Install missing packages into CtrlGen's own folder",
        "unload": "Unload the WebUI's checkpoint from the GPU until it ends",
        "chosen": "Training",
    }
)
TIPS: Mapping[str, str] = MappingProxyType(
    {
        "kind": "Decides what file is made and where it is used.",
        "name": "A LoRA is called by this name in prompts, and an embedding is this word.",
        "base": "Train on the checkpoint that you will use, or on one of its family.",
        "pictures": "Ten to twenty views; a text file of the same name beside a picture is its caption.",
        "files": "Pictures, and text files of the same names with their captions.",
        "captions": "For pictures that have no text file of their own.",
        "token": "A word that the checkpoint does not know, such as sks.",
        "initial": "What the subject is like, such as: a dog.",
        "vectors": "At least as many as the words that it starts from have.",
        "prior_prompt": "What others of its kind are. With an empty field they may become like the subject.",
        "adapter": "The training begins with what this file knows.",
        "part": "The smaller the part, the less memory it takes and the less it can learn.",
        "steps": "More steps learn more, up to copying the pictures; the best state is kept.",
        "resolution": "Pictures are scaled to about the area of a square of this side.",
        "batch": "More of them are steadier, and take more memory.",
        "rank": "How much the file can hold: 4 to 32 for a subject, more for a style.",
        "lr": "How large the steps are; too large ones burn the colours.",
        "hold_out": "They are not learned from, and show when the training only copies.",
        "backdrop": "Random colours replace one colour behind the subject; auto finds it in each picture.",
        "checkpointing": "Computes intermediate results again instead of keeping them.",
        "more": "Any other option of the training, such as: flip: true.",
        "install": "The WebUI's own packages stay as they are; only trainings use the folder.",
        "unload": "A training and a generation at once can run out of memory. It is loaded again at the end.",
        "chosen": "Trainings of this WebUI, also those that were started before it.",
    }
)
SENT = tuple(name for name in LABELS if name not in ("files", "chosen"))
PATH = re.compile(r"\$\.(?P<name>\w+)[^:]*: ")
PROTECTED = ("dreambooth", "ip-adapter")


def is_shown(name: str, kind: TrainingKind) -> bool:
    """Whether a field matters for a kind."""
    if name == "prior_prompt":
        return kind in PROTECTED
    if name == "token":
        return kind == "dreambooth"
    return kind in OWN_FIELDS.get(name, KINDS.values())


def payload_of(values: Sequence[Any]) -> dict[str, Any]:
    """The body of a training from the fields' values, in the order of `SENT`. Raises RequestError."""
    given = dict(zip(SENT, values, strict=True))
    kind = KINDS[given.pop("kind")]
    more = more_options(given.pop("more"))
    part = PARTS.get(given.pop("part"), "")
    shown = {name: value for name, value in {**given, "part": part}.items() if is_shown(name, kind)}
    filled = {name: _plain(value) for name, value in shown.items() if value not in ("", None, [])}
    if not filled.get("lr"):
        filled.pop("lr", None)
    if kind in PROTECTED and "prior_prompt" not in filled and "prior_pictures" not in more:
        filled["prior"] = 0.0
    if "backdrop" in filled and DEFAULTS[kind].get("background", "keep") == "keep":
        filled["background"] = "random"
    return {"kind": kind, **filled, **more}


def _plain(value: Any) -> Any:
    """A slider's whole number as an int."""
    whole = isinstance(value, float) and value.is_integer()
    return int(value) if whole else value.strip() if isinstance(value, str) else value


def labelled(message: str) -> str:
    """An error's message with the label of the field instead of its JSON path.

    >>> labelled("$.pictures: there is no folder 'mug'")
    "Folder with pictures: there is no folder 'mug'"
    """
    found = PATH.match(message)
    label = LABELS.get(found["name"]) if found else None
    return f"{label}: {message[found.end() :]}" if found and label else message


def more_options(text: str | None) -> dict[str, Any]:
    """The options in YAML. Raises RequestError."""
    try:
        found = yaml.safe_load(text or "") or {}
    except yaml.YAMLError as error:
        raise RequestError("$", f"the field {LABELS['more']!r} is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise RequestError("$", f"the field {LABELS['more']!r} needs lines such as 'flip: true'")
    return {str(name): value for name, value in found.items()}
