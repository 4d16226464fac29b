"""What a `reference` unit is made of: fidelities, coverages, latents, and what it refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.own_layers import ReferenceControl, Sharing
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.unet.family import Family
from tests.support import control_files as files
from tests.support.denoised_reference import diffusion, encode

PICTURE = files.picture(96, 64, 3)


def target(**changes: Any) -> Target:
    shape = replace(files.shape(), **changes.pop("shape", {}))
    return Target(store=ModelStore([], 1 << 30), shape=shape, **{"diffusion": diffusion(), **changes})


def control(host: Target, **fields: Any) -> ReferenceControl:
    unit = {"control": "reference", "image": encode_image(PICTURE), **fields}
    (loaded,) = load_units(parse_request({"units": [unit]}).units, host)
    assert isinstance(loaded.control, ReferenceControl)
    return loaded.control


def test_a_method_chooses_the_layers_and_sdxl_cubes_the_fidelity() -> None:
    numbers = {"style_fidelity": 0.5, "attention_weight": 0.8, "adain_weight": 1.2}
    both = control(target(), params={"method": "both", **numbers})
    assert both.attention == Sharing(coverage=0.8, fidelity=0.5)
    assert both.adain == Sharing(coverage=1.2, fidelity=0.5)
    assert control(target(), params={"method": "attention"}).adain == Sharing()
    assert control(target(), params={"method": "adain"}).attention == Sharing()
    sdxl = target(shape={"family": Family.of(2048)})
    cubed = control(sdxl, params={"method": "both", "adain_fidelity": 0.2, **numbers})
    assert (cubed.attention.fidelity, cubed.adain.fidelity) == pytest.approx((0.125, 0.008))


def test_the_latent_is_the_fitted_pictures_and_units_of_one_picture_share_it() -> None:
    host = target()
    one, other = control(host), control(host, weight=0.3, params={"method": "adain"})
    assert one.picture_key == other.picture_key
    assert one.picture_key != control(host, resize_mode="just_resize").picture_key
    seen = one.control_map(64, 64)
    assert np.array_equal(np.asarray(seen), np.asarray(PICTURE.crop((16, 0, 80, 64))))
    assert one.latent(8, 8).equal(encode(seen))


def test_what_it_cannot_do_is_an_error_at_its_field() -> None:
    cases: list[tuple[Target, dict[str, Any], str]] = [
        (target(diffusion=None), {}, "control"),
        (target(shape={"in_channels": 8}), {}, "control"),
        (target(), {"preprocessor": "canny"}, "preprocessor"),
        (target(), {"image": ""}, "image"),
        (target(), {"layer_weights": [1.0] * 3}, "layer_weights"),
        (target(), {"params": {"style_fidelity": 1.5}}, "params.style_fidelity"),
        (target(), {"boxes": [{"box": [0, 0, 1, 1], "text": "a cat"}]}, "boxes"),
        (target(), {"combine": "add"}, "combine"),
    ]
    layers = len(files.shape().attention_hidden)
    cases.append(
        (target(), {"layer_weights": [1.0] * layers, "params": {"method": "adain"}}, "layer_weights")
    )
    for host, fields, path in cases:
        with pytest.raises(RequestError) as caught:
            control(host, **fields)
        assert caught.value.path == f"$.units[0].{path}"


@pytest.mark.parametrize(
    ("fields", "warned"),
    [({"weight": 1}, []), ({"weight": "-1>1"}, ["weight"]), ({"weight": 0.5, "hires": 2}, ["hires"])],
)
def test_a_weight_that_counts_as_another_is_a_warning(fields: dict[str, Any], warned: list[str]) -> None:
    host = target()
    control(host, **fields)
    assert [text.split(":")[0] for text in host.notices.of()] == [f"$.units[0].{name}" for name in warned]
