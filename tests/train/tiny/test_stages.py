"""A few steps of every training stage, and the files that they write."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors.torch import load_file

from lib_ctrlgen.train.tiny.__main__ import main
from lib_ctrlgen.train.tiny.bundle import read_base, read_controls
from lib_ctrlgen.train.tiny.clip import ClipNetworks
from lib_ctrlgen.train.tiny.control import HINTS
from lib_ctrlgen.train.tiny.export import TrainedNetworks, checkpoint, normalise
from lib_ctrlgen.train.tiny.layouts import halved, prefixed, unet_to_ldm, vae_to_ldm
from lib_ctrlgen.train.tiny.loop import Average
from lib_ctrlgen.train.tiny.muon import orthogonal
from lib_ctrlgen.train.tiny.networks import CONTEXT, SCALE_FACTOR, new_control, new_unet, new_vae, seeded
from lib_ctrlgen.train.tiny.stages import TOKENIZER
from lib_ctrlgen.train.tiny.together import JointNetworks

NAME = "ctrlgen-tiny"


@pytest.mark.skipif(not (TOKENIZER / "vocab.json").exists(), reason="the bundled tokenizer is missing")
def test_every_stage_runs_resumes_and_exports(tmp_path: Path) -> None:
    main(["--out", str(tmp_path), "--quick"])
    export = tmp_path / "export"
    made = load_file(export / f"{NAME}.safetensors")
    main(["--out", str(tmp_path), "--quick"])  # everything is loaded, nothing trained again
    again = load_file(export / f"{NAME}.safetensors")
    assert made.keys() == again.keys()
    assert all(torch.equal(made[key], again[key]) for key in made)
    assert "model.diffusion_model.input_blocks.0.0.weight" in made
    assert made["cond_stage_model.transformer.text_model.embeddings.position_ids"].dtype == torch.int64
    adapter = load_file(export / f"ControlNet/{NAME}-ip.safetensors")
    assert "ip_adapter.31.to_v_ip.weight" in adapter
    assert (export / f"clip_vision/{NAME}-vision/preprocessor_config.json").exists()


@pytest.mark.skipif(not (TOKENIZER / "vocab.json").exists(), reason="the bundled tokenizer is missing")
def test_two_workers_go_on_from_an_export_and_agree(tmp_path: Path) -> None:
    start = TOKENIZER.parent
    main(["--out", str(tmp_path), "--quick", "--workers", "2", "--start", str(start)])
    before = load_file(start / f"{NAME}.safetensors")
    after = load_file(tmp_path / "export" / f"{NAME}.safetensors")
    assert before.keys() == after.keys()
    learned = {key for key in before if not torch.equal(before[key], after[key])}
    assert learned
    assert all(key.startswith(("model.diffusion_model.", "cond_stage_model.")) for key in learned)


def test_reading_an_export_gives_back_what_was_written() -> None:
    towers, vae, unet = ClipNetworks(), new_vae(), new_unet()
    read_base(TOKENIZER.parent, towers, vae, unet)
    whole = JointNetworks(unet, {name: new_control(unet) for name in HINTS})
    read_controls(TOKENIZER.parent, whole)
    family = TrainedNetworks(towers=towers, vae=vae, whole=whole, seed=0)
    files = {
        f"{NAME}.safetensors": checkpoint(family),
        f"ControlNet/{NAME}-ip.safetensors": whole.adapter.flat(),
    }
    for name, control in whole.controls.items():
        files[f"ControlNet/{NAME}-{name}.safetensors"] = prefixed(
            "control_model.", unet_to_ldm(control.state_dict())
        )
    for name, weights in files.items():
        assert_same(load_file(TOKENIZER.parent / name), halved(weights))


def test_muon_turns_a_matrix_into_its_orthogonal_factor() -> None:
    matrices = torch.randn(3, 64, 20, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity(orthogonal(matrices).flatten(1), (left @ right).flatten(1))
    assert cosine.min() > 0.98
    wide = matrices.transpose(1, 2)
    torch.testing.assert_close(orthogonal(wide), orthogonal(matrices).transpose(1, 2))


@torch.no_grad()
def test_a_reference_at_weight_zero_changes_nothing() -> None:
    seeded(3)
    unet = new_unet()
    noisy, steps, states = torch.randn(2, 4, 8, 8), torch.tensor([10, 700]), torch.randn(2, 77, CONTEXT)
    plain = unet(noisy, steps, states).sample
    whole = JointNetworks(unet, {})
    embeds = torch.randn(2, CONTEXT)
    off = whole(noisy, steps, states, {"weight": torch.zeros(2)}, embeds)
    torch.testing.assert_close(off, plain, atol=1e-5, rtol=1e-5)
    half = whole(noisy, steps, states, {"weight": torch.tensor([0.0, 0.5])}, embeds)
    torch.testing.assert_close(half[0], plain[0], atol=1e-5, rtol=1e-5)
    assert (half[1] - plain[1]).abs().max() > 1e-3


def test_layouts_are_the_inverse_of_diffusers_reading() -> None:
    seeded(1)
    unet, vae = new_unet(), new_vae()
    control = new_control(unet)
    read = convert_ldm_unet_checkpoint(
        prefixed("model.diffusion_model.", unet_to_ldm(unet.state_dict())), dict(unet.config)
    )
    assert_same(read, unet.state_dict())
    read = convert_ldm_vae_checkpoint(
        prefixed("first_stage_model.", vae_to_ldm(vae.state_dict())), dict(vae.config)
    )
    shapes = {key: value.shape for key, value in vae.state_dict().items()}
    assert_same({key: value.reshape(shapes[key]) for key, value in read.items()}, vae.state_dict())
    ldm = prefixed("control_model.", unet_to_ldm(control.state_dict()))
    assert_same(convert_controlnet_checkpoint(ldm, dict(control.config)), control.state_dict())


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


@torch.no_grad()
def test_normalising_keeps_pictures_and_changes_latents() -> None:
    seeded(2)
    vae = new_vae()
    picture = torch.rand(2, 3, 64, 64) * 2 - 1
    before = vae.encode(picture).latent_dist
    drawn = vae.decode(before.mean).sample
    mean, std = torch.tensor([0.5, -1.0, 0.0, 2.0]), torch.tensor([2.0, 0.5, 1.0, 3.0])
    normalise(vae, mean, std)
    after = vae.encode(picture).latent_dist
    torch.testing.assert_close(vae.decode(after.mean).sample, drawn, atol=1e-4, rtol=1e-4)
    wanted = (before.mean - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(after.mean * SCALE_FACTOR, wanted, atol=1e-4, rtol=1e-4)


def test_the_average_follows_and_swaps_back() -> None:
    layer = torch.nn.Linear(2, 2)
    start = layer.weight.detach().clone()
    average = Average(layer, decay=0.5)
    with torch.no_grad():
        layer.weight += 1
    average.update(step=1000)
    average.swap()
    np.testing.assert_allclose(layer.weight.detach(), start + 0.5, rtol=1e-5)
    average.swap()
    np.testing.assert_allclose(layer.weight.detach(), start + 1, rtol=1e-5)
