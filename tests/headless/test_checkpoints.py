"""SD2 and SDXL in the headless engine compared with diffusers' own pipelines on the same networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_ctrlgen.headless.checkpoints.load import Place, load_networks
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.batching import alike
from tests.support import checkpoint_models as checkpoints
from tests.support.checkpoint_engine import (
    CHECKPOINTS,
    CPU,
    EDGES,
    TOLERANCE,
    Change,
    changed,
    hooks_of,
    latents_of,
    off,
    request,
    theirs,
)

pytest_plugins = ["tests.support.checkpoint_engine"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_single_file_gives_the_networks_it_was_written_from(checkpoint_root: Path, name: str) -> None:
    source = CHECKPOINTS[name][0]()
    loaded = load_networks(
        checkpoint_root / name / f"{name}.safetensors", ModelStore([checkpoint_root], 1 << 30), CPU
    )
    mine = loaded.unet, loaded.vae, *(tower.encoder for tower in loaded.text_encoders)
    for one, other in zip(mine, (source.unet, source.vae, *source.texts), strict=True):
        ours, wanted = one.state_dict(), other.state_dict()
        assert ours.keys() == wanted.keys()
        assert all(torch.equal(ours[key], wanted[key]) for key in ours)
    assert loaded.vae.config.scaling_factor == 0.25


V: dict[str, Change] = {
    "sd2": lambda _tensors, params: params.update(parameterization="v"),
    "sdxl": lambda _tensors, params: params["denoiser_config"]["params"]["scaling_config"].update(
        target="sgm.modules.diffusionmodules.denoiser_scaling.VScaling"
    ),
}
KEYED: dict[str, Change] = {"sdxl": lambda tensors, _params: tensors.update(v_pred=torch.zeros(0))}


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_pictures_are_diffusers_own(
    checkpoint_root: Path, tmp_path: Path, name: str, prediction: str
) -> None:
    pipeline = CHECKPOINTS[name][2](CHECKPOINTS[name][0](), tmp_path / "tokenizers", prediction)
    pipeline.save_pretrained(tmp_path / "models" / "folder")
    changes = [V[name], *([KEYED[name]] if name in KEYED else [])] if prediction != "epsilon" else [nothing]
    for number, change in enumerate(changes):
        changed(checkpoint_root, tmp_path / "models" / str(number), name, change)
    engine = Engine([tmp_path / "models"], 1 << 30, CPU)
    wanted = theirs(pipeline, request())
    for model in ("folder", *(f"{number}/{name}" for number in range(len(changes)))):
        mine = latents_of(engine, request(model=model))
        assert mine.shape == (1, 4, 12, 8)
        assert off(mine, wanted) < TOLERANCE


def nothing(_tensors: Any, _params: Any) -> None: ...


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_an_empty_negative_prompt_is_none_to_sdxl_and_a_text_to_sd2(
    checkpoint_engine: Engine, tmp_path: Path, name: str
) -> None:
    wanted = request(model=name, negative_prompt="")
    pipeline = CHECKPOINTS[name][2](CHECKPOINTS[name][0](), tmp_path)
    other = theirs(pipeline, wanted, **({"negative_prompt": None} if name == "sdxl" else {}))
    assert off(latents_of(checkpoint_engine, wanted), other) < TOLERANCE


def test_prompts_differ(checkpoint_engine: Engine) -> None:
    for name in CHECKPOINTS:
        first = latents_of(checkpoint_engine, request(model=name))
        assert off(latents_of(checkpoint_engine, request(model=name, prompt="a blue ring")), first) > 1e-2


def test_a_picture_of_sdxl_is_decoded_as_diffusers_does(checkpoint_engine: Engine, tmp_path: Path) -> None:
    wanted = request()
    pipeline = checkpoints.sdxl_pipeline(checkpoints.sdxl(), tmp_path)
    latents = theirs(pipeline, wanted) / 0.25
    with torch.no_grad():
        other = pipeline.image_processor.postprocess(pipeline.vae.decode(latents).sample)[0]
    mine = checkpoint_engine.generate(wanted).images[0]
    assert mine.size == (64, 96)
    assert np.abs(np.asarray(mine).astype(int) - np.asarray(other)).max() <= 1


def test_half_precision_keeps_sdxls_autoencoder_and_the_sampler_in_float32(
    checkpoint_root: Path, tmp_path: Path
) -> None:
    place = Place(device=torch.device("cpu"), dtype=torch.bfloat16)
    engine = Engine([checkpoint_root / "sdxl", checkpoint_root], 1 << 30, place)
    for model in ("sdxl", "sdxl-folder"):
        networks = engine.load(model)
        assert (networks.unet.dtype, networks.vae.dtype) == (torch.bfloat16, torch.float32)
        latents = latents_of(engine, request(prompt="a AND b", model=model, steps=1))
        assert latents.dtype == torch.float32
        assert engine.generate(request(model=model, steps=1)).images[0].size == (64, 96)
        assert hooks_of(networks.unet) == 0


CELLS: dict[str, list[dict[str, Any]]] = {
    "windows": [{"units": [EDGES | {"guidance_end": end}]} for end in (0, 0.34, 0.67)],
    "prompts": [
        {"prompt": "a (red:glow=1) star AND ring :0.5", "prompt_weights": {"glow": glow}}
        for glow in (1, "1>3", 4)
    ],
    "mixed texts": [
        {
            "prompt": "",
            "blend": {"mode": "embedding", "concepts": [{"prompt": "a", "weight": w}, {"prompt": "b"}]},
        }
        for w in (0, "0>1", 2)
    ],
    "seeds": [
        {"seed": seed, "negative_prompt": "", "cfg_scale": scale} for seed, scale in ((0, 3), (5, "3>1"))
    ],
}


@pytest.mark.parametrize(("kind", "sampler"), zip(CELLS, ["Euler a", "DPM++ 2M"] * 2, strict=True))
def test_cells_together_are_as_alone(checkpoint_engine: Engine, kind: str, sampler: str) -> None:
    cells = [request(**{"sampler": sampler, **fields}) for fields in CELLS[kind]]
    assert all(alike(cell) == alike(cells[0]) for cell in cells)
    together = latents_of(checkpoint_engine, *cells)
    alone = torch.cat([latents_of(checkpoint_engine, cell) for cell in cells])
    assert off(together, alone) < TOLERANCE
    assert off(together[:1], together[-1:]) > 1e-3


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_mode_of_a_blend_makes_a_picture(checkpoint_engine: Engine, name: str) -> None:
    plain = latents_of(checkpoint_engine, request(model=name, steps=2))
    for mode in ("prediction", "perpendicular", "saliency", "embedding", "seeds", "trajectory"):
        own = {"seed": 3} if mode in ("seeds", "trajectory") else {}
        blend = {
            "mode": mode,
            "concepts": [
                {"prompt": "" if mode == "seeds" else "a"},
                {**own, "prompt": "b" if mode != "seeds" else ""},
            ],
        }
        prompt = "a red star" if mode == "seeds" else ""
        pictures = 3 if mode == "trajectory" else 1
        made = latents_of(
            checkpoint_engine,
            request(model=name, prompt=prompt, blend=blend, batch_size=pictures, steps=2),
        )
        assert torch.isfinite(made).all()
        assert off(made[:1], plain) > 1e-3
