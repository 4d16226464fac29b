"""What a user asks of a training: one type for the command line, files, and pages that start a training.

>>> training_spec({"kind": "lora", "base": "m", "pictures": "photos", "out": "style.safetensors"}).lr
0.0001
>>> training_spec({"kind": "lora", "base": "m", "pictures": "photos", "out": "style.png"})
Traceback (most recent call last):
    ...
lib_ctrlgen.errors.RequestError: $.out: must end with .safetensors, is 'style.png'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, get_args

from msgspec import Meta
from msgspec.structs import replace

from lib_ctrlgen.errors import RequestError, nearest

from .base import Spec
from .spec import parse_request, to_payload

TrainingKind: TypeAlias = Literal["ip-adapter", "lora", "dreambooth", "textual-inversion"]
AdapterPart: TypeAlias = Literal["tokens", "low-rank", "whole"]
Precision: TypeAlias = Literal["auto", "fp32", "fp16", "bf16"]
RateSchedule: TypeAlias = Literal["constant", "cosine", "linear"]

Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, Meta(gt=0)]
AtLeast0: TypeAlias = Annotated[float, Meta(ge=0)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000)]
Count0: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]

KINDS: tuple[TrainingKind, ...] = get_args(TrainingKind)
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
BACKGROUNDS = ("keep", "random")
BACKDROPS = ("", "auto")
CLASS_PROMPT = re.compile(r"a photo of an? (?P<name>.+)", re.IGNORECASE)
# Fields that may differ when a training is continued: they do not change the weights of any step.
CHANGEABLE = frozenset({"save_every", "out", "pictures", "masks", "prior_pictures"})


class TrainingSpec(Spec, frozen=True, kw_only=True):
    """A training on a user's own pictures. Paths are those of the process that trains.

    kind             what is trained: an IP-Adapter, a LoRA, a LoRA for one subject (dreambooth), an embedding
    base             the checkpoint, by name or path
    pictures         a folder with pictures; NAME.txt or NAME.caption beside a picture is its caption
    out              the file that is written; everything else of the run lies in NAME.training/ beside it
    captions         the caption of pictures without a file of their own; {name} is the picture's file name
                     without suffix, {token} the token; for dreambooth the class of prior_prompt follows the
                     token when captions are not given: "a photo of a dog" makes "a photo of {token} dog"
    masks            a folder with masks of the same file names, white where the subject is; a picture's alpha
                     channel is its mask, too
    backdrop         the one colour that is behind the subject in pictures without a mask, by which it is cut
                     out: #rrggbb, or auto for the colour of each picture's border
    background       what is behind the subject of a picture with a mask: keep, random (another colour each
                     time), or a colour as #rrggbb; for an IP-Adapter, in its reference pictures alone
    masked_loss      whether the loss counts only where the mask is white
    resolution       the side in pixels of the square whose area the pictures are scaled to
    buckets          whether pictures keep their aspect ratio, else they are cropped to squares
    flip             whether pictures are mirrored at random; leave it off for writing, logos and faces
    hold_out         how many pictures are kept out of the training, to measure it
    steps            optimiser steps
    batch            pictures of one forward and backward pass
    accumulation     passes whose gradients are added up for one optimiser step
    lr               the learning rate of AdamW
    lr_text          the learning rate of the text encoders' LoRA; that of the U-Net when 0
    lr_schedule      how the learning rate falls after the warm-up
    warmup           steps in which the learning rate rises from 0
    weight_decay     of AdamW
    clip             the largest norm of the gradients; 0 does not clip them
    ema              the decay of the averaged weights, which are the ones exported; 0 turns the average off
    min_snr          gamma of min-SNR weighting (Hang et al. 2023); 0 turns it off
    drop_text        the share of captions replaced by the empty one
    drop_image       the share of reference pictures replaced by none (IP-Adapter)
    prior            the weight of prior preservation (Ruiz et al. 2023); 0 turns it off
    prior_pictures   a folder with pictures of the class, or other reference pictures for an IP-Adapter; when
                     empty, the base model makes them
    prior_prompt     the caption of those of the prior's pictures that have none, such as "a photo of a dog"
    prior_count      how many pictures the base model makes for the prior
    precision        of the forward pass; auto is bf16 or fp16 on a GPU, and fp32 on a CPU
    checkpointing    compute activations again in the backward pass: less memory, more time
    seed             of everything random: batches, noise, initial weights
    save_every       steps between checkpoints
    validate_every   steps between validations with previews; there is always one before the first step and
                     one after the last, and with 0 no other
    patience         validations without improvement after which the training stops; 0 never stops early
    accuracy_drop    how far prompt accuracy may fall below its value before the training
    prompts          what the previews show, {token} is the token
    preview_steps    sampler steps of a preview
    preview_cfg      the guidance scale of a preview
    rank             of the low-rank matrices (LoRA, dreambooth, low-rank IP-Adapter)
    alpha            the LoRA's scale is alpha / rank; 0 takes the rank
    text_encoder     whether a LoRA is trained on the text encoders, too
    convolutions     whether a LoRA is trained on the U-Net's resnets, too (LoCon)
    token            the word that names the subject (dreambooth); an embedding's is its file's name
    initial          the words that an embedding starts from
    vectors          how many tokens an embedding takes
    adapter          the IP-Adapter file that the training starts from
    encoder          the CLIP vision encoder by name, when more than one fits the adapter
    part             what is trained of an IP-Adapter: image tokens only, a low-rank change of its keys and
                     values, or the whole adapter
    license          written into the file
    """

    kind: TrainingKind
    base: str
    pictures: str
    out: str
    captions: str = ""
    masks: str = ""
    backdrop: str = ""
    background: str = "keep"
    masked_loss: bool = False
    resolution: Annotated[int, Meta(ge=64, le=4096, multiple_of=8)] = 512
    buckets: bool = True
    flip: bool = False
    hold_out: Count0 = 1
    steps: Count = 1000
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1
    accumulation: Annotated[int, Meta(ge=1, le=1024)] = 1
    lr: Positive = 1e-4
    lr_text: AtLeast0 = 0.0
    lr_schedule: RateSchedule = "constant"
    warmup: Count0 = 0
    weight_decay: AtLeast0 = 0.01
    clip: AtLeast0 = 1.0
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    min_snr: AtLeast0 = 5.0
    drop_text: Share = 0.05
    drop_image: Share = 0.05
    prior: AtLeast0 = 0.0
    prior_pictures: str = ""
    prior_prompt: str = ""
    prior_count: Annotated[int, Meta(ge=1, le=10_000)] = 100
    precision: Precision = "auto"
    checkpointing: bool = False
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    save_every: Count = 100
    validate_every: Count0 = 200
    patience: Count0 = 5
    accuracy_drop: Share = 0.05
    prompts: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    preview_steps: Annotated[int, Meta(ge=1, le=200)] = 20
    preview_cfg: Annotated[float, Meta(ge=1, le=30)] = 7.0
    rank: Annotated[int, Meta(ge=1, le=1024)] = 16
    alpha: AtLeast0 = 0.0
    text_encoder: bool = False
    convolutions: bool = False
    token: str = ""
    initial: str = ""
    vectors: Annotated[int, Meta(ge=1, le=75)] = 1
    adapter: str = ""
    encoder: str = ""
    part: AdapterPart = "low-rank"
    license: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("base", "pictures", "out"):
            if not getattr(self, name).strip():
                raise RequestError(name, "must not be empty")
        self._check_file()
        self._check_background()
        self._check_kind()

    def _check_file(self) -> None:
        suffixes = (".safetensors", ".pt") if self.kind == "textual-inversion" else (".safetensors",)
        if PurePath(self.out).suffix not in suffixes:
            raise RequestError("out", f"must end with {' or '.join(suffixes)}, is {self.out!r}")

    def _check_background(self) -> None:
        if self.background not in BACKGROUNDS and not COLOUR.fullmatch(self.background):
            raise RequestError("background", f"is keep, random or #rrggbb, not {self.background!r}")
        if self.backdrop not in BACKDROPS and not COLOUR.fullmatch(self.backdrop):
            raise RequestError("backdrop", f"is auto or #rrggbb, not {self.backdrop!r}")
        if self.backdrop and self.background == "keep" and not self.masked_loss:
            raise RequestError(
                "backdrop", "does nothing alone: give background (random or #rrggbb) or masked_loss, too"
            )

    def _check_kind(self) -> None:
        """Raise RequestError for fields that the kind needs."""
        needed = {
            "ip-adapter": ("adapter",),
            "lora": (),
            "dreambooth": ("token",),
            "textual-inversion": ("token",),
        }
        for name in needed[self.kind]:
            if not getattr(self, name).strip():
                raise RequestError(name, f"is needed to train {self.kind}")
        captioned = self.prior_prompt.strip() or self.prior_pictures
        if self.kind != "ip-adapter" and self.prior and not captioned:
            raise RequestError("prior_prompt", "names the class of the subject, such as 'a photo of a dog'")
        if len(self.token.split()) > 1:
            raise RequestError("token", f"must be one word, is {self.token!r}")
        if self.kind == "textual-inversion" and self.token != PurePath(self.out).stem:
            raise RequestError(
                "token", f"is the file's name in prompts, {PurePath(self.out).stem!r}: leave it out"
            )

    def token_word(self) -> re.Pattern[str]:
        """Matches the token where it is a word of a caption or prompt, also beside punctuation."""
        return re.compile(rf"(?<!\w){re.escape(self.token)}(?!\w)")

    def caption(self, name: str) -> str:
        """The caption of a picture without a caption file; `name` is its file name without suffix."""
        words = name.replace("_", " ").replace("-", " ")
        return filled(self.captions, name=words, token=self.token).strip()

    @property
    def class_name(self) -> str:
        """The class of the subject without article, from `prior_prompt`; empty where it does not name one."""
        found = CLASS_PROMPT.fullmatch(self.prior_prompt.strip())
        return "" if found is None else found["name"]

    def preview_prompts(self) -> tuple[str, ...]:
        """The prompts of the previews."""
        return tuple(filled(text, name="", token=self.token) for text in self.prompts)


LORAS = ("lora", "dreambooth")
# Fields that only some kinds have.
OWN_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "rank": (*LORAS, "ip-adapter"),
        "alpha": (*LORAS, "ip-adapter"),
        "text_encoder": LORAS,
        "lr_text": LORAS,
        "convolutions": LORAS,
        "token": ("dreambooth", "textual-inversion"),
        "initial": ("textual-inversion",),
        "vectors": ("textual-inversion",),
        "drop_image": ("ip-adapter",),
        "adapter": ("ip-adapter",),
        "encoder": ("ip-adapter",),
        "part": ("ip-adapter",),
    }
)
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ip-adapter": {"lr": 1e-4, "background": "random", "ema": 0.99, "prior": 1.0},
        "lora": {"lr": 1e-4},
        "dreambooth": {"lr": 1e-4, "prior": 1.0, "captions": "a photo of {token}", "ema": 0.99},
        "textual-inversion": {
            "lr": 5e-3,
            "weight_decay": 0.0,
            "captions": "a photo of {token}",
            "drop_text": 0.0,
        },
    }
)


def training_spec(payload: Mapping[str, Any]) -> TrainingSpec:
    """The training that a payload asks for, with the defaults of its kind. Raises RequestError."""
    kind = payload.get("kind")
    if kind not in KINDS:
        raise RequestError("$.kind", f"{kind!r} cannot be trained ({nearest(str(kind), KINDS)})")
    for name in payload:
        if kind not in OWN_FIELDS.get(name, KINDS):
            raise RequestError(f"$.{name}", f"does nothing for {kind}: leave it out")
    named = {"token": PurePath(str(payload.get("out"))).stem} if kind == "textual-inversion" else {}
    spec = parse_request({**DEFAULTS[kind], **named, **payload}, TrainingSpec)
    if kind == "dreambooth" and "captions" not in payload and spec.class_name:
        return replace(spec, captions=f"{spec.captions} {spec.class_name}")
    return spec


def training_payload(spec: TrainingSpec) -> dict[str, Any]:
    """The training as JSON types, from which `training_spec` makes an equal one.

    Values are written also where they are the fields' defaults, because those of the kinds are others.
    """
    others = {name for name, kinds in OWN_FIELDS.items() if spec.kind not in kinds}
    return {name: value for name, value in to_payload(spec, whole=True).items() if name not in others}


def filled(template: str, *, name: str, token: str) -> str:
    """A template with `{name}` and `{token}` replaced; other braces stay."""
    return template.replace("{name}", name).replace("{token}", token)
