"""Reference pictures and StyleAligned in the fake WebUI, on a small ldm U-Net."""

from typing import Any

import pytest
import torch

from lib_ctrlgen.errors import RequestError
from tests.support import control_files as files
from tests.support import networks
from tests.support.constant_control import hooks
from tests.support.fake_webui import FakeWebUI, Processing

REFERENCE = {"control": "reference", "image": files.data_url(64, 64, 3), "params": {"method": "both"}}
ALIGNED = {"control": "style_aligned"}


@pytest.fixture
def ldm(host: FakeWebUI) -> Any:
    pytest.importorskip("ldm.modules.diffusionmodules.openaimodel")
    host.unet = networks.ldm_unet(context=8)
    return host.unet


def made(host: FakeWebUI, script: Any, *units: dict[str, Any], **fields: Any) -> torch.Tensor:
    with torch.no_grad():
        found, _ = host.process_images(script, Processing(host, steps=2, **fields), {"units": list(units)})
    return found


def test_a_reference_picture_acts_in_both_passes(host: FakeWebUI, script: Any, ldm: Any) -> None:
    vae, before = host.model.first_stage_model, torch.random.get_rng_state()
    how = {"prompts": [["a", "b"], ["c"]], "passes": [(64, 64), (128, 64)]}
    plain, found = made(host, script, **how), made(host, script, REFERENCE, **how)
    assert (found - plain).abs().max() > 1e-3
    assert vae.calls == 2, "once for each size"
    assert torch.equal(torch.random.get_rng_state(), before)
    assert hooks(ldm) == 0
    split = made(host, script, REFERENCE, split=True, **how)
    assert torch.allclose(split, found, atol=1e-4)


def test_a_batch_of_one_picture_cannot_be_aligned(host: FakeWebUI, script: Any, ldm: Any) -> None:
    for fields in ({"batch_size": 1}, {"batch_size": 1, "n_iter": 3}):
        with pytest.raises(RequestError, match="batch size of two or more") as caught:
            made(host, script, ALIGNED, **fields)
        assert caught.value.path == "$.units[0].control"
    two = {"batch_size": 2, "prompts": [["a"], ["b"]]}
    assert torch.allclose(made(host, script, ALIGNED, **two), made(host, script, **two), atol=1e-4), (
        "equal pictures are aligned already"
    )
