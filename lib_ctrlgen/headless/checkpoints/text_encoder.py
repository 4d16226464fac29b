"""Text encoders: their architectures, their tokenizers, and how chunks of tokens are encoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTokenizer

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.tensor_files import read_json

from .clean_text import clean_text

CLIP = "openai/clip-vit-large-patch14"
VIT_H, BIG_G = "ViT-H-14", "ViT-bigG-14"
TOKENIZER_FILES = ("vocab.json", "merges.txt")
OPEN_CLIP_PAD = 0


def _architecture(width: int, layers: int, heads: int, act: str, projection: int) -> Mapping[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": act,
        "projection_dim": projection,
    }


PUBLISHED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        CLIP: _architecture(768, 12, 12, "quick_gelu", 768),
        VIT_H: _architecture(1024, 24, 16, "gelu", 1024),
        BIG_G: _architecture(1280, 32, 20, "gelu", 1280),
    }
)
FIELDS = {
    *PUBLISHED[CLIP],
    "vocab_size",
    "max_position_embeddings",
    "layer_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
}


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """A text encoder of transformers with its tokenizer.

    pad: the token that fills a chunk behind the end token; hidden: use the hidden states before the last
    layer without the final norm (SDXL), else the encoder's output; whole: False where unused last layers of a
    published architecture are left out.
    """

    tokenizer: Any
    encoder: Any
    pad: int
    hidden: bool = False
    whole: bool = True

    @property
    def width(self) -> int:
        """The width X of the token embeddings."""
        return int(self.encoder.config.hidden_size)

    def encode(
        self, ids: Sequence[int], vectors: Sequence[tuple[int, Tensor]] = ()
    ) -> tuple[Tensor, Tensor | None]:
        """Encode a chunk: states [1, T, X], and the pooled, projected state [1, P] where there is one.

        `vectors` are pairs of a place among the tokens and the embeddings [n, X] that are put there.
        """
        tokens = torch.tensor([ids], device=self.encoder.device)
        with torch.no_grad(), embedded(self.encoder, vectors):
            found = self.encoder(tokens, output_hidden_states=self.hidden)
        states = found.hidden_states[-2] if self.hidden else found.last_hidden_state
        return states, getattr(found, "text_embeds", None)


@contextmanager
def embedded(encoder: Any, vectors: Sequence[tuple[int, Tensor]]) -> Iterator[None]:
    """Put vectors in the place of the embeddings of tokens; those that reach over the last token are cut."""

    def put(_module: object, _args: object, output: Tensor) -> Tensor:
        output = output.clone()
        for place, rows in vectors:
            count = min(len(rows), output.shape[1] - place)
            output[:, place : place + count] = rows[:count].to(output)
        return output

    handle = encoder.get_input_embeddings().register_forward_hook(put) if vectors else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def read_text_config(folder: Path | None, name: str = CLIP, unused: int = 0) -> CLIPTextConfig:
    """The config of a text encoder, from a folder's config.json or a published architecture's name.

    The last `unused` layers are left out.
    """
    found: dict[str, Any] = dict(PUBLISHED.get(name, {}))
    if folder is not None:
        content = read_json(folder / "config.json")
        inner = content.get("text_config") or content
        found = {key: value for key, value in inner.items() if key in FIELDS}
    config = CLIPTextConfig(**found)
    config.num_hidden_layers -= unused
    return config


def read_tokenizer(folder: Path | None) -> Any:
    """CLIP's tokenizer from a folder, or from the local Hugging Face cache. Raises ModelError."""
    if folder is not None:
        return _tokenizer_of(folder)
    with suppress(OSError, ValueError):
        return _opened(CLIP)
    raise ModelError(
        f"the tokenizer of {CLIP} is not on this machine: "
        "give a folder with its vocab.json and merges.txt (--tokenizer FOLDER)"
    )


def _tokenizer_of(folder: Path) -> Any:
    """Load a folder's tokenizer. transformers 5 writes only tokenizer.json, which 4 cannot read."""
    missing = [name for name in TOKENIZER_FILES if not (folder / name).is_file()]
    if missing and not (folder / "tokenizer.json").is_file():
        raise ModelError(f"the text folder {folder} lacks {' and '.join(missing)}")
    try:
        return _opened(str(folder))
    # transformers raises many kinds of exceptions on broken folders
    except Exception as error:
        wanted = " and ".join(missing or TOKENIZER_FILES)
        raise ModelError(f"the tokenizer in {folder} cannot be read: put CLIP's {wanted} there") from error


def read_padded(folder: Path) -> tuple[Any, int]:
    """The tokenizer of a diffusers folder, and the token that it pads with.

    OpenCLIP's text encoders are padded with "!". The tokenizer is loaded with the end token as padding,
    because a tokenizer that pads with "!" would split every text at "!", which OpenCLIP does not.
    """
    declared = _tokenizer_of(folder)
    pad = int(declared.pad_token_id)
    if pad == declared.eos_token_id:
        return declared, pad
    return _opened(str(folder), pad_token=declared.eos_token), pad


def _opened(source: str, **options: Any) -> Any:
    """Load a tokenizer. Without ftfy, transformers 4 would strip accents, which the WebUI does not."""
    tokenizer = CLIPTokenizer.from_pretrained(source, local_files_only=True, **options)
    if hasattr(tokenizer, "fix_text"):
        tokenizer.fix_text = clean_text
    return tokenizer
