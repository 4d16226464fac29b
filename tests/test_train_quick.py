"""A few steps of every training stage, and what comes out of them."""

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

from lib_ctrlgen.train.__main__ import main
from lib_ctrlgen.train.export import normalise
from lib_ctrlgen.train.layouts import prefixed, unet_to_ldm, vae_to_ldm
from lib_ctrlgen.train.loop import Average
from lib_ctrlgen.train.networks import SCALE_FACTOR, new_control, new_unet, new_vae, seeded
from lib_ctrlgen.train.stages import TOKENIZER

NAME = "ctrlgen-tiny"


@pytest.mark.skipif(not (TOKENIZER / "vocab.json").exists(), reason="the bundled tokenizer is missing")
def test_every_stage_runs_resumes_and_exports(tmp_path: Path) -> None:
    torch.set_num_threads(2)
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
