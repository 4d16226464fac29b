"""The networks of controlnet_aux itself, where it is installed, against the maps of its detectors."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.dsine_network import EIGHTH, LAST, SIXTEENTH, dsine_encoder
from lib_ctrlgen.preprocessors.leres_boost import merging_network
from lib_ctrlgen.preprocessors.packages import detector_file
from tests.support.fake_detectors import forget_package

# The preprocessor, its detector in controlnet_aux, and the detector's arguments.
DETECTORS = (
    ("hed_safe", "hed", "HEDdetector", {"safe": True}),
    ("pidinet", "pidi", "PidiNetDetector", {}),
    ("softedge_teed", "teed", "TEEDdetector", {}),
    ("mlsd", "mlsd", "MLSDdetector", {}),
)


@pytest.fixture(autouse=True)
def installed() -> None:
    forget_package()
    if find_spec("controlnet_aux") is None:
        pytest.skip("could not import 'controlnet_aux'")


@pytest.mark.parametrize(("name", "file", "detector", "params"), DETECTORS)
def test_the_map_is_that_of_its_own_detector(
    name: str, file: str, detector: str, params: dict[str, Any], tmp_path: Path
) -> None:
    made: Any = preprocessor(name).with_store(ModelStore([tmp_path], 1 << 30))
    torch.manual_seed(1)
    network = made.network.build({}).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value) * 0.02)
    torch.save(network.state_dict(), tmp_path / made.network.weights)
    noise = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((96, 64), Image.Resampling.BICUBIC).resize((128, 64))
    sizes = {"detect_resolution": 64} | ({} if file == "teed" else {"image_resolution": 64})
    found = made(picture)
    forget_package()  # what was imported alone, of which the detector's file needs the whole
    wanted = getattr(detector_file(file), detector)(network)(picture, **sizes, **params)
    assert np.abs(np.asarray(found, int) - np.asarray(wanted, int)).max() <= 1


def test_mobile_sam_computes_its_biases_from_the_weights(tmp_path: Path) -> None:
    """For evaluation the network keeps attention biases in another form, computed from the weights."""
    pytest.importorskip("timm")
    made: Any = preprocessor("mobile_sam").with_store(ModelStore([tmp_path], 1 << 30))
    network = made.network.build({})
    tensors = network.state_dict()
    biases = "image_encoder.layers.1.blocks.0.attn.attention_biases"
    tensors[biases].normal_()
    torch.save(tensors, tmp_path / made.network.weights)
    loaded = made.network.load(made.store, made.device)
    attention = loaded.get_submodule(biases.rpartition(".")[0])
    assert torch.equal(attention.ab, tensors[biases][:, attention.attention_bias_idxs])
    assert attention.ab.std() > 0.5


def test_the_encoder_of_dsine_has_its_features_at_three_sizes() -> None:
    """The decoder of the published file expects these widths."""
    with torch.device("meta"):
        encoder = dsine_encoder()
        found = encoder(torch.zeros(1, 3, 64, 96))
    shapes = [tuple(found[place].shape[1:]) for place in (EIGHTH, SIXTEENTH, LAST)]
    assert shapes == [(64, 8, 12), (176, 4, 6), (2048, 2, 3)]
    assert "original_model.conv_stem.weight" in encoder.state_dict()


def test_the_network_that_merges_depths_has_ten_halvings() -> None:
    with torch.device("meta"):
        tensors = merging_network({}).state_dict()
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    assert shapes["model.model.0.weight"] == (64, 2, 4, 4)
    assert shapes["model.model.3.weight"] == (128, 1, 4, 4)
    assert max(key.count(".model.") for key in shapes) == 10
