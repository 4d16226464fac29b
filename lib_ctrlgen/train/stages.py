"""The stages in order: towers, autoencoder, latents, U-Net, ControlNets, IP-Adapter, export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTokenizer

from lib_ctrlgen.train.clip import Towers, clip_job
from lib_ctrlgen.train.control import HINTS, awaken, control_job
from lib_ctrlgen.train.export import Family, export, normalise
from lib_ctrlgen.train.ip_adapter import ImageAdapter, adapter_job
from lib_ctrlgen.train.latents import build, moments
from lib_ctrlgen.train.loop import Job, Settings, fit
from lib_ctrlgen.train.networks import (
    freeze,
    new_control,
    new_unet,
    new_vae,
    seeded,
)
from lib_ctrlgen.train.unet import Frozen, unet_job
from lib_ctrlgen.train.vae import vae_job

TOKENIZER = Path(__file__).parents[1] / "assets/tiny/text"

SETTINGS: Mapping[str, Settings] = MappingProxyType(
    {
        "clip": Settings(steps=700, batch=128, lr=1e-3, ema=0.995, bf16=False),
        "vae": Settings(steps=3600, batch=16, lr=1e-3, ema=0.995),
        "vae-whole": Settings(steps=1200, batch=4, lr=6e-4, ema=0.995, warmup=50),
        "unet": Settings(steps=2500, batch=32, lr=1e-3, bf16=False),
        "joint": Settings(steps=2500, batch=32, lr=6e-4, warmup=40, bf16=False),
        "align": Settings(steps=120, batch=128, lr=1e-3, ema=0.99, warmup=20, bf16=False),
        "edges": Settings(steps=1500, batch=16, lr=1.2e-3, ema=0.995, warmup=50, bf16=False),
        "depth": Settings(steps=1500, batch=16, lr=1.2e-3, ema=0.995, warmup=50, bf16=False),
        "ip": Settings(steps=600, batch=16, lr=1e-3, ema=0.995, warmup=50, bf16=False),
    }
)
SCENES = 10_000
STAGES = tuple(SETTINGS)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where to write, from which seed, and whether only to try every stage out."""

    out: Path
    seed: int = 0
    quick: bool = False
    tokenizer: Path = TOKENIZER

    def settings(self, stage: str) -> Settings:
        """How a stage is trained in this run."""
        full = replace(SETTINGS[stage], seed=self.seed)
        return replace(full, steps=2, batch=4, warmup=1, log_every=1) if self.quick else full

    def fit(self, job: Job) -> None:
        """Train a job, or load it when its checkpoint is finished."""
        fit(replace(job, preview=None) if self.quick else job, self.out)

    def scenes(self) -> int:
        """How many scenes to encode."""
        return 50 if self.quick else SCENES


def clip_stage(run: Run) -> Towers:
    """Train or load the text and the vision tower."""
    seeded(run.seed)
    towers = Towers()
    tokenizer = CLIPTokenizer.from_pretrained(run.tokenizer)
    run.fit(clip_job("clip", towers, tokenizer, run.settings("clip")))
    freeze(towers)
    return towers


def vae_stage(run: Run) -> AutoencoderKL:
    """Train or load the autoencoder: on crops first, then on whole pictures."""
    seeded(run.seed)
    vae = new_vae()
    run.fit(vae_job("vae", vae, 64, run.settings("vae")))
    run.fit(vae_job("vae-whole", vae, 128, run.settings("vae-whole")))
    freeze(vae)
    normalise(vae, *moments(vae, 16 if run.quick else 256))
    return vae


def frozen_parts(run: Run) -> tuple[Towers, Frozen]:
    """Everything that the U-Net's training takes as given."""
    towers, vae = clip_stage(run), vae_stage(run)
    tokenizer = CLIPTokenizer.from_pretrained(run.tokenizer)
    stores = build(vae, run.out / "latents", run.scenes(), run.seed)
    return towers, Frozen(vae=vae, text=towers.text, tokenizer=tokenizer, stores=stores)


def unet_stage(run: Run, towers: Towers, frozen: Frozen) -> UNet2DConditionModel:
    """Train or load the U-Net: first alone, then with the text tower, which the vision tower follows.

    `frozen.text` is the tower in `towers`.
    """
    seeded(run.seed)
    unet = new_unet()
    run.fit(unet_job("unet", unet, frozen, run.settings("unet")))
    towers.text.requires_grad_(True)
    run.fit(unet_job("joint", unet, frozen, run.settings("joint"), tell=True))
    freeze(unet)
    towers.requires_grad_(True)
    freeze(towers.text)
    run.fit(clip_job("align", towers, frozen.tokenizer, run.settings("align")))
    freeze(towers)
    return unet


def control_stage(run: Run, name: str, unet: UNet2DConditionModel, frozen: Frozen) -> ControlNetModel:
    """Train or load the ControlNet called `name`."""
    seeded(run.seed)
    control = new_control(unet).requires_grad_(True)
    awaken(control, HINTS[name])
    run.fit(control_job(name, HINTS[name], (unet, control), frozen, run.settings(name)))
    freeze(control)
    return control


def adapter_stage(run: Run, unet: UNet2DConditionModel, towers: Towers, frozen: Frozen) -> ImageAdapter:
    """Train or load the IP-Adapter; leaves it installed in `unet`."""
    seeded(run.seed)
    adapter = ImageAdapter(unet)
    adapter.install(unet)
    run.fit(adapter_job(adapter, unet, towers.vision, frozen, run.settings("ip")))
    freeze(adapter)
    return adapter


def train(run: Run, last: str = "ip") -> None:
    """Train every stage up to `last`; after the last of all, write the export."""
    run.out.mkdir(parents=True, exist_ok=True)
    wanted = STAGES[: STAGES.index(last) + 1]
    if "unet" not in wanted:
        clip_stage(run)
        if last != "clip":
            vae_stage(run)
        return
    towers, frozen = frozen_parts(run)
    unet = unet_stage(run, towers, frozen)
    controls = {name: control_stage(run, name, unet, frozen) for name in HINTS if name in wanted}
    if last == "ip":
        weights = {key: value.clone() for key, value in unet.state_dict().items()}
        adapter = adapter_stage(run, unet, towers, frozen)
        plain = new_unet()
        plain.load_state_dict(weights)
        family = Family(
            towers=towers,
            vae=frozen.vae,
            unet=plain,
            controls=controls,
            adapter=adapter,
            seed=run.seed,
        )
        export(family, run.tokenizer, run.out / "export")
