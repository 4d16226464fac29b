"""What is trained gets gradients, and nothing else; networks are as before; files load where they should."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

pytest.importorskip("peft")

from lib_ctrlgen.models.embeddings.file import load_embedding
from lib_ctrlgen.models.loras.file import load_lora
from lib_ctrlgen.models.loras.fit import fitted
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.forward import encode_captions
from lib_ctrlgen.train.methods.base import Base, TrainingMethod
from lib_ctrlgen.train.methods.registry import method_of
from lib_ctrlgen.train.objective import Objective
from lib_ctrlgen.train.previews import make_previews, preview_requests
from tests.support import checkpoint_models, tiny_engine, training

WIDTH = 64  # of the random model's text features
LORA: dict[str, Any] = {"text_encoder": True, "convolutions": True}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.new_root(tmp_path_factory.mktemp("methods"))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdxl")
    source = checkpoint_models.sdxl()
    tensors = checkpoint_models.sdxl_tensors(source)
    checkpoint_models.write(folder / "model", "small-xl", tensors, checkpoint_models.SDXL_YAML)
    return folder


def method(spec: TrainingSpec, base: Base) -> TrainingMethod:
    found = method_of(spec, base)
    training.randomised(found.module())
    return found


def networks_of(base: Base) -> Iterator[nn.Module]:
    yield base.networks.unet
    yield from (each.encoder for each in base.networks.text_encoders)


def structure(base: Base) -> list[tuple[Any, ...]]:
    """Every module, parameter and hook of the networks."""
    found: list[tuple[Any, ...]] = []
    for network in networks_of(base):
        found += [(name, id(module)) for name, module in network.named_modules()]
        found += [(name, id(p), p.requires_grad) for name, p in network.named_parameters()]
        found.append((tiny_engine.hooks_of(network), sorted(vars(network))))
    return found


def loss(found: TrainingMethod, captions: tuple[str, ...]) -> torch.Tensor:
    objective = Objective.of(found.base.networks.noise, 5.0, torch.device("cpu"))
    batch = training.batch(captions, sizes=sizes_of(found.base, len(captions)))
    if not found.encodes_text:
        text = encode_captions(found.base.networks, captions)
        batch = training.batch(captions, sizes=batch.sizes, text=text.map(torch.Tensor.detach))
    return objective.loss(found, batch, objective.noised(batch.latents, torch.Generator().manual_seed(3)))


def sizes_of(base: Base, rows: int) -> torch.Tensor | None:
    return torch.tensor([[64.0, 64, 0, 0, 64, 64]] * rows) if base.networks.sized else None


CASES = [
    {"kind": "lora"},
    {"kind": "lora", **LORA},
    {"kind": "dreambooth", "token": "sks", "prior_prompt": "a shape", "text_encoder": True},
    {"kind": "textual-inversion", "vectors": 3, "initial": "ab"},
]


def spec_of(root: Path, fields: dict[str, Any]) -> TrainingSpec:
    return training.spec(root, **fields)


@pytest.mark.parametrize("fields", CASES, ids=lambda fields: "-".join(map(str, fields.values())))
def test_only_what_is_trained_has_gradients_and_networks_are_restored(
    root: Path, fields: dict[str, Any]
) -> None:
    base = training.base(root)
    before = structure(base)
    captions = ("a shape", "trained sks")
    with torch.no_grad():
        untouched = base.networks.unet(torch.ones(1, 4, 8, 8), 5, torch.ones(1, 77, WIDTH)).sample
    found = method(spec_of(root, fields), base)
    assert structure(base) == before
    with found.engaged():
        loss(found, captions).backward()
        assert structure(base) != before
    assert structure(base) == before
    trained = list(found.module().parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert {id(p) for p in trained} == {id(p) for group in found.groups() for p in group["params"]}
    assert not [p for network in networks_of(base) for p in network.parameters() if p.grad is not None]
    with torch.no_grad():
        again = base.networks.unet(torch.ones(1, 4, 8, 8), 5, torch.ones(1, 77, WIDTH)).sample
    assert torch.equal(untouched, again)


def test_networks_are_restored_after_an_error(root: Path) -> None:
    base = training.base(root)
    before = structure(base)
    for fields in (CASES[1], CASES[3]):
        found = method(spec_of(root, fields), base)
        with pytest.raises(KeyError), found.engaged():
            raise KeyError
        assert structure(base) == before


def test_a_new_lora_changes_nothing(root: Path) -> None:
    base = training.base(root)
    found = method_of(training.spec(root, **LORA), base)
    plain = method_of(training.spec(root), base)
    with torch.no_grad(), found.engaged():
        with_lora = loss(found, ("a shape",))
    with torch.no_grad():
        without = loss(plain, ("a shape",))
    assert with_lora.item() == pytest.approx(without.item(), rel=1e-5)


def test_the_exported_lora_acts_as_in_training(root: Path) -> None:
    """By the file alone: in kohya's layout, and with the same picture from the engine."""
    base = training.base(root)
    spec = training.spec(root, **LORA, out=str(root / "model" / "Lora" / "exported.safetensors"))
    found = method(spec, base)
    found.export(Path(spec.out), {"ss_output_name": "exported"})
    with safe_open(spec.out, "pt") as file:
        said = file.metadata()
    assert (said["ss_network_module"], said["ss_network_dim"]) == ("networks.lora", "2")
    assert json.loads(said["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "2.0"}
    assert len(said["sshs_model_hash"]) == 64
    keys = load_file(spec.out).keys()
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    assert {f"{layer}.lora_down.weight", f"{layer}.lora_up.weight", f"{layer}.alpha"} <= set(keys)
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight" in keys
    assert "lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight" in keys
    engine = training.engine(root)
    request = preview_requests(spec, ())[0]
    with found.engaged():
        inside = make_previews(engine, base.networks, [request])[0]
    tagged = tiny_engine.request(
        prompt=request.prompt + "<lora:exported:1>", cfg_scale=7, steps=2, sampler=request.sampler, units=[]
    )
    outside = engine.generate(tagged).images[0]
    plain = engine.generate(request).images[0]
    difference = np.abs(tiny_engine.pixels(inside) - tiny_engine.pixels(outside)).max()
    assert difference <= 2  # the file is fp16
    assert np.abs(tiny_engine.pixels(inside) - tiny_engine.pixels(plain)).max() > 10


def test_the_exported_embedding_acts_as_in_training(root: Path) -> None:
    base = training.base(root)
    out = root / "model" / "embeddings" / "neoword.safetensors"
    spec = training.spec(root, kind="textual-inversion", vectors=3, out=str(out), prompts=["a {token} b"])
    found = method(spec, base)
    method_of(spec, base).export(out, {})  # an earlier training's file, which previews must not read
    engine, request = training.engine(root), preview_requests(spec, ())[0]
    assert request.prompt == "a neoword b"
    with found.engaged():
        inside = make_previews(engine, found.shown(), [request])[0]
    found.export(out, {})
    outside = engine.generate(request).images[0]
    assert np.abs(tiny_engine.pixels(inside) - tiny_engine.pixels(outside)).max() <= 1
    pt = out.with_suffix(".pt")
    found.export(pt, {"ss_steps": "7"})
    content = torch.load(pt, weights_only=True)
    assert (content["step"], content["name"]) == (7, "neoword")
    assert torch.equal(content["string_to_param"]["*"], load_file(out)["emb_params"])
    assert torch.equal(load_embedding(pt).vectors[0], load_embedding(out).vectors[0])


def test_sdxl_has_kohyas_names_and_both_text_encoders(sdxl: Path) -> None:
    base = training.base(sdxl, base="small-xl")
    found = method(training.spec(sdxl, base="small-xl", **LORA), base)
    encode_captions(base.networks, ("",))  # at its first call transformers puts hooks of its own there
    before = structure(base)
    with found.engaged():
        loss(found, ("a shape", "")).backward()
    assert structure(base) == before
    out = sdxl / "xl.safetensors"
    found.export(out, {})
    keys = load_file(out).keys()
    assert not [key for key in keys if "down_blocks" in key or "lora_te_" in key]
    assert "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha" in keys
    networks = base.networks
    read = fitted(load_lora(out), "xl", networks.unet, [each.encoder for each in networks.text_encoders])
    assert not read.unmatched
    assert len(read.unet) + sum(map(len, read.texts)) == len(keys) // 3


def test_diffusers_reads_the_lora(root: Path) -> None:
    """Where its versions of peft and transformers fit together; else `fitted` above reads the same keys."""
    from diffusers.utils import USE_PEFT_BACKEND

    if not USE_PEFT_BACKEND:
        pytest.skip("diffusers 0.31 reads LoRAs only with transformers 4.34 or newer")
    from lib_ctrlgen.headless.checkpoints.load import load_pipeline

    base = training.base(root)
    found = method(training.spec(root, **LORA), base)
    out = root / "diffusers.safetensors"
    found.export(out, {})
    engine = training.engine(root)
    pipeline = load_pipeline(root / "model" / "ctrlgen-tiny.safetensors", engine.store, engine.place)
    given = torch.ones(1, 4, 8, 8), 5, torch.ones(1, 77, WIDTH)
    with torch.no_grad():
        with found.engaged():
            inside = base.networks.unet(*given).sample
        pipeline.load_lora_weights(str(out))
        outside = pipeline.unet(*given).sample
    assert torch.allclose(inside, outside, atol=2e-2 * float(inside.abs().max()))
