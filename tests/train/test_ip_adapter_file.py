"""The exported file is an ordinary IP-Adapter, which acts everywhere as it did in the training."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_ctrlgen.controls.ip_adapter.file import load_adapter
from lib_ctrlgen.controls.registry import identify_file
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.tensor_files import read_metadata, read_tensors
from lib_ctrlgen.train.methods.base import Base
from lib_ctrlgen.train.methods.ip_adapter import IPAdapterMethod
from tests.support import adapter_training as trainings
from tests.support.tiny_engine import request

KINDS = [
    ("plain", "tokens"),
    ("plain", "low-rank"),
    ("plain", "whole"),
    ("plus", "tokens"),
    ("plus", "whole"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return trainings.base_in(tmp_path_factory.mktemp("models"))


def exported(base: Base, folder: Path, adapter: str, part: str) -> tuple[IPAdapterMethod, Path]:
    """A method after two large steps, and its file."""
    method = IPAdapterMethod.create(trainings.spec(adapter, part, lr=0.3), base)
    method.learn(method.references(trainings.pictures(4)), None)
    trainings.trained(base, method, [[trainings.batch(base, method)]] * 2)
    path = folder / f"{adapter}-{part}.safetensors"
    method.export(path, {"base": "ctrlgen-tiny", "license": "CC0", "steps": "2"})
    return method, path


def in_diffusers(unet: Any, path: Path) -> Any:
    """A U-Net with the adapter of a file, loaded by diffusers."""
    tensors = read_tensors(path)
    parts = {
        name: {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(name)}
        for name in ("image_proj", "ip_adapter")
    }
    loaded = deepcopy(unet)
    loaded._load_ip_adapter_weights([parts])
    return loaded


@pytest.mark.parametrize(("adapter", "part"), KINDS)
def test_it_predicts_in_diffusers_as_in_the_training(
    base: Base, tmp_path: Path, adapter: str, part: str
) -> None:
    method, path = exported(base, tmp_path, adapter, part)
    shown = trainings.batch(base, method)
    noised = trainings.drawn(base, shown)
    with method.engaged(), torch.no_grad():
        ours = method.predict(shown, noised.noisy, noised.timesteps)
        before = method.prior_target(shown, noised.noisy, noised.timesteps, noised.noise)
    features = method._features(shown.references, shown.unreferenced)
    assert shown.text is not None
    with torch.no_grad():
        theirs = in_diffusers(base.networks.unet, path)(
            noised.noisy,
            noised.timesteps,
            shown.text.states,
            added_cond_kwargs={"image_embeds": [features[:, None]]},
        ).sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (ours - before).abs().max() > 1e-4


@pytest.mark.parametrize(("adapter", "part"), KINDS)
def test_its_tensors_are_those_of_the_adapter_that_it_started_from(
    base: Base, tmp_path: Path, adapter: str, part: str
) -> None:
    """The flat key layout that CtrlGen, the WebUI's extensions and ComfyUI read."""
    method, path = exported(base, tmp_path, adapter, part)
    ours, first = read_tensors(path), read_tensors(method.path)
    assert {key: value.shape for key, value in ours.items()} == {k: v.shape for k, v in first.items()}
    assert identify_file(path) == identify_file(method.path)
    changed = {key.split(".")[0] for key in ours if not torch.equal(ours[key], first[key])}
    assert (
        changed
        == {
            "tokens": {"image_proj"},
            "low-rank": {"ip_adapter"},
            "whole": {"image_proj", "ip_adapter"},
        }[part]
    )
    loaded = load_adapter(path, Placement(device=trainings.CPU, dtype=torch.float32))
    features = method.references(trainings.pictures(2))
    with torch.no_grad():
        tokens: Tensor = loaded.projection(features)
        torch.testing.assert_close(tokens, method.adapter.head(features), atol=1e-6, rtol=1e-6)


def test_its_metadata_says_what_it_needs(base: Base, tmp_path: Path) -> None:
    method, path = exported(base, tmp_path, "plus", "low-rank")
    found = read_metadata(path)
    assert found["base"] == "ctrlgen-tiny"
    assert found["license"] == "CC0"
    assert found["steps"] == "2"
    assert found["clip_encoder"].startswith("clip_vision")
    assert "[" in found["clip_encoder"]
    assert found["hidden_state"] == "hidden_states[-2]"
    assert found["tokens"] == str(method.adapter.tokens)
    assert found["adapter"].startswith("plus [")
    assert "rank 4" in found["trained"]


def test_an_untrained_file_makes_the_same_picture_in_the_engine(base: Base, tmp_path: Path) -> None:
    """And a trained one another picture: the engine reads what was written."""
    folder = base.store.roots[0]
    method = IPAdapterMethod.create(trainings.spec("plain", "low-rank"), base)
    method.export(folder / "untrained.safetensors", {})
    exported(base, folder, "plain", "whole")
    engine = Engine([folder], 1 << 30)
    first, same, other = (
        np.asarray(engine.generate(request({"model": name, "weight": 2})).images[0]).astype(int)
        for name in ("plain", "untrained", "plain-whole")
    )
    assert np.abs(first - same).max() <= 1
    assert np.abs(first - other).max() > 2
