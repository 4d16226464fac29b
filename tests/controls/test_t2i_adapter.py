"""T2I-Adapters are loaded from every published layout, and give the published network's features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import T2IAdapter
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.registry import identify
from lib_ctrlgen.controls.t2i_adapter import PreparedT2IAdapter
from lib_ctrlgen.controls.t2i_adapter_file import configuration, diffusers_tensors, feature_places
from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import ControlUnit, parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import UNetShape
from lib_ctrlgen.unet.clocks import CountingClock
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet
from lib_ctrlgen.unet.family import Family
from tests.support import control_files as files
from tests.support.properties import examples

XL_UNET: dict[str, Any] = {
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
SHAPES = {"full": files.shape(), "light": files.shape(), "xl": files.shape(**XL_UNET)}

PUBLISHED: dict[str, dict[str, Any]] = {
    "full": {"adapter_type": "full_adapter", "channels": [320, 640, 1280, 1280], "num_res_blocks": 2},
    "light": {"adapter_type": "light_adapter", "channels": [320, 640, 1280], "num_res_blocks": 4},
    "xl": {
        "adapter_type": "full_adapter_xl",
        "channels": [320, 640, 1280, 1280],
        "num_res_blocks": 2,
        "downscale_factor": 16,
    },
}


def unit(model: str = "net", **fields: Any) -> ControlUnit:
    payload = {"model": model, "image": files.data_url(), **fields}
    return parse_request({"units": [payload]}).units[0]


def save(tensors: Mapping[str, Tensor], folder: Path, name: str = "net.safetensors") -> ModelStore:
    if name.endswith("safetensors"):
        save_file(dict(tensors), folder / name)
    else:
        torch.save(dict(tensors), folder / name)
    return ModelStore([folder], 1 << 30)


def prepared(store: ModelStore, item: ControlUnit, kind: str = "full") -> PreparedT2IAdapter:
    (active,) = load_units([item], Target(store=store, shape=SHAPES[kind]))
    assert isinstance(active.control, PreparedT2IAdapter)
    return active.control


def refused(store: ModelStore, item: ControlUnit, shape: UNetShape = SHAPES["full"]) -> str:
    with pytest.raises(RequestError) as raised:
        load_units([item], Target(store=store, shape=shape))
    assert raised.value.path == "$.units[0].model"
    return raised.value.message


@pytest.mark.parametrize("layout", ["diffusers", "ldm"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", PUBLISHED)
def test_every_published_layout_is_recognised(kind: str, channels: int, layout: str) -> None:
    with torch.device("meta"):
        network = T2IAdapter(in_channels=channels, **PUBLISHED[kind])
    tensors = network.state_dict()
    if layout == "ldm":
        tensors = files.to_original(tensors)
    found = identify({key: tuple(value.shape) for key, value in tensors.items()})
    family, variant = "SDXL" if kind == "xl" else "SD1.5", "light" if kind == "light" else "full"
    assert (found.control, found.layout) == ("t2i_adapter", layout)
    assert (found.family.name, found.variant) == (family, variant)
    config = configuration(diffusers_tensors(tensors))
    assert config == {"in_channels": channels, "downscale_factor": 8, **PUBLISHED[kind]}
    strides = [2, 2, 4, 4] if kind == "xl" else [1, 2, 4, 8]
    places = [(place.channels, place.stride) for place in feature_places(network)]
    assert places == list(zip([320, 640, 1280, 1280], strides, strict=True))


def dense_full(
    tensors: Mapping[str, Tensor], hint: Tensor, factor: int, pooled: tuple[int, ...]
) -> list[Tensor]:
    """The full adapter by its original keys: eight numbered blocks, two a level."""
    h = functional.conv2d(functional.pixel_unshuffle(hint, factor), *of(tensors, "conv_in"), padding=1)
    features = []
    for number in range(8):
        if number in pooled:
            h = functional.avg_pool2d(h, 2)
        if f"body.{number}.in_conv.weight" in tensors:
            h = functional.conv2d(h, *of(tensors, f"body.{number}.in_conv"))
        inner = functional.relu(functional.conv2d(h, *of(tensors, f"body.{number}.block1"), padding=1))
        h = h + functional.conv2d(inner, *of(tensors, f"body.{number}.block2"))
        features.append(h)
    return features[1::2]


def dense_light(tensors: Mapping[str, Tensor], hint: Tensor) -> list[Tensor]:
    """The light adapter by its original keys: a bottleneck of four blocks a level."""
    h, features = functional.pixel_unshuffle(hint, 8), []
    for level in range(4):
        if level:
            h = functional.avg_pool2d(h, 2)
        h = functional.conv2d(h, *of(tensors, f"body.{level}.in_conv"))
        for block in range(4):
            name = f"body.{level}.body.{block}"
            inner = functional.relu(functional.conv2d(h, *of(tensors, f"{name}.block1"), padding=1))
            h = h + functional.conv2d(inner, *of(tensors, f"{name}.block2"), padding=1)
        h = functional.conv2d(h, *of(tensors, f"body.{level}.out_conv"))
        features.append(h)
    return features


def of(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return tensors[f"{name}.weight"], tensors[f"{name}.bias"]


def dense(kind: str, tensors: Mapping[str, Tensor], hint: Tensor) -> list[Tensor]:
    if kind == "light":
        return dense_light(tensors, hint)
    return dense_full(tensors, hint, *((16, (4,)) if kind == "xl" else (8, (2, 4, 6))))


@pytest.mark.parametrize("layout", ["diffusers", "original", "adapter.", "pickle", "float16"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", files.T2I)
def test_every_layout_gives_the_features_of_the_original(
    tmp_path: Path, kind: str, channels: int, layout: str
) -> None:
    network = files.t2i_adapter(kind, in_channels=channels)
    if layout == "float16":
        network.half().float()
    original = files.to_original(network.state_dict())
    tensors = original if layout in {"original", "pickle"} else network.state_dict()
    if layout == "adapter.":
        tensors = {f"adapter.{key}": value for key, value in original.items()}
    if layout == "float16":
        tensors = {key: value.half() for key, value in tensors.items()}
    store = save(tensors, tmp_path, "net.pth" if layout == "pickle" else "net.safetensors")
    control = prepared(store, unit(), kind)
    shown = control.control_map(128, 64)
    hint = to_hint(shown.convert("L"))[:, :1] if channels == 1 else to_hint(shown)
    found = control.features(8, 16)
    for one, other in zip(found, dense(kind, original, hint), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        assert other.abs().max() > 0.01


@pytest.mark.parametrize("size", [(9, 7), (8, 12), (13, 8)])
@pytest.mark.parametrize("kind", files.T2I)
def test_sizes_that_are_no_multiple_fit_the_unet(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    store = save(files.t2i_adapter(kind).state_dict(), tmp_path)
    unet = files.unet(**(XL_UNET if kind == "xl" else {}))
    units = load_units([unit()], Target(store=store, shape=SHAPES[kind]))
    call = files.call(2, *size)
    with torch.no_grad():
        plain = unet(call.inputs.x, 7, call.inputs.context).sample
        with ControlSession(DiffusersUNet(unet), units, CountingClock(1, 1, guided=True)):
            found = unet(call.inputs.x, 7, call.inputs.context).sample
    assert found.shape == plain.shape
    assert not torch.equal(found, plain)


def test_a_border_up_to_a_whole_cell_repeats_the_picture(tmp_path: Path) -> None:
    control = prepared(save(files.t2i_adapter("xl").state_dict(), tmp_path), unit(), "xl")
    hint = control.hint(72, 40)
    assert hint.shape == (1, 3, 48, 80)
    assert torch.equal(hint[..., :40, :72], to_hint(control.control_map(72, 40)))
    assert torch.equal(hint[..., 72:], hint[..., 71:72].expand(-1, -1, -1, 8))


def test_features_are_computed_once_per_picture_and_size(tmp_path: Path) -> None:
    store = save(files.t2i_adapter().state_dict(), tmp_path)
    unet = files.unet()
    seen: list[tuple[int, ...]] = []
    for _generation in range(2):
        units = load_units(
            [unit(), unit(weight="1>0", preprocessor="canny")], Target(store=store, shape=SHAPES["full"])
        )
        network = units[0].control.model.network  # type: ignore[union-attr]
        handle = network.register_forward_hook(lambda _m, args, _o: seen.append(tuple(args[0].shape)))
        with ControlSession(DiffusersUNet(unet), units, CountingClock(6, 1, guided=True)), torch.no_grad():
            for step in range(6):
                call = files.call(2, 8, 8 if step < 3 else 16)
                unet(call.inputs.x, 7, call.inputs.context)
        handle.remove()
    assert seen == [(1, 3, 64, 64)] * 2 + [(1, 3, 64, 128)] * 2


def test_two_units_share_a_network_but_not_their_features(tmp_path: Path) -> None:
    store = save(files.t2i_adapter().state_dict(), tmp_path)
    items = [unit(), unit(image=files.data_url(seed=9))]
    first, second = (
        active.control for active in load_units(items, Target(store=store, shape=SHAPES["full"]))
    )
    assert isinstance(first, PreparedT2IAdapter)
    assert isinstance(second, PreparedT2IAdapter)
    assert first.model.network is second.model.network
    for one, other in zip(first.features(8, 8), second.features(8, 8), strict=True):
        assert not torch.equal(one, other)


def test_a_network_of_the_same_picture_has_its_own_features(tmp_path: Path) -> None:
    save(files.t2i_adapter(seed=1).state_dict(), tmp_path, "one.safetensors")
    store = save(files.t2i_adapter(seed=2).state_dict(), tmp_path, "two.safetensors")
    one, two = (prepared(store, unit(name)) for name in ("one", "two"))
    assert not torch.equal(one.features(8, 8)[0], two.features(8, 8)[0])


def test_wrong_families_and_widths_name_both(tmp_path: Path) -> None:
    network = files.t2i_adapter("full", channels=[320, 32, 32, 32])
    store = save(network.state_dict(), tmp_path)
    message = refused(store, unit())
    assert "SD1.5 (context 768)" in message
    assert "custom (context 64)" in message
    save(files.t2i_adapter("xl").state_dict(), tmp_path, "xl.safetensors")
    message = refused(store, unit("xl"))
    assert "returns features of 32 channels at 1/2, 64 channels at 1/2" in message
    assert "the loaded checkpoint takes 32 channels at 1/1, 64 channels at 1/2" in message


def test_sdxl_is_told_by_the_cells_of_its_input() -> None:
    keys = {"body.0.block1.weight": (320, 320, 3, 3)}
    families = {
        inputs: identify({"conv_in.weight": (320, inputs, 3, 3), **keys}).family
        for inputs in (64, 192, 256, 768)
    }
    one, xl = Family.of(768), Family.of(2048)
    assert families == {64: one, 192: one, 256: xl, 768: xl}
    with pytest.raises(ModelError, match=r"does not read pictures"):
        identify({"conv_in.weight": (320, 100, 3, 3), **keys})


def test_the_number_of_layer_weights(tmp_path: Path) -> None:
    store = save(files.t2i_adapter().state_dict(), tmp_path)
    assert prepared(store, unit(layer_weights=[0.5] * 4, control="t2i_adapter"))
    with pytest.raises(RequestError, match="expected 4 weights"):
        load_units([unit(layer_weights=[1] * 13)], Target(store=store, shape=SHAPES["full"]))


def test_older_blocks_that_nothing_runs_are_refused(tmp_path: Path) -> None:
    tensors = files.to_original(files.t2i_adapter().state_dict())
    tensors["body.2.down_opt.op.weight"] = torch.zeros(32, 32, 3, 3)
    assert "unknown adapter.body.2.down_opt.op.weight" in refused(save(tensors, tmp_path), unit())


@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(sorted(files.T2I)), original=st.booleans())
def test_damaged_adapters_are_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: str, original: bool
) -> None:
    tensors = dict(NETWORKS[kind].state_dict())
    if original:
        tensors = files.to_original(tensors)
    keys = sorted(tensors)
    for key in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=6, unique=True)):
        what = data.draw(st.sampled_from(["gone", "flat", "wider", "renamed"]))
        value = tensors.pop(key)
        if what == "flat":
            tensors[key] = value.flatten()[:3].clone()
        elif what == "wider":
            tensors[key] = torch.cat([value, value])
        elif what == "renamed":
            tensors[key.replace("body", "bodies").replace("conv", "convolution")] = value
    if tensors.keys() == set(keys) and all(tensors[key].shape == SIZES[kind, original][key] for key in keys):
        return
    assert refused(save(tensors, tmp_path_factory.mktemp("damaged")), unit(), SHAPES[kind])


NETWORKS = {kind: files.t2i_adapter(kind) for kind in files.T2I}
SIZES = {
    (kind, original): {
        key: value.shape
        for key, value in (
            files.to_original(network.state_dict()) if original else network.state_dict()
        ).items()
    }
    for kind, network in NETWORKS.items()
    for original in (False, True)
}
