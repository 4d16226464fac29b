"""The embeddings of textual inversion that prompts may name, for a loaded checkpoint."""

from __future__ import annotations

from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.models.embeddings.find import Embeddings
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.notices import Notices

from .chunks import token_ids

HASHES = "TI hashes"  # the WebUI's key in infotexts


def embeddings_for(networks: Networks, store: ModelStore) -> Embeddings:
    """The embeddings of a store that prompts for these networks may name, as the folders are now."""
    tokenizer = networks.tokenizer
    return Embeddings(
        store=store,
        tokenize=lambda text: token_ids(text, tokenizer),
        widths=tuple(tower.width for tower in networks.text_encoders),
    )


def infotext_of(embeddings: Embeddings) -> dict[str, str]:
    """The WebUI's entry for infotexts: names and hashes; empty where no prompt names an embedding."""
    return (
        {HASHES: ", ".join(f"{name}: {each}" for name, each in embeddings.used.items())}
        if embeddings.used
        else {}
    )


def note_embeddings(embeddings: Embeddings, notices: Notices) -> None:
    """Add a notice for each embedding that a prompt names but that is for another checkpoint family."""
    for name, reason in embeddings.unfit.items():
        notices.add("$.prompt", f"the embedding '{name}' is read as words: {reason}")
