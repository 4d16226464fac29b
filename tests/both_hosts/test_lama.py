"""LaMa: its network, its published file, and the holes that it fills before sampling."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_ctrlgen.controls.postprocess.lama import FourierUnit, LamaNetwork
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.sampling import run as sampling
from lib_ctrlgen.headless.sampling.batch import PromptBatch
from tests.support.holed_requests import CPU, request
from tests.support.networks import randomise


@pytest.fixture(scope="module")
def lama() -> LamaNetwork:
    network = randomise(LamaNetwork(8, 2), 3, 0.3)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) + 0.5)
    return network


@pytest.fixture
def with_lama(root: Path, tmp_path: Path, lama: LamaNetwork) -> Engine:
    tensors = {f"generator.{key}": value for key, value in lama.state_dict().items()}
    (tmp_path / "lama").mkdir()
    torch.save({"state_dict": tensors | {"other": torch.zeros(1)}}, tmp_path / "lama/ControlNetLama.pth")
    return Engine([root, tmp_path], 1 << 30, CPU)


def test_the_fourier_unit_is_a_convolution_of_the_spectrum() -> None:
    unit = randomise(FourierUnit(3), 5, 0.5)
    x = torch.randn(2, 3, 6, 10, generator=torch.Generator().manual_seed(0))
    spectrum = np.fft.rfft2(x.numpy(), norm="ortho")
    parts = np.stack([spectrum.real, spectrum.imag], 2).reshape(2, 6, *spectrum.shape[2:])
    weight = unit.conv_layer.weight[:, :, 0, 0].numpy()
    scale = (unit.bn.weight / (unit.bn.running_var + unit.bn.eps).sqrt()).numpy()
    made = np.einsum("oc,bchw->bohw", weight, parts)
    made = (made - unit.bn.running_mean.numpy()[:, None, None]) * scale[:, None, None]
    made = np.maximum(made + unit.bn.bias.numpy()[:, None, None], 0).reshape(2, 3, 2, *spectrum.shape[2:])
    wanted = np.fft.irfft2(made[:, :, 0] + 1j * made[:, :, 1], s=(6, 10), norm="ortho")
    assert np.abs(unit(x).numpy() - wanted).max() < 1e-5


def test_big_lama_has_the_published_names() -> None:
    """Of `FFCResNetGenerator` with 64 channels and 18 blocks: 51 M parameters."""
    with torch.device("meta"):
        network = LamaNetwork(64, 18)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["model.1.ffc.convl2l.weight"] == (64, 4, 7, 7)
    assert shapes["model.4.ffc.convl2g.weight"] == (384, 256, 3, 3)
    assert shapes["model.5.conv1.ffc.convg2g.fu.conv_layer.weight"] == (384, 384, 1, 1)
    assert shapes["model.22.conv2.bn_g.running_var"] == (384,)
    assert shapes["model.24.weight"] == (512, 256, 3, 3)
    assert shapes["model.34.weight"] == (3, 64, 7, 7)
    assert sum(value.numel() for value in network.parameters()) == 50_975_875


def test_lama_fills_the_holes_and_nothing_else(with_lama: Engine) -> None:
    networks = with_lama.load("ctrlgen-tiny")
    (unit,) = with_lama.units(PromptBatch.of([request("inpaint_only+lama")]), networks)
    source: Any = getattr(unit.after_unet, "source", None)
    assert source.filler.origin[0] == "lama"
    for size in ((64, 64), (80, 56)):
        plain, filled = source.colours(*size), source.picture(*size)
        holes = source.holes(*size)
        assert np.array_equal(np.asarray(plain)[~holes], np.asarray(filled)[~holes])
        assert (np.asarray(plain)[holes] != np.asarray(filled)[holes]).any(1).mean() > 0.9


def test_lama_is_in_the_first_noise_while_the_unit_acts(
    with_lama: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    original = sampling.changed_noise

    def changed_noise(noise: Any, units: Any, variants: Any) -> Any:
        seen.append((noise, original(noise, units, variants), units))
        return seen[-1][1]

    monkeypatch.setattr(sampling, "changed_noise", changed_noise)
    weights: list[Any] = [1, 0.5, "1>0.2", {"guidance_start": 0.5}]
    for weight in weights:
        own = weight if isinstance(weight, dict) else {"weight": weight}
        with_lama.generate(request("inpaint_only+lama", **own))
    noise, found, units = seen[0]
    latent = units[0].after_unet.source.latent(8, 8)
    alpha = torch.linspace(0.00085**0.5, 0.012**0.5, 1000).square().neg().add(1).prod()
    wanted = alpha.sqrt() * latent + (1 - alpha).sqrt() * noise
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(seen[1][1], (noise + wanted) / 2, atol=1e-5)
    assert torch.allclose(seen[2][1], wanted, atol=1e-5)
    assert torch.equal(seen[3][1], noise)
    cells = [request("inpaint_only+lama", weight=weight) for weight in (1, 0.5)]
    seen.clear()
    with_lama.together(cells)
    assert torch.allclose(seen[0][1], torch.cat([wanted, (noise + wanted) / 2]), atol=1e-5)


def test_without_lama_the_error_says_what_to_put_where(engine: Engine) -> None:
    with pytest.raises(
        RequestError, match=r"ControlNetLama\.pth .* are missing: put the file into"
    ) as caught:
        engine.generate(request("inpaint_only+lama"))
    assert caught.value.path == "$.units[0].preprocessor"
    for said in (
        str(engine.store.weight_folders[0]),
        "models get ControlNetLama.pth",
        "or choose 'inpaint_only'",
    ):
        assert said in caught.value.message


def test_another_file_under_lamas_name_is_refused(root: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "big-lama.pt")
    with pytest.raises(RequestError, match="'big-lama' is no LaMa") as caught:
        Engine([root, tmp_path], 1 << 30, CPU).generate(request("inpaint_only+lama"))
    assert caught.value.path == "$.units[0].preprocessor"
