"""Whole trainings on SD2, which predicts v, and SDXL: the command, its files, and what they do headless."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from torch import Tensor

pytest.importorskip("peft")

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.cli import train as command
from lib_ctrlgen.controls.registry import identify_file
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.models.tensor_files import read_metadata, read_tensors
from lib_ctrlgen.request.training import training_spec
from lib_ctrlgen.request.training_state import TrainingState, ask_to_stop
from lib_ctrlgen.train.checkpoint import NAME
from lib_ctrlgen.train.dataset.batches import Batches
from lib_ctrlgen.train.evaluation import Evaluation
from lib_ctrlgen.train.loop import Loop, generator_of
from lib_ctrlgen.train.prepare import Prepared
from lib_ctrlgen.train.previews import FOLDER
from lib_ctrlgen.train.run import folder_of
from tests.support import checkpoint_models as checkpoints
from tests.support import family_models as models
from tests.support import training
from tests.support.tiny_engine import request

WIDTH, HEIGHT = 80, 48  # the bucket of 64² pixels for this aspect ratio
SIZES = (HEIGHT, WIDTH, 0, 0, HEIGHT, WIDTH)
FOLDERS = {
    "lora": "Lora",
    "dreambooth": "Lora",
    "textual-inversion": "embeddings",
    "ip-adapter": "ControlNet",
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """A checkpoint, the networks that it was written from, and diffusers' pipeline on them."""

    name: str
    prediction: str
    source: checkpoints.Source
    pipeline: Any


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures; the models come with their families."""
    found = tmp_path_factory.mktemp("families")
    (found / "pictures").mkdir()
    for number in range(3):
        training.picture(number, WIDTH, HEIGHT).save(found / "pictures" / f"view{number}.png")
    return found


@pytest.fixture(scope="module")
def sd2(root: Path) -> Family:
    source = models.write_sd2(root / "model")
    models.write_controls(root / "model", models.SD2, models.SD2_UNET)
    pipeline = checkpoints.sd2_pipeline(source, root / "tokenizers")
    return Family(name=models.SD2, prediction="v_prediction", source=source, pipeline=pipeline)


@pytest.fixture(scope="module")
def sdxl(root: Path) -> Family:
    source = models.write_sdxl(root / "model")
    models.write_controls(root / "model", models.SDXL, models.SDXL_UNET)
    pipeline = checkpoints.sdxl_pipeline(source, root / "tokenizers-xl")
    return Family(name=models.SDXL, prediction="epsilon", source=source, pipeline=pipeline)


@pytest.fixture
def families(sd2: Family, sdxl: Family) -> dict[str, Family]:
    return {"sd2": sd2, "sdxl": sdxl}


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[Prepared]:
    """What the command prepared, each time that it ran."""
    seen: list[Prepared] = []
    announce = command.announce

    def keep(found: Prepared) -> None:
        seen.append(found)
        announce(found)

    monkeypatch.setattr(command, "announce", keep)
    return seen


@pytest.fixture
def stopped(prepared: list[Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's first run is asked to stop after its first step; the second one estimates no cost."""
    show = command._show

    def stop(state: TrainingState, report: Any) -> None:
        show(state, report)
        if (state.status, state.step, len(prepared)) == ("training", 1, 1):
            training.leave_out_estimate(monkeypatch)
            ask_to_stop(prepared[0].folder)

    monkeypatch.setattr(command, "_show", stop)


def words(root: Path, family: Family, kind: str, *options: str) -> tuple[list[str], Path]:
    """The command, and the file that it writes."""
    out = root / "model" / FOLDERS[kind] / f"{kind}-{family.name}.safetensors"
    return [
        "train", kind, "--base", family.name, "--pictures", str(root / "pictures"), "--out", str(out),
        "--models", str(root / "model"), "--resolution", "64", "--steps", "2", "--lr", "0.03",
        "--save-every", "1", "--validate-every", "2", "--preview-steps", "1", "--prompts", "a {token} shape",
        "--drop-text", "0", "--ema", "0", "--hold-out", "0", "--threads", "1", *options,
    ], out  # fmt: skip


def trained(*wanted: Any) -> Path:
    """Train in one go; the file."""
    arguments, out = words(*wanted)
    assert cli.main(arguments) == 0
    return out


def resumed(*wanted: Any) -> Path:
    """Train with a stop after the first step; the file."""
    arguments, out = words(*wanted)
    assert cli.main(arguments) == command.STOPPED
    run = folder_of(training_spec({"kind": "lora", "base": "x", "pictures": "x", "out": str(out)}))
    assert torch.load(run / NAME, weights_only=True)["step"] == 1
    assert cli.main(arguments) == 0
    assert torch.load(run / NAME, weights_only=True)["step"] == 2
    assert (run / "report.html").is_file()
    return out


def acts(prepared: Prepared, prompt: str, *units: dict[str, Any]) -> None:
    """The engine makes the last preview with the file alone, which is not that before the training."""
    spec = prepared.spec
    same = {"model": spec.base, "steps": 1, "sampler": "DPM++ 2M", "cfg_scale": 7, "seed": spec.seed}
    made = prepared.engine.generate(request(*units, prompt=prompt, **same)).images[0]
    first, last = (Image.open(prepared.folder / FOLDER / f"00000{step}-0.png") for step in (0, 2))
    assert difference(made, last) <= 2  # a LoRA's file is fp16
    assert difference(made, first) > 10


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, int) - np.asarray(other.convert("RGB"), int)).max())


def first_loss(prepared: Prepared, family: Family) -> float:
    """The loss of the first step by diffusers' scheduler, text encoders and U-Net; its LoRA does nothing."""
    loop, _ = prepared.with_prior().loop()
    return sum(weight * loss_of(batches, loop, family) for batches, weight in loop.sources)


@torch.no_grad()
def loss_of(batches: Batches, loop: Loop, family: Family) -> float:
    batch = batches.draw(0, 0)
    drawn = loop.objective.noised(batch.latents, generator_of(loop.spec.seed, 0, 0, int(batches.prior)))
    noise, times = drawn.noise, drawn.timesteps
    scheduler = DDPMScheduler(**checkpoints.NOISE, prediction_type=family.prediction)
    noisy = scheduler.add_noise(batch.latents, noise, times)
    states, added = encoded(family, batch.captions, SIZES if not batches.prior else (64, 64, 0, 0, 64, 64))
    predicted = family.source.unet(noisy, times, states, added_cond_kwargs=added).sample
    snr = scheduler.alphas_cumprod[times] / (1 - scheduler.alphas_cumprod[times])
    if family.prediction == "epsilon":
        target, weights = noise, snr.clamp(max=5) / snr
    else:
        target, weights = scheduler.get_velocity(batch.latents, noise, times), snr.clamp(max=5) / (snr + 1)
    return float(((predicted - target).square().mean((1, 2, 3)) * weights).mean())


def encoded(
    family: Family, captions: Sequence[str], sizes: tuple[int, ...]
) -> tuple[Tensor, dict[str, Tensor] | None]:
    """Captions as diffusers' pipeline encodes them, and what SDXL's U-Net reads beside them."""
    found = family.pipeline.encode_prompt(
        list(captions), device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    if family.name == models.SD2:
        return found[0], None
    return found[0], {"text_embeds": found[2], "time_ids": torch.tensor([sizes] * len(captions))}


def loss_at_start(prepared: Prepared) -> float:
    """The loss of the first step, which the checkpoint keeps."""
    return float(torch.load(prepared.folder / NAME, weights_only=True)["progress"]["losses"][0])


def latent_of(prepared: Prepared, number: int) -> Tensor:
    """The mean of a training picture's latent."""
    return prepared.loop()[0].sources[0][0].whole(number).latents


@torch.no_grad()
def theirs(root: Path, family: Family) -> np.ndarray:
    """The mean latent of the first picture by the source's autoencoder."""
    vae = family.source.vae
    with Image.open(root / "pictures" / "view0.png") as shown:
        pixels = to_hint(shown.convert("RGB")) * 2 - 1
    return np.asarray(vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor)


@pytest.mark.usefixtures("stopped")
def test_a_lora_on_sdxl(root: Path, sdxl: Family, prepared: list[Prepared]) -> None:
    options = ("--text-encoder", "--convolutions", "--rank", "2", "--captions", "a shape")
    out = resumed(root, sdxl, "lora", *options)
    assert loss_at_start(prepared[0]) == pytest.approx(first_loss(prepared[0], sdxl), rel=1e-4)
    assert latent_of(prepared[0], 0).numpy() == pytest.approx(theirs(root, sdxl), abs=1e-4)
    said = read_metadata(out)
    assert (said["ss_base_model_version"], said["ss_v2"]) == ("sdxl_base_v1-0", "False")
    keys = {key.partition("_text_model_")[0] for key in read_tensors(out) if key.startswith("lora_te")}
    assert keys == {"lora_te1", "lora_te2"}
    acts(prepared[1], f"a  shape<lora:{out.stem}:1>")


def test_dreambooth_on_sd2(root: Path, sd2: Family, prepared: list[Prepared]) -> None:
    """Its prior's pictures are the model's own, and its target is v."""
    options = ("--token", "sks", "--prior-prompt", "a shape", "--prior-count", "1", "--text-encoder")
    out = trained(root, sd2, "dreambooth", "--rank", "2", *options)
    assert loss_at_start(prepared[0]) == pytest.approx(first_loss(prepared[0], sd2), rel=1e-4)
    assert latent_of(prepared[0], 0).numpy() == pytest.approx(theirs(root, sd2), abs=1e-4)
    said = read_metadata(out)
    assert (said["ss_base_model_version"], said["ss_v2"]) == ("sd_v2_v", "True")
    assert said["modelspec.prediction_type"] == "v"
    acts(prepared[0], f"a sks shape<lora:{out.stem}:1>")


@pytest.mark.usefixtures("not_estimated")
@pytest.mark.parametrize(("name", "widths"), [("sd2", (1024,)), ("sdxl", (768, 1280))])
def test_an_embedding(
    root: Path, name: str, widths: tuple[int, ...], prepared: list[Prepared], families: dict[str, Family]
) -> None:
    out = trained(root, families[name], "textual-inversion", "--vectors", "2")
    keys = ("clip_l", "clip_g") if len(widths) > 1 else ("emb_params",)
    found = {key: tuple(each.shape) for key, each in read_tensors(out).items()}
    assert found == {key: (2, width) for key, width in zip(keys, widths, strict=True)}
    acts(prepared[0], f"a {out.stem} shape")


@pytest.mark.usefixtures("not_estimated")
@pytest.mark.parametrize("name", ["sd2", "sdxl"])
def test_an_ip_adapter(root: Path, name: str, prepared: list[Prepared], families: dict[str, Family]) -> None:
    start = root / "model" / f"{families[name].name}-ip-adapter.safetensors"
    options = ("--adapter", start.stem, "--rank", "2", "--captions", "a shape", "--prior", "0", "--lr", "0.3")
    out = trained(root, families[name], "ip-adapter", *options)
    first, last = read_tensors(start), read_tensors(out)
    assert {key: each.shape for key, each in last.items()} == {key: each.shape for key, each in first.items()}
    assert identify_file(out) == identify_file(start)
    acts(prepared[0], "a  shape", {"model": out.stem, "image": Evaluation(prepared[0])._reference()})
