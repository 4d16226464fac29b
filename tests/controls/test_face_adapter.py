"""Units of IP-Adapters for faces: where their faces come from, and the tokens that follow."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.ip_adapter import unit_faces
from lib_ctrlgen.controls.ip_adapter.face_adapter import FaceIDUnit, FaceUnit
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.faces.align import norm_crop
from lib_ctrlgen.faces.embeddings import encoded
from lib_ctrlgen.faces.face import WIDTH, normed
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_image, encode_image
from lib_ctrlgen.models.clip_vision import encoders, load_tower
from lib_ctrlgen.models.storage import CPU, Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.spec import parse_request
from tests.support import control_files as files
from tests.support import face_adapters as adapters
from tests.support.face_adapters import embedding, found_faces

SHAPE = files.shape()
ONE, TWO = (tuple(torch.randn(WIDTH, generator=torch.Generator().manual_seed(k)).tolist()) for k in (1, 2))
NAMES = {
    "faceid": "ip-adapter-faceid_sd15",
    "faceid_plus": "ip-adapter-faceid-plus_sd15",
    "faceid_plus_v2": "ip-adapter-faceid-plusv2_sd15",
    "portrait": "ip-adapter-faceid-portrait_sd15",
    "portrait_unnorm": "ip-adapter-faceid-portrait_sdxl_unnorm",
    "instant_id": "ip-adapter_instant_id_sdxl",
}


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Faces are found by the stub; returns the model packs that were asked for."""
    packs: list[str] = []

    def find_faces(picture: Image.Image, pack: str, *rest: Any) -> Any:
        packs.append(pack)
        return found_faces(picture, pack, *rest)

    monkeypatch.setattr(unit_faces, "find_faces", find_faces)
    return packs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("adapters")
    files.save_vision(folder / "tower")
    for variant, name in NAMES.items():
        shapes = adapters.whole(variant, files.CONTEXT, SHAPE.attention_hidden, clip=48, rank=2)
        adapters.write(folder / f"{name}.bin", adapters.random_tensors(shapes))
    return ModelStore([folder], 1 << 30)


def prepared(store: ModelStore, variant: str, **fields: Any) -> FaceUnit:
    body = {"model": NAMES[variant], **fields}
    (active,) = load_units(parse_request({"units": [body]}).units, Target(store=store, shape=SHAPE))
    assert isinstance(active.control, FaceUnit)
    assert active.control.variant == fields.get("params", {}).get("variant", variant)
    return active.control


def refused(store: ModelStore, variant: str, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as raised:
        prepared(store, variant, **fields)
    return raised.value


def tokens(store: ModelStore, variant: str, *faces: tuple[float, ...]) -> torch.Tensor:
    """What the head of a variant makes of embeddings as it reads them, side by side."""
    head = prepared(store, variant, params={"face": encoded([ONE])}).weights.projection
    read = torch.tensor(faces)
    with torch.no_grad():
        made = head(read[:, None] if variant in {"portrait_unnorm", "instant_id"} else read)
    return made.flatten(0, 1)[None]  # type: ignore[no-any-return]


@pytest.mark.parametrize("variant", ["faceid", "portrait", "portrait_unnorm", "instant_id"])
def test_an_embedding_becomes_tokens(store: ModelStore, variant: str, stub: list[str]) -> None:
    control = prepared(store, variant, params={"face": encoded([ONE])})
    read = ONE if variant in {"portrait_unnorm", "instant_id"} else normed(ONE)
    torch.testing.assert_close(control.whole.cond, tokens(store, variant, read), rtol=0, atol=1e-5)
    nobody = tokens(store, variant, (0.0,) * WIDTH)
    torch.testing.assert_close(control.whole.uncond, nobody, rtol=0, atol=1e-5)
    assert control.whole.cond.shape == (1, 4 if variant == "faceid" else 16, files.CONTEXT)
    assert not stub, "no face is searched where one is given"


@pytest.mark.parametrize(("variant", "pack"), [("faceid", "buffalo_l"), ("instant_id", "antelopev2")])
def test_the_face_of_a_picture_is_found(store: ModelStore, variant: str, pack: str, stub: list[str]) -> None:
    image = files.data_url(50, 60, seed=2)
    control = prepared(store, variant, image=image)
    face = embedding(to_rgb(decode_image(image, "")))
    wanted = tokens(store, variant, face if variant == "instant_id" else normed(face))
    torch.testing.assert_close(control.whole.cond, wanted, rtol=0, atol=1e-5)
    assert set(stub) == {pack}
    assert control.seen.size == (224, 224), "the aligned face"


def pair() -> Image.Image:
    """A picture with two faces."""
    wide = Image.new("RGB", (128, 64))
    for place, seed in enumerate((4, 5)):
        wide.paste(files.picture(64, 64, seed), (64 * place, 0))
    return wide


def test_one_of_several_faces_is_chosen(store: ModelStore) -> None:
    left, right = (normed(embedding(pair().crop((x, 0, x + 64, 64)))) for x in (0, 64))
    for choice, faces in (("1", [left]), ("2", [right]), ("all", [left, right])):
        control = prepared(store, "portrait", image=encode_image(pair()), params={"face_choice": choice})
        torch.testing.assert_close(control.whole.cond, tokens(store, "portrait", *faces), rtol=0, atol=1e-5)
        assert control.whole.uncond.shape[1] == 16
    error = refused(store, "portrait", image=encode_image(pair()), params={"face_choice": "3"})
    assert error.path == "$.units[0].params.face_choice"


def test_faces_stand_side_by_side(store: ModelStore) -> None:
    references = [{"embedding": encoded([TWO])}, {"image": files.data_url(seed=7)}]
    control = prepared(store, "portrait", params={"face": encoded([ONE])}, references=references)
    third = embedding(to_rgb(decode_image(files.data_url(seed=7), "")))
    wanted = tokens(store, "portrait", normed(ONE), normed(TWO), normed(third))
    torch.testing.assert_close(control.whole.cond, wanted, rtol=0, atol=1e-5)
    assert control.whole.cond.shape[1] == 3 * 16
    six = {"face": encoded([ONE] * 6)}
    assert "at most 5" in refused(store, "portrait", params=six).message


def test_faces_are_combined_before_the_head(store: ModelStore) -> None:
    references = [{"embedding": encoded([TWO]), "weight": 0.5}]
    control = prepared(store, "faceid", params={"face": encoded([ONE])}, references=references, combine="add")
    one, two = normed(ONE), normed(TWO)
    mixed = tuple(a + 0.5 * b for a, b in zip(one, two, strict=True))
    torch.testing.assert_close(control.whole.cond, tokens(store, "faceid", mixed), rtol=0, atol=1e-5)
    negative = [{"embedding": encoded([TWO]), "role": "negative"}]
    control = prepared(store, "faceid", params={"face": encoded([ONE])}, references=negative)
    torch.testing.assert_close(control.whole.uncond, tokens(store, "faceid", two), rtol=0, atol=1e-5)


def test_a_weight_type_acts_on_faces_too(store: ModelStore) -> None:
    params = {"face": encoded([ONE]), "weight_type": "style transfer"}
    slopes = prepared(store, "portrait", params=params).weighting.slopes
    assert (slopes[3], slopes[4]) == (1.0, 0.0)


def features(store: ModelStore, picture: Image.Image | None) -> torch.Tensor:
    tower = load_tower(store, encoders(store)[0], Placement(device=CPU, dtype=torch.float32))
    pixels = tower.zeros() if picture is None else tower.pixels(picture)
    with torch.no_grad():
        return tower.feature(pixels, "penultimate")


@pytest.mark.parametrize(("variant", "scale"), [("faceid_plus", None), ("faceid_plus_v2", 1.75)])
def test_plus_reads_the_aligned_face_too(store: ModelStore, variant: str, scale: float | None) -> None:
    image = files.data_url(64, 70, seed=9)
    picture = to_rgb(decode_image(image, ""))
    params = {} if scale is None else {"faceid_v2_weight": scale}
    control = prepared(store, variant, image=image, params=params)
    head = getattr(control.weights.projection, "func", control.weights.projection)
    face = torch.tensor([normed(embedding(picture))])
    crop = norm_crop(picture, adapters.POINTS, 224)
    with torch.no_grad():
        cond = head(face, features(store, crop), scale)
        uncond = head(torch.zeros(1, WIDTH), features(store, None), scale)
    torch.testing.assert_close(control.whole.cond, cond, rtol=0, atol=1e-5)
    torch.testing.assert_close(control.whole.uncond, uncond, rtol=0, atol=1e-5)
    assert control.loaded["image_encoder"].startswith("tower [")
    default = prepared(store, variant, image=image)
    assert (scale is None) == torch.equal(default.whole.cond, control.whole.cond)


def test_the_unit_chooses_between_equal_layouts(store: ModelStore) -> None:
    image = files.data_url(seed=9)
    asked = prepared(store, "faceid_plus", image=image, params={"variant": "faceid_plus_v2"})
    assert not torch.equal(asked.whole.cond, prepared(store, "faceid_plus", image=image).whole.cond)
    error = refused(store, "faceid", image=image, params={"variant": "instant_id"})
    assert (error.path, "those of faceid" in error.message) == ("$.units[0].params.variant", True)


def test_only_faceid_files_bring_a_lora(store: ModelStore) -> None:
    given = {"face": encoded([ONE])}
    with_lora = prepared(store, "faceid", params=given)
    assert isinstance(with_lora, FaceIDUnit)
    assert with_lora.lora_weight == 1.0
    assert not isinstance(with_lora.without_lora(), FaceIDUnit)
    assert not isinstance(prepared(store, "faceid", params={**given, "lora_weight": 0}), FaceIDUnit)
    assert not isinstance(prepared(store, "portrait", params=given), FaceIDUnit)


GIVEN = {"face": encoded([ONE])}


@pytest.mark.parametrize(
    ("variant", "fields", "path", "words"),
    [
        ("faceid", {}, "params.face", "send a picture of it, or its embedding"),
        ("faceid_plus", {"params": GIVEN}, "params.face", "also reads the picture of the face"),
        ("faceid", {"params": {"face": "[1, 2]"}}, "params.face", "512 finite numbers"),
        ("faceid", {"params": {"face": encoded([ONE], "antelopev2")}}, "params.face", "'buffalo_l'"),
        ("faceid", {"params": GIVEN, "control_mode": "prompt"}, "control_mode", "'balanced'"),
        ("faceid", {"params": {**GIVEN, "faceid_v2_weight": 6}}, "params.faceid_v2_weight", "-1..5"),
        (
            "faceid",
            {"params": GIVEN, "references": [{"image": files.data_url(), "role": "composition"}]},
            "references[0].role",
            "needs the weight type",
        ),
        ("portrait", {"references": [{"embedding": "!!"}]}, "references[0].embedding", "base64"),
    ],
)
def test_wrong_units(store: ModelStore, variant: str, fields: dict[str, Any], path: str, words: str) -> None:
    error = refused(store, variant, **fields)
    assert error.path == f"$.units[0].{path}"
    assert words in error.message


def test_no_face_in_the_picture(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_faces, "find_faces", lambda *_: ())
    error = refused(store, "faceid", image=files.data_url())
    assert (error.path, "no face was found" in error.message) == ("$.units[0].image", True)


def test_a_face_that_cannot_be_turned_is_an_error_at_its_picture(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flat(picture: Image.Image, *rest: Any) -> Any:
        return tuple(replace(face, points=((3.0, 3.0),) * 5) for face in found_faces(picture, *rest))

    monkeypatch.setattr(unit_faces, "find_faces", flat)
    error = refused(store, "faceid", params=GIVEN, references=[{"image": files.data_url()}])
    assert (error.path, "one place" in error.message) == ("$.units[0].references[0].image", True)


@pytest.mark.parametrize(
    ("key", "shape", "words"),
    [
        ("ip_adapter.3.to_v_lora.up.weight", None, "missing ip_adapter.3.to_v_lora.up.weight"),
        ("ip_adapter.3.to_v_lora.up.weight", (32, 5), "its other half (32, 5)"),
        ("ip_adapter.3.to_k_lora.down.weight", (2, 32), "maps 32 to 32 channels at attention layer 3 (k)"),
        ("ip_adapter.77.to_q_lora.down.weight", (2, 32), "missing ip_adapter.77.to_q_lora.up.weight"),
    ],
)
def test_a_broken_lora_is_refused(
    tmp_path: Path, key: str, shape: tuple[int, ...] | None, words: str
) -> None:
    shapes = adapters.whole("faceid", files.CONTEXT, SHAPE.attention_hidden, rank=2)
    shapes.pop(key, None)
    shapes |= {} if shape is None else {key: shape}
    adapters.write(tmp_path / f"{NAMES['faceid']}.safetensors", adapters.random_tensors(shapes))
    error = refused(ModelStore([tmp_path], 1 << 30), "faceid", params=GIVEN)
    assert error.path == "$.units[0].model"
    assert words in error.message
