"""The stages of the training in order: encoders, autoencoder, latents, U-Net, then all controls together."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTokenizer

from lib_ctrlgen.train.tiny import workers

from .bundle import read_base, read_controls
from .clip import ClipNetworks, clip_job
from .control import HINTS, freeze_hint_layers, scale_hint_layers
from .export import TrainedNetworks, export, normalise
from .latents import build, moments
from .loop import Job, Settings, fit
from .networks import freeze, new_control, new_unet, new_vae, seeded
from .together import JointNetworks, together_job
from .unet import FrozenNetworks, unet_job
from .vae import vae_job

TOKENIZER = Path(__file__).parents[2] / "assets/tiny/text"

SETTINGS: Mapping[str, Settings] = MappingProxyType(
    {
        "clip": Settings(steps=700, batch=128, lr=1e-3, ema=0.995, bf16=False),
        "vae": Settings(steps=3600, batch=16, lr=1e-3, ema=0.995),
        "vae-whole": Settings(steps=1200, batch=4, lr=6e-4, ema=0.995, warmup=50),
        "unet": Settings(steps=2000, batch=16, lr=1e-3, muon=2e-3, warmup=40, bf16=False),
        "align": Settings(steps=120, batch=128, lr=1e-3, ema=0.99, warmup=20, bf16=False),
        "words": Settings(steps=400, batch=64, lr=1e-3, ema=0.98, warmup=20, bf16=False),
        "together": Settings(steps=1100, batch=24, lr=7e-4, muon=1.2e-3, bf16=False),
    }
)
SCENES = 6_400
STAGES = tuple(SETTINGS)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The options of a training run: output folder, seed, the model to start from, and quick tests.

    `start` is the folder of an exported model: only the last two stages are then trained, from its weights.
    """

    out: Path
    seed: int = 0
    quick: bool = False
    start: Path | None = None
    tokenizer: Path = TOKENIZER

    def settings(self, stage: str) -> Settings:
        """The settings of a stage in this run."""
        full = replace(SETTINGS[stage], seed=self.seed)
        return replace(full, steps=2, batch=4, warmup=1, log_every=1, bf16=False) if self.quick else full

    def fit(self, job: Job) -> None:
        """Train a job, or load it if its checkpoint is finished."""
        fit(replace(job, preview=None) if self.quick else job, self.out)

    def scenes(self) -> int:
        """The number of scenes to encode."""
        return 17 if self.quick else SCENES


def clip_stage(run: Run) -> ClipNetworks:
    """Train or load the text and the vision encoder."""
    seeded(run.seed)
    towers = ClipNetworks()
    tokenizer = CLIPTokenizer.from_pretrained(run.tokenizer)
    run.fit(clip_job("clip", towers, tokenizer, run.settings("clip")))
    freeze(towers)
    return towers


def vae_stage(run: Run) -> AutoencoderKL:
    """Train or load the autoencoder, on crops first, then on whole pictures."""
    seeded(run.seed)
    vae = new_vae()
    run.fit(vae_job("vae", vae, 64, run.settings("vae")))
    run.fit(vae_job("vae-whole", vae, 128, run.settings("vae-whole")))
    freeze(vae)
    normalise(vae, *moments(vae, 2 if run.quick else 256))
    return vae


def base_stages(run: Run) -> tuple[ClipNetworks, FrozenNetworks, UNet2DConditionModel]:
    """Train or load the networks that the U-Net's training needs, and create or load its U-Net."""
    if run.start is None:
        towers, vae = clip_stage(run), vae_stage(run)
        seeded(run.seed)
        unet = new_unet()
    else:
        towers, vae, unet = ClipNetworks(), new_vae(), new_unet()
        read_base(run.start, towers, vae, unet)
        freeze(towers)
        freeze(vae)
        words_stage(run, towers)
    tokenizer = CLIPTokenizer.from_pretrained(run.tokenizer)
    stores = workers.leader_first(lambda: build(vae, run.out / "latents", run.scenes(), run.seed))
    return towers, FrozenNetworks(vae=vae, text=towers.text, tokenizer=tokenizer, stores=stores), unet


def unet_stage(run: Run, towers: ClipNetworks, frozen: FrozenNetworks, unet: UNet2DConditionModel) -> None:
    """Train or load the U-Net together with the text encoder; the vision encoder is then adapted.

    `frozen.text` is the text encoder in `towers`.
    """
    towers.text.requires_grad_(True)
    run.fit(unet_job("unet", unet, frozen, run.settings("unet"), train_text=True))
    towers.requires_grad_(True)
    freeze(towers.text)
    run.fit(clip_job("align", towers, frozen.tokenizer, run.settings("align")))
    freeze(towers)


def words_stage(run: Run, towers: ClipNetworks) -> None:
    """Train a loaded text encoder to distinguish words; the vision encoder stays as it is."""
    before = copy.deepcopy(towers.text)
    towers.text.requires_grad_(True)
    towers.text_projection.requires_grad_(True)
    towers.word_probe.requires_grad_(True)
    tokenizer = CLIPTokenizer.from_pretrained(run.tokenizer)
    run.fit(clip_job("words", towers, tokenizer, run.settings("words"), near=before))
    freeze(towers)


def together_stage(
    run: Run, towers: ClipNetworks, frozen: FrozenNetworks, unet: UNet2DConditionModel
) -> JointNetworks:
    """Train or load the U-Net, the ControlNets and the IP-Adapter together."""
    seeded(run.seed)
    controls = {name: new_control(unet).requires_grad_(True) for name in HINTS}
    for name, control in controls.items():
        scale_hint_layers(control, HINTS[name])
        freeze_hint_layers(control)
    whole = JointNetworks(unet.requires_grad_(True), controls)
    if run.start is not None:
        read_controls(run.start, whole)
    run.fit(together_job(whole, towers.vision, frozen, run.settings("together")))
    freeze(whole)
    return whole


def prepare(run: Run, last: str = "together") -> None:
    """Run the stages of a single process: encoders, autoencoder, and the latents that it encodes."""
    run.out.mkdir(parents=True, exist_ok=True)
    if run.start is None and STAGES.index(last) < STAGES.index("unet"):
        clip_stage(run)
        if last != "clip":
            vae_stage(run)
        return
    base_stages(run)


def finish(run: Run, last: str = "together") -> None:
    """Run the stages that several processes share, up to `last`; the first process writes the export."""
    towers, frozen, unet = base_stages(run)
    if run.start is None:
        unet_stage(run, towers, frozen, unet)
    if last != "together":
        return
    whole = together_stage(run, towers, frozen, unet)
    if workers.rank() == 0:
        export(
            TrainedNetworks(towers=towers, vae=frozen.vae, whole=whole, seed=run.seed),
            run.tokenizer,
            run.out / "export",
        )


def train(run: Run, last: str = "together", count: int = 1) -> None:
    """Train every stage up to `last`, the large ones in `count` processes; finished stages are loaded."""
    prepare(run, last)
    if STAGES.index(last) < STAGES.index("unet"):
        return
    if count == 1:
        finish(run, last)
    else:
        workers.launch(count, partial(finish, run, last))
