"""GLIGEN files: which ones are recognised, read in each layout, or refused with the reason."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.gligen.gligen import PreparedGligen
from lib_ctrlgen.controls.registry import identify, identify_file
from lib_ctrlgen.errors import ModelError, RequestError
from tests.support import control_files as files
from tests.support import gligen_files as gligen
from tests.support.unet_calls import sd_diffusers, sd_ldm


@pytest.fixture(scope="module")
def unet() -> Any:
    return sd_diffusers()


@pytest.fixture(scope="module")
def own(unet: Any) -> dict[str, Tensor]:
    return gligen.tensors_for(unet)


def refused(folder: Path, unet: Any, **fields: Any) -> RequestError:
    given = {name: fields.pop(name) for name in ("phrases",) if name in fields}
    with pytest.raises(RequestError) as caught:
        gligen.loaded(folder, unet, gligen.unit(**fields), **given)
    return caught.value


def prepared(folder: Path, unet: Any, model: str = "gligen") -> PreparedGligen:
    (active,) = gligen.loaded(folder, unet, gligen.unit(model=model))
    assert isinstance(active.control, PreparedGligen)
    return active.control


def same(one: PreparedGligen, other: PreparedGligen) -> bool:
    layers = [
        torch.equal(a, b)
        for left, right in zip(one.weights.fusers, other.weights.fusers, strict=True)
        for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    ]
    return all(layers) and torch.equal(one.objects, other.objects)


@pytest.mark.parametrize("host", ["ldm", "diffusers"])
def test_every_published_layout_holds_the_same(tmp_path: Path, host: str) -> None:
    """The tensors alone, behind a checkpoint's prefix, inside a whole U-Net, and in the official pickle."""
    unet = sd_ldm() if host == "ldm" else sd_diffusers()
    own = gligen.tensors_for(unet)
    whole = {**unet.state_dict(), **own}
    paths = [gligen.save(own, tmp_path / "alone.safetensors")]
    for number, prefix in enumerate(("model.diffusion_model.", "diffusion_model.", "")):
        paths.append(gligen.save(whole, tmp_path / f"whole{number}.safetensors", prefix))
    torch.save({"model": whole, "autoencoder": {"x": torch.zeros(2)}}, tmp_path / "official.bin")
    alone, kind = prepared(tmp_path, unet, "alone"), identify_file(paths[0])
    assert (kind.control, kind.layout, kind.variant) == ("gligen", host, "text")
    for path in [*paths, tmp_path / "official.bin"]:
        assert identify_file(path) == kind
        assert same(prepared(tmp_path, unet, path.stem), alone)


def test_a_text_image_file_is_known_by_its_two_networks(tmp_path: Path, unet: Any) -> None:
    path = gligen.save(gligen.tensors_for(unet, images=True), tmp_path / "gligen.safetensors")
    assert identify_file(path).variant == "text-image"
    assert prepared(tmp_path, unet).objects.shape[1] == 60


@pytest.mark.parametrize(("width", "name"), [(1024, "SD2"), (2048, "SDXL")])
def test_other_checkpoint_families_are_refused_with_the_reason(
    own: dict[str, Tensor], width: int, name: str
) -> None:
    shapes = {
        key: (value.shape[0], width) if key.endswith("fuser.linear.weight") else tuple(value.shape)
        for key, value in own.items()
    }
    with pytest.raises(ModelError, match=f"GLIGEN for {name}.*SD1"):
        identify(shapes)


def test_a_file_for_another_checkpoint_is_refused(tmp_path: Path, own: dict[str, Tensor]) -> None:
    gligen.save(own, tmp_path / "gligen.safetensors")
    error = refused(tmp_path, files.unet())
    assert error.path == "$.units[0].model"
    assert "context 48" in error.message
    assert "context 64" in error.message


def test_fewer_blocks_than_the_checkpoint_has_are_refused(
    tmp_path: Path, unet: Any, own: dict[str, Tensor]
) -> None:
    part = {key: value for key, value in own.items() if "mid_block" not in key}
    gligen.save(part, tmp_path / "gligen.safetensors")
    assert "15 gated blocks" in refused(tmp_path, unet).message


def test_key_points_and_other_conditions_are_refused_by_name(own: dict[str, Tensor]) -> None:
    other = {key: tuple(value.shape) for key, value in own.items() if "linears" not in key}
    for name in ("person_embeddings", "convnext_tiny_backbone.stages.0.weight"):
        with pytest.raises(ModelError, match="not for boxes"):
            identify({**other, f"position_net.{name}": (8, 48)})


def test_a_damaged_file_is_an_error_at_the_unit(tmp_path: Path, unet: Any, own: dict[str, Tensor]) -> None:
    path, chance = tmp_path / "gligen.safetensors", random.Random(7)
    for _ in range(40):
        torn = files.damaged({key: value.contiguous() for key, value in own.items()}, chance)
        save_file(torn, path)
        error = refused(tmp_path, unet)
        assert error.path == "$.units[0].model", set(own) ^ set(torn)
    gligen.save(own, path)
    content = path.read_bytes()
    for share in (0, 0.001, 0.3, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        assert refused(tmp_path, unet).path == "$.units[0].model"


BOX = gligen.BOXES[0]


class Narrow(gligen.HashedPhrases):
    """A text encoder of another width, which reads short phrases alone."""

    def __init__(self) -> None:
        super().__init__(32)

    def encode(self, text: str) -> Tensor:
        if len(text) > 20:
            raise ModelError("the phrase has too many tokens")
        return super().encode(text)


def test_what_cannot_be_encoded_is_an_error_at_its_field(
    tmp_path: Path, unet: Any, own: dict[str, Tensor]
) -> None:
    gligen.save(own, tmp_path / "gligen.safetensors")
    gligen.save(gligen.tensors_for(unet, images=True), tmp_path / "pictures.safetensors")
    pictured = [BOX, {**BOX, "image": files.data_url()}]
    error = refused(tmp_path, unet, boxes=pictured)
    assert (error.path, "text-image file" in error.message) == ("$.units[0].boxes[1].image", True)
    files.save_vision(tmp_path / "vision", projection=gligen.WIDTH)
    error = refused(tmp_path, unet, boxes=pictured, model="pictures")
    assert (error.path, "text_projection" in error.message) == ("$.units[0].model", True)
    assert refused(tmp_path, unet, phrases=None).path == "$.units[0].boxes[0].text"
    assert "48 numbers" in refused(tmp_path, unet, phrases=Narrow()).message
    long = [BOX, {**BOX, "text": "a phrase of many tokens"}]
    assert refused(tmp_path, unet, boxes=long[::-1], phrases=Narrow()).message.endswith("too many tokens")
    assert refused(tmp_path, unet, boxes=[]).path == "$.units[0].boxes"
    assert refused(tmp_path, unet, image=files.data_url()).path == "$.units[0].image"
    assert refused(tmp_path, unet, control_mode="prompt").path == "$.units[0].control_mode"
    assert refused(tmp_path, unet, reuse=2).path == "$.units[0].reuse"
    assert refused(tmp_path, unet, layer_weights=[1.0] * 13).path == "$.units[0].layer_weights"


def test_a_phrase_is_encoded_once(tmp_path: Path, unet: Any, own: dict[str, Tensor]) -> None:
    gligen.save(own, tmp_path / "gligen.safetensors")
    phrases = gligen.HashedPhrases()
    target = gligen.target_of(tmp_path, unet, phrases=phrases)
    for _ in range(2):
        gligen.load_units([gligen.unit(), gligen.unit(weight=0.5)], target)
    assert phrases.texts == [box["text"] for box in gligen.BOXES]
    assert target.store.reads == 2, "the header, and the file once"
