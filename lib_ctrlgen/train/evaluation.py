"""Judges a training by its previews: pictures of fixed prompts and seeds.

Likeness is that of the previews to the held-out views, accuracy that to their prompts, both by CLIP
embeddings as in the tuner's scores. The bundled vision encoder judges the bundled model alone. An
IP-Adapter's previews are made with the exported file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lib_ctrlgen.files import new_folder
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.request.unit import ControlUnit
from lib_ctrlgen.tuner.scoring.clip_likeness import ClipTextEncoder, embedding
from lib_ctrlgen.tuner.scoring.scores import cosine

from .dataset.backgrounds import replaced
from .methods.ip_adapter import IPAdapterMethod
from .prepare import Prepared
from .previews import FOLDER, make_previews, preview_requests, save_previews
from .vision import likeness_of

CLASS_PREFIX = "a photo of "
WHITE = "#ffffff"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What previews show; None where something is not measured. See `validation.Measured`."""

    likeness: float | None = None
    accuracy: float | None = None
    previews: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KnownTexts(ClipTextEncoder):
    """A text encoder that encoded some texts before the training, which may change it."""

    known: Mapping[str, Tensor] = field(default_factory=dict)

    def pooled(self, text: str) -> Tensor:
        """The pooled output [X] of one of the texts."""
        return self.known[text]


class Evaluation:
    """Makes and measures previews of a training at its validations. It is made before a method is engaged."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        views = (*prepared.pictures.held_out, *prepared.pictures.training)
        self.requests = preview_requests(prepared.spec, views)
        self.texts = [plain_prompt(request.prompt, prepared.spec) for request in self.requests]
        self.scores = likeness_of(prepared.base)
        self.encoder = self._text_encoder()
        self.held_out = self._embeddings([view.read()[0] for view in prepared.pictures.held_out])

    def measure(self, step: int) -> Evaluated:
        """Make and measure the previews with the weights of now. The method is engaged."""
        pictures = self._previews()
        return Evaluated(
            likeness=self._likeness(pictures),
            accuracy=self._accuracy(pictures),
            previews=save_previews(pictures, self.prepared.folder, step),
        )

    def _previews(self) -> list[Image.Image]:
        prepared, method = self.prepared, self.prepared.method
        if not isinstance(method, IPAdapterMethod):
            return make_previews(prepared.engine, method.shown(), self.requests)
        folder = new_folder(prepared.folder / FOLDER)
        file = folder / "adapter.safetensors"
        method.export(file, {})
        unit = ControlUnit(model=str(file.resolve()), image=self._reference())
        requests = [replace(request, units=(unit,)) for request in self.requests]
        with method.paused():
            return make_previews(prepared.engine, method.shown(), requests, folder)

    def _reference(self) -> str:
        """The first picture of the training, with the background that references have."""
        spec = self.prepared.spec
        background = WHITE if spec.background == "random" else spec.background
        return encode_image(replaced(*self.prepared.pictures.training[0].read(), background, ()))

    def _likeness(self, pictures: Sequence[Image.Image]) -> float | None:
        """The mean cosine of the previews' and the held-out views' embeddings, -1..1."""
        pairs = [cosine(one, other) for one in self._embeddings(pictures) for other in self.held_out]
        return float(np.mean(pairs)) if pairs else None

    def _embeddings(self, pictures: Sequence[Image.Image]) -> list[NDArray[np.float32]]:
        """CLIP's embeddings of pictures; none without an encoder."""
        encoder, store = self.scores.encoder, self.scores.store
        return [] if encoder is None else [embedding(picture, encoder, store) for picture in pictures]

    def _accuracy(self, pictures: Sequence[Image.Image]) -> float | None:
        """The mean cosine of the previews' and their prompts' embeddings, -1..1."""
        found = [
            self.scores.prompt(picture, text, self.encoder).values
            for picture, text in zip(pictures, self.texts, strict=True)
        ]
        values = [scores["prompt"] for scores in found if scores]
        return float(np.mean(values)) if values else None

    def _text_encoder(self) -> KnownTexts | None:
        """The checkpoint's text encoder as it is now."""
        first = self.prepared.base.networks.text_encoders[0]
        if not first.whole:
            return None
        now = ClipTextEncoder(tokenizer=first.tokenizer, transformer=first.encoder)
        known = {text: now.pooled(text) for text in self.texts}
        return KnownTexts(tokenizer=first.tokenizer, transformer=first.encoder, known=known)


def plain_prompt(prompt: str, spec: TrainingSpec) -> str:
    """A prompt as CLIP knows it: with the class or the initial words in the place of the token.

    The class may follow the token, as in "a photo of sks dog".
    """
    if not spec.token:
        return prompt
    words = spec.initial or spec.prior_prompt.removeprefix(CLASS_PREFIX)
    behind = rf"(?:\s+{re.escape(spec.class_name)}(?!\w))?" if spec.class_name else ""
    token = re.compile(spec.token_word().pattern + behind)
    return " ".join(token.sub(lambda _: words, prompt).split())
