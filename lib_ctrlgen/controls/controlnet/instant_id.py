"""InstantID's ControlNet: a ControlNet for SDXL that reads a face instead of the text.

Wang et al. 2024, InstantID: Zero-shot Identity-Preserving Generation in Seconds. Its map shows five
points of a face; in the place of the text's tokens it attends to those that a resampler makes of the
face's embedding, on unconditional rows to those of zeros. The resampler is in InstantID's IP-Adapter
file. No tensor tells the ControlNet from an ordinary one: its name does, or `control`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.control_map import ControlMap
from lib_ctrlgen.controls.ip_adapter.file import converted
from lib_ctrlgen.controls.params import INSTANT_ID
from lib_ctrlgen.errors import ModelError, at_path
from lib_ctrlgen.faces.embeddings import read_embedding
from lib_ctrlgen.faces.face import FACE_CHOICE, WIDTH, choose, require_faces
from lib_ctrlgen.faces.find import find_faces
from lib_ctrlgen.faces.packs import INSTANT_ID as PACK
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.offload import Weights, placed
from lib_ctrlgen.models.storage import Placement
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_header, read_tensors
from lib_ctrlgen.request.params import Param
from lib_ctrlgen.unet.call import UNetCall

from .controlnet import ControlNet
from .network import NetworkInputs
from .prepared import PreparedControlNet

IMAGE = "image_proj."


@dataclass(frozen=True, kw_only=True)
class InstantID(ControlNet):
    """A loaded network. What it reads of a face comes from another file, see `prepare`."""

    name: ClassVar[str] = "instant_id"
    title: ClassVar[str] = "InstantID's ControlNet"
    params: ClassVar[tuple[Param, ...]] = INSTANT_ID

    def prepare(self, job: UnitInputs, target: Target) -> PreparedInstantID:
        """Make one unit ready. Raises RequestError at the unit's fields."""
        shown = ControlMap.of(job, target, 0.0, holes=False)
        resampler, label = face_resampler(job, target)
        like = resampler.weights.like
        face = torch.tensor([[embedding_of(job, target.store)]], device=like.device, dtype=like.dtype)
        with torch.no_grad(), resampler.weights.present():
            tokens = resampler.network(torch.cat((torch.zeros_like(face), face)))
        return PreparedInstantID(model=self, map=shown, tokens=tokens, loaded={"face_adapter": label})


@dataclass(frozen=True, kw_only=True)
class Resampler:
    """A network that makes tokens [B, T, width] of face embeddings [B, 1, 512]."""

    network: Any
    width: int
    weights: Weights


def embedding_of(job: UnitInputs, store: ModelStore) -> tuple[float, ...]:
    """The embedding of the face that a unit is about. Raises RequestError."""
    given, path = str(job.params["face"]), f"{job.path}.params"
    if given:
        return read_embedding(given, f"{path}.face", PACK)
    named = str(job.params["face_image"])
    with at_path(f"{path}.face_image" if named else f"{path}.face"):
        picture = to_rgb(decode_image(named, f"{path}.face_image")) if named else job.picture
        faces = find_faces(picture, PACK, store.roots, store)
        require_faces(faces)
    return choose(faces, str(job.params[FACE_CHOICE.name]), f"{path}.{FACE_CHOICE.name}").embedding


def face_resampler(job: UnitInputs, target: Target) -> tuple[Resampler, str]:
    """What makes tokens of embeddings, from the store's cache, and its file's label. Raises RequestError."""
    named = str(job.params["face_adapter"])
    with at_path(f"{job.path}.params.face_adapter"):
        path = target.store.resolve(named) if named else only_adapter(target.store)

        def load_face_resampler(path: Path) -> Resampler:
            return read_resampler(path, target.placement)

        resampler = target.store.get(path, load_face_resampler, target.placement)
        width, wanted = resampler.width, target.shape.family.context_dim
        if width != wanted:
            raise ModelError(
                f"'{path.stem}' makes tokens of width {width}, the loaded checkpoint reads {wanted}"
            )
        return resampler, target.store.files.label(path)


def only_adapter(store: ModelStore) -> Path:
    """The file with a face resampler among those whose name says InstantID. Raises ModelError."""
    named = [name for name in store.names() if says_instant_id(Path(name))]
    found = [name for name in named if is_resampler(store.get(store.resolve(name), read_header))]
    if len(found) != 1:
        many = f"there are several: {', '.join(found)}; name one" if found else "there is none"
        raise ModelError(
            f"InstantID's IP-Adapter is needed beside its ControlNet, and {many} (its file ip-adapter.bin, "
            "under a name with 'instantid' in it, in a folder of control models)"
        )
    return store.resolve(found[0])


def is_resampler(shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a file's image projection reads face embeddings into learned tokens."""
    return f"{IMAGE}latents" in shapes and shapes.get(f"{IMAGE}proj_in.weight", ())[1:] == (WIDTH,)


def read_resampler(path: Path, placement: Placement) -> Resampler:
    """The image projection of InstantID's IP-Adapter. Raises ModelError."""
    tensors = read_tensors(path)
    if not is_resampler({key: tuple(value.shape) for key, value in tensors.items()}):
        raise ModelError(f"'{path.stem}' is not InstantID's IP-Adapter: it reads no face into tokens")
    image = {key.removeprefix(IMAGE): value for key, value in tensors.items() if key.startswith(IMAGE)}
    try:
        network = converted(image, placement.home, placement.dtype)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"'{path.stem}' is incomplete: {reason}") from error
    network.eval().requires_grad_(requires_grad=False).to(placement.home, placement.dtype)
    width = int(network.norm_out.normalized_shape[0])
    return Resampler(network=network, width=width, weights=placed([network], placement, path.stem))


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedInstantID(PreparedControlNet):
    """One unit: its map, and a face's tokens [2, T, X], the first row for unconditional rows."""

    tokens: Tensor
    loaded: Mapping[str, str] = field(default_factory=dict)

    def part(self, call: UNetCall) -> NetworkInputs:
        """What the network reads for exactly the rows of `call`: the face in the place of the text."""
        kinds = torch.tensor([int(cond) for cond in call.position.rows.cond], device=self.tokens.device)
        inputs = replace(call.inputs, context=self.tokens[kinds])
        return NetworkInputs(call=replace(call, inputs=inputs), hint=self.model.hint(self.map, call.size))


def says_instant_id(path: Path) -> bool:
    """Whether a file's name, or its folder's, is InstantID's."""
    plain = f"{path.parent.name}/{path.stem}".lower()
    return any(word in plain for word in ("instantid", "instant_id", "instant-id"))
