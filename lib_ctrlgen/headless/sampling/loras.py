"""The LoRAs of a request's prompts: found by name, fitted to the checkpoint, and weighted at each step."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lib_ctrlgen.errors import at_path
from lib_ctrlgen.headless.checkpoints.networks import Networks
from lib_ctrlgen.models.loras.file import load_lora
from lib_ctrlgen.models.loras.find import find_lora, hash_of
from lib_ctrlgen.models.loras.fit import FittedLora, fitted
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.prompts.networks import TAG, LoraTag, require_known, require_once
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.session.loras import LoraHooks

from .prompt_encoder import PromptEncoder

PROMPT = "$.prompt"
HASHES = "Lora hashes"  # the WebUI's key in infotexts


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedLora:
    """A LoRA of a prompt, fitted to the checkpoint. `key` identifies its file and its number of ranks."""

    tag: LoraTag
    layers: FittedLora
    key: Hashable
    hash: str


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptLoras:
    """The LoRAs of a prompt, in its order. They act on all rows, also on those of the negative prompt."""

    loras: tuple[LoadedLora, ...] = ()

    @property
    def infotext(self) -> dict[str, str]:
        """The WebUI's entry for infotexts: names and hashes; empty without LoRAs."""
        names = {lora.tag.name.translate(str.maketrans("", "", ":,")): lora.hash for lora in self.loras}
        return {HASHES: ", ".join(f"{name}: {digest}" for name, digest in names.items())} if names else {}

    def unet_weights(self, progress: float) -> tuple[float, ...]:
        """The weights in the U-Net at `progress` in [0, 1]."""
        return tuple(lora.tag.unet(progress) for lora in self.loras)

    def text_weights(self, progress: float) -> tuple[float, ...]:
        """The weights in the text encoders; 0 for a LoRA that does not change them."""
        return tuple(lora.tag.te(progress) if any(lora.layers.texts) else 0.0 for lora in self.loras)

    def on_unet(self, networks: Networks) -> LoraHooks:
        """The hooks on the U-Net."""
        return LoraHooks(networks.unet, [lora.layers.unet for lora in self.loras])

    @contextmanager
    def on_text(self, encoder: PromptEncoder, progress: float) -> Iterator[None]:
        """Let a prompt encoder encode with the weights of `progress`; its cache keeps them apart."""
        weights = self.text_weights(progress)
        if not any(weights):
            yield
            return
        key = tuple((lora.key, weight) for lora, weight in zip(self.loras, weights, strict=True) if weight)
        with ExitStack() as stack:
            for number, tower in enumerate(encoder.text_encoders):
                changes = [lora.layers.texts[number] for lora in self.loras]
                stack.enter_context(LoraHooks(tower.encoder, changes, weights))
            stack.enter_context(encoder.changed(key))
            yield


NO_LORAS = PromptLoras()


def load_loras(
    tags: Sequence[LoraTag], store: ModelStore, networks: Networks, checkpoint: Path, notices: Notices
) -> PromptLoras:
    """Find, read and fit the LoRAs of a prompt. Raises RequestError at `$.prompt`.

    Layers that the checkpoint does not have are reported as a notice.
    """
    with at_path(PROMPT):
        require_once([tag.name for tag in tags])
        return PromptLoras(loras=tuple(_loaded(tag, store, networks, checkpoint, notices) for tag in tags))


def note_negative(negative: str, notices: Notices) -> None:
    """Add a notice for a tag in a negative prompt, which is read as words there, as in the WebUI."""
    found = TAG.search(negative)
    if found:
        notices.add("$.negative_prompt", f"{found[0]} is read as words: write LoRAs into the prompt")


def _loaded(
    tag: LoraTag, store: ModelStore, networks: Networks, checkpoint: Path, notices: Notices
) -> LoadedLora:
    with at_path(PROMPT):
        require_known(tag)
    path = find_lora(store.files, tag.name)
    key = (stamp(path), tag.dyn)

    def fit() -> FittedLora:
        towers = networks.text_encoders
        return fitted(
            store.get(path, load_lora),
            tag.name,
            networks.unet,
            [tower.encoder for tower in towers],
            tag.dyn,
            whole=[tower.whole for tower in towers],
        )

    device, dtype = networks.unet.device, networks.unet.dtype
    layers = store.cached(("fitted lora", key, stamp(checkpoint), str(device), dtype), fit)
    if layers.unmatched:
        known = len(layers.unet) + sum(map(len, layers.texts))
        notices.add(
            PROMPT,
            f"<lora:{tag.name}>: the checkpoint lacks {len(layers.unmatched)} of its "
            f"{known + len(layers.unmatched)} layers, first {layers.unmatched[0]}",
        )
    return LoadedLora(tag=tag, layers=layers, key=key, hash=hash_of(store.files, path))
