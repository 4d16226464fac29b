"""Faces in the panel: saved ones are uploaded, and the face of a unit's picture is saved as a file."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.faces.embeddings import read_embedding, save_embedding
from lib_ctrlgen.faces.face import WIDTH
from lib_ctrlgen.forms.blend_fields import blend_values
from lib_ctrlgen.forms.infotext import describe
from lib_ctrlgen.forms.param_fields import uploaded_fields
from lib_ctrlgen.forms.unit_fields import panel_values, read_request
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.request.spec import ControlRequest
from tests.support import face_adapters as adapters
from tests.support.contract_files import instant_id
from tests.support.face_networks import FakeRuntime, face_picture, write_pack
from tests.support.fake_gradio import Component
from tests.support.fake_webui import FakeWebUI, fresh
from tests.support.ip_adapter_units import write
from tests.support.unit_values import unit_values, with_params

START = "ctrlgen_txt2img_unit0_"
LEFT, RIGHT = (80, 320), (480, 160)
FACE, FACE_IMAGE, CHOICE = "instant_id_face", "instant_id_face_image", "instant_id_face_choice"


def request_of(**fields: Any) -> ControlRequest:
    values = unit_values(**{"enabled": True, "model": "faceid", **fields})
    return read_request(["", "", "", "", *blend_values(None), *values.values()])


def saved(folder: Path, name: str, value: float) -> Any:
    """An uploaded file with an embedding of equal numbers."""
    path = folder / f"{name}.safetensors"
    path.write_bytes(save_embedding([(value,) * WIDTH], "buffalo_l"))
    return SimpleNamespace(name=str(path))


def first(embedding: Any) -> float:
    return read_embedding(embedding, "$")[0]


def test_saved_faces_become_the_units_face_and_its_references(tmp_path: Path) -> None:
    uploads = [saved(tmp_path, name, value) for name, value in (("b", 2.0), ("a", 1.0), ("c", 3.0))]
    picture = Image.new("RGB", (8, 8), "red")
    fields = {FACE: uploads, "references": [picture], "reference_weights": "0.5; 1>0"}
    unit = request_of(**fields).units[0]
    assert first(unit.params["face"]) == 1
    assert [bool(each.image) for each in unit.references] == [True, False, False]
    assert [first(each.embedding) for each in unit.references[1:]] == [2, 3]
    assert [str(each.weight) for each in unit.references] == ["0.5", "1@0, 0@1", "1"]
    assert request_of(**{FACE: "a text"}).units[0].params["face"] == "a text", "over REST"


def test_what_is_no_saved_face_is_refused_by_its_name(tmp_path: Path) -> None:
    wrong = tmp_path / "face.pt"
    wrong.write_bytes(pickle.dumps([1.0] * WIDTH))
    for upload, words in (
        (SimpleNamespace(name=str(wrong)), "face.pt is no safetensors file"),
        (SimpleNamespace(name=str(tmp_path / "gone")), "upload it again"),
        (saved(tmp_path, "nobody", 0.0), "nobody.safetensors: .*all zeros"),
        ({"name": "/etc/passwd"}, "expected a safetensors file"),
    ):
        with pytest.raises(RequestError, match=words) as raised:
            request_of(**{FACE: [upload]})
        assert raised.value.path == "$.units[0].params.face"


def test_an_infotext_has_neither_faces_nor_pictures_and_restores_the_rest(tmp_path: Path) -> None:
    picture = encode_image(face_picture(LEFT))
    fields = {FACE: [saved(tmp_path, "a", 1.0)], FACE_IMAGE: face_picture(LEFT), CHOICE: "2"}
    others = {"ip_adapter_face_lora_weight": 0.5, "pulid_preset": "style", "reference_adain_fidelity": 0.25}
    request = request_of(**fields, **others)
    assert decode_image(str(request.units[0].params["face_image"]), "").size == (640, 640)
    text = describe(request)
    assert len(text) < 500
    assert picture not in text
    shown = with_params(panel_values(json.loads(text)["units"][0]))
    assert {CHOICE: "2", **others, "params": ""}.items() <= shown.items()
    assert not {FACE, FACE_IMAGE} & shown.keys()
    assert list(uploaded_fields()) == [FACE, FACE_IMAGE]


@pytest.fixture
def save(host: FakeWebUI, runtime: FakeRuntime, tmp_path: Path) -> Any:
    """Presses the button with these values in the fields; returns the file's update and the error."""
    for pack in ("buffalo_l", "antelopev2"):
        write_pack(tmp_path / "models" / "insightface" / "models" / pack, pack)
    models = tmp_path / "control"
    models.mkdir()
    host.flags.ctrlgen_models_path = [str(models)]
    write(models, "plain")
    instant_id(models)
    shapes = adapters.whole("faceid", 64, (32,), rank=3)
    adapters.write(models / "faceid.safetensors", adapters.random_tensors(shapes))
    fresh("panel.panel").build_panel("txt2img")
    press, _ = next(c for c in Component.made if c.elem_id == f"{START}save_face").events[0]

    def pressed(**fields: Any) -> tuple[dict[str, Any], str]:
        found: tuple[dict[str, Any], str] = press(*unit_values(**fields).values())
        return found

    return pressed


def test_the_button_saves_the_chosen_face_for_the_units_model(save: Any) -> None:
    picture = face_picture(RIGHT, LEFT)
    found = {}
    for model, choice in (("faceid", "1"), ("faceid", "2"), ("model_instant_id", "2")):
        update, error = save(model=model, image=picture, **{CHOICE: choice})
        assert (error, update["visible"]) == ("", True)
        path = Path(update["value"])
        assert path.suffix == ".safetensors"
        found[path.name] = load_file(path)["embedding"]
        assert found[path.name].shape == (1, WIDTH)
    names = ["face-1-buffalo_l", "face-2-buffalo_l", "face-2-antelopev2"]
    assert list(found) == [f"{name}.safetensors" for name in names]
    one, other, same = found.values()
    assert (one - other).abs().max() > 0.1
    assert (other - same).abs().max() < 1e-6, "the stub recognises alike with both packs"
    fields = {"image": Image.new("RGB", (640, 640)), FACE_IMAGE: picture, CHOICE: "2"}
    update, _ = save(model="model_instant_id", **fields)
    assert Path(update["value"]).name == f"{names[2]}.safetensors", "the picture of the face goes first"


def test_the_button_says_what_is_wrong(save: Any) -> None:
    faceid = {"model": "faceid", "image": face_picture(LEFT)}
    for fields, words in (
        ({}, "Choose a model for faces first"),
        ({"model": "gone"}, "gone"),
        ({"model": "adapter"}, "reads no face"),
        ({"model": "faceid"}, "Choose a picture that shows the face first"),
        ({"model": "faceid", "image": Image.new("RGB", (64, 64))}, "No face was found"),
        (faceid | {CHOICE: "2"}, "Face 2 from the left"),
        (faceid | {CHOICE: "<b>"}, "&lt;b&gt;"),
        (faceid | {"ip_adapter_face_variant": "instant_id"}, "tensors are those of faceid"),
    ):
        update, error = save(**fields)
        assert (update["value"], update["visible"]) == (None, False)
        assert words in error
        assert "$." not in error
        assert "<b>" not in error
