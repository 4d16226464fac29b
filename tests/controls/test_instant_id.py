"""InstantID's ControlNet, which reads a face embedding in place of the text."""

import base64
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.controlnet.instant_id import PreparedInstantID
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.controls.registry import identify_file
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.faces.embeddings import encoded
from lib_ctrlgen.faces.face import WIDTH
from lib_ctrlgen.images.codec import to_hint
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.preprocessors.face_keypoints import COLOURS, drawn
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.ldm_unet import LdmUNet
from tests.support import control_files as files
from tests.support import networks
from tests.support.face_networks import (
    FakePackage,
    FakeRuntime,
    face_picture,
    install_package,
    write_pack,
)
from tests.support.networks import Call, Script, active, random_call

pytest.importorskip("imaginairy.modules.sgm.diffusionmodules.openaimodel")
CONTEXT = files.CONTEXT
FACE = tuple(float(x) for x in torch.randn(WIDTH, generator=torch.Generator().manual_seed(1)))
OTHER = tuple(float(x) for x in torch.randn(WIDTH, generator=torch.Generator().manual_seed(2)))


def packed(face: tuple[float, ...]) -> str:
    return base64.b64encode(np.asarray(face, "<f4").tobytes()).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = networks.sdxl_controlnet(5, cross_attention_dim=CONTEXT)
    save_file(network.state_dict(), tmp_path / "control_instant_id_sdxl.safetensors")
    save_file(network.state_dict(), tmp_path / "anything.safetensors")
    _, projection = files.plus_projection(WIDTH)
    files.save_adapter(tmp_path / "ip-adapter_instant_id_sdxl.bin", projection, (32,))
    return tmp_path


def unit(
    face: tuple[float, ...] = FACE, model: str = "control_instant_id_sdxl", **fields: Any
) -> dict[str, Any]:
    params = {"face": packed(face), "adapter_weight": 0} | fields.pop("params", {})
    return {"model": model, "image": files.data_url(seed=3), "params": params, **fields}


def loaded(folder: Path, unet: Any, *units: dict[str, Any]) -> list[ActiveUnit]:
    specs = parse_request({"units": list(units)}).units
    return list(
        load_units(specs, Target(store=ModelStore([folder], 1 << 30), shape=LdmUNet(unet).shape, unet=unet))
    )


def wide_call(kinds: str) -> Call:
    found = random_call(kinds, 3)
    wide = torch.randn(len(kinds.split()), 7, CONTEXT, generator=torch.Generator().manual_seed(4))
    return networks.call_of(found.x, found.timestep, wide, found.vector, found.rows)


def run(unet: Any, call: Call) -> Tensor:
    with torch.no_grad():
        return unet(call.x, call.timestep, context=call.context, y=call.vector)  # type: ignore[no-any-return]


def reference(call: Call, face: tuple[float, ...], weight: float) -> networks.NoiseControl:
    """A control that calls diffusers' network on the resampler's tokens, row by row."""
    network = networks.sdxl_controlnet(5, cross_attention_dim=CONTEXT)
    resampler, _ = files.plus_projection(WIDTH)
    hint = to_hint(files.picture(64, 64, 3))

    class Written(networks.NetworkControl):
        def residuals(self, given: Any) -> Any:
            seen = [face if cond else (0.0,) * WIDTH for cond in given.position.rows.cond]
            with torch.no_grad():
                tokens = torch.cat([resampler(torch.tensor([[each]])) for each in seen])
            return self.raw(given.inputs.x, given.inputs.timestep, tokens)

    del call, weight
    return Written(network, hint)  # type: ignore[return-value]


@pytest.mark.parametrize("fields", [{"weight": 0.7}, {"weight": 0.7, "control_mode": "control"}], ids=str)
def test_the_network_reads_the_face(folder: Path, fields: dict[str, Any]) -> None:
    unet, call = networks.sgm_unet(context=CONTEXT), wide_call("c0 c1 u0 u1")
    plain = run(unet, call)
    units = loaded(folder, unet, unit(**fields))
    assert isinstance(units[0].control, PreparedInstantID)
    with ControlSession(LdmUNet(unet), units, Script(1, [(0, call.rows)])):
        found = run(unet, call)
    with ControlSession(
        LdmUNet(unet), [active(reference(call, FACE, 0.7), **fields)], Script(1, [(0, call.rows)])
    ):
        wanted = run(unet, call)
    assert float((found - wanted).abs().max() / wanted.abs().max()) <= 1e-5
    assert float((found - plain).abs().max()) > 1e-3
    assert torch.equal(run(unet, call), plain)


def test_two_faces_in_one_call_of_the_network(folder: Path) -> None:
    unet, call = networks.sgm_unet(context=CONTEXT), wide_call("c0 u0")
    units = loaded(folder, unet, unit(), unit(OTHER))
    assert units[0].control.model is units[1].control.model  # type: ignore[union-attr]
    with ControlSession(LdmUNet(unet), units, Script(1, [(0, call.rows)])):
        found = run(unet, call)
    controls = [active(reference(call, face, 1.0), place) for place, face in enumerate((FACE, OTHER))]
    with ControlSession(LdmUNet(unet), controls, Script(1, [(0, call.rows)])):
        wanted = run(unet, call)
    assert float((found - wanted).abs().max() / wanted.abs().max()) <= 1e-5


def test_the_name_or_the_request_tells_it(folder: Path) -> None:
    assert identify_file(folder / "control_instant_id_sdxl.safetensors").control == "instant_id"
    assert identify_file(folder / "anything.safetensors").control == "controlnet"
    unet = networks.sgm_unet(context=CONTEXT)
    asked, plain = loaded(
        folder,
        unet,
        unit(model="anything", control="instant_id"),
        {"model": "control_instant_id_sdxl", "control": "controlnet", "image": files.data_url()},
    )
    assert isinstance(asked.control, PreparedInstantID)
    assert not isinstance(plain.control, PreparedInstantID)


@cache
def checkpoint() -> Any:
    """A U-Net that no control acts on."""
    return networks.sgm_unet(context=CONTEXT)


def failure(folder: Path, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as raised:
        loaded(folder, checkpoint(), unit(**fields))
    return raised.value


def test_what_is_missing_is_named(
    folder: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = failure(folder, params={"face": ""})
    assert (found.path, "antelopev2 is missing" in found.message) == ("$.units[0].params.face", True)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = failure(folder, params={"face": ""})
    assert (found.path, "not installed" in found.message) == ("$.units[0].params.face", True)
    found = failure(folder, params={"face": "", "face_image": "x"})
    assert found.path == "$.units[0].params.face_image"
    found = failure(folder, params={"face": encoded([FACE], "buffalo_l")})
    assert (found.path, "'antelopev2' is needed" in found.message) == ("$.units[0].params.face", True)
    found = failure(folder, params={"face_adapter": "anything"})
    assert (found.path, "reads no face" in found.message) == ("$.units[0].params.face_adapter", True)
    (folder / "ip-adapter_instant_id_sdxl.bin").unlink()
    assert "there is none" in failure(folder).message
    for name in ("instantid one.bin", "instantid two.bin"):
        files.save_adapter(folder / name, files.plus_projection(WIDTH)[1], (32,))
    assert "instantid one, instantid two" in failure(folder).message


POINTS = ((20.0, 22.0), (44.0, 20.0), (32.0, 34.0), (24.0, 48.0), (42.0, 46.0))


@pytest.fixture
def package(runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePackage:
    """insightface with two faces in every picture that is not black."""
    small = SimpleNamespace(bbox=(0, 0, 2, 2), kps=np.zeros((5, 2)), embedding=np.array(OTHER), det_score=0.9)
    large = SimpleNamespace(
        bbox=(9, 9, 60, 60), kps=np.array(POINTS), embedding=np.array(FACE), det_score=0.8
    )
    found = FakePackage(faces=[small, large])
    install_package(monkeypatch, found)
    write_pack(tmp_path / "home" / ".insightface" / "models" / "antelopev2", "antelopev2")
    return found


def test_the_face_comes_from_the_picture(package: FakePackage, folder: Path) -> None:
    unet = networks.sgm_unet(context=CONTEXT)
    first = {"face": "", "face_choice": "1"}
    units = loaded(folder, unet, unit(), unit(params={"face": ""}), unit(OTHER), unit(params=first))
    given, own, other, chosen = (each.control.tokens for each in units)  # type: ignore[union-attr]
    torch.testing.assert_close(given, own)
    torch.testing.assert_close(other, chosen)
    assert not torch.allclose(own, chosen)
    assert len(package.loaded) == len(package.seen) == 1, "the store keeps models and faces"
    found = failure(folder, params={"face": "", "face_choice": "3"})
    assert (found.path, "2 faces were found" in found.message) == ("$.units[0].params.face_choice", True)
    black = {"face": "", "face_image": encode_image(Image.new("RGB", (64, 64)))}
    found = failure(folder, params=black)
    assert (found.path, "no face was found" in found.message) == ("$.units[0].params.face_image", True)


def test_the_keypoints_are_those_of_the_chosen_face(package: FakePackage) -> None:
    draw = preprocessor("instant_id_face_keypoints")
    found = draw(files.picture())
    assert found.tobytes() == drawn(POINTS, (64, 64)).tobytes()
    assert draw(files.picture(), face_choice="1").tobytes() == drawn(((0, 0),) * 5, (64, 64)).tobytes()
    with pytest.raises(RequestError, match="no face was found"):
        draw(Image.new("RGB", (64, 64)))


def test_a_units_map_finds_its_models_in_the_stores_folders(runtime: FakeRuntime, folder: Path) -> None:
    write_pack(folder / "antelopev2", "antelopev2")
    picture = face_picture((80, 80), size=(160, 160))
    given = unit(image=encode_image(picture), preprocessor="instant_id_face_keypoints")
    (found,) = loaded(folder, networks.sgm_unet(context=CONTEXT), given)
    shown = np.asarray(found.control.map.shown(160, 160))  # type: ignore[union-attr]
    assert {tuple(map(int, colour)) for colour in shown.reshape(-1, 3)} >= set(COLOURS)


def test_points_are_dots_in_their_colours_with_darker_limbs() -> None:
    big = tuple((8 * x, 8 * y) for x, y in POINTS)
    picture = np.asarray(drawn(big, (512, 512)))
    for (x, y), colour in zip(big, COLOURS, strict=True):
        assert tuple(picture[int(y), int(x)]) == colour
    middle = (np.array(big[0]) + np.array(big[2])) / 2
    assert tuple(picture[int(middle[1]), int(middle[0])]) == (153, 0, 0)
    assert picture[500:, 500:].sum() == 0
