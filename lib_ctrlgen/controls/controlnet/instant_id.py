"""InstantID: a ControlNet for SDXL that reads a face instead of the text, and its image attention.

Wang et al. 2024, InstantID: Zero-shot Identity-Preserving Generation in Seconds. Its map shows five
points of a face; in the place of the text's tokens the ControlNet attends to those that a resampler makes
of the face's embedding, on unconditional rows to those of zeros. The resampler is in InstantID's IP-Adapter
file, as is the attention of the U-Net to the same tokens. The face is encoded once for both.

No tensor tells the ControlNet from an ordinary one: its name does, or `control`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from lib_ctrlgen.controls.base import Target, UnitInputs
from lib_ctrlgen.controls.control_map import ControlMap
from lib_ctrlgen.controls.ip_adapter.combine import even
from lib_ctrlgen.controls.ip_adapter.face_adapter import FaceUnit
from lib_ctrlgen.controls.ip_adapter.file import IMAGE, AdapterWeights, stored_adapter, stored_head
from lib_ctrlgen.controls.ip_adapter.prepared import PreparedIPAdapter, require_widths
from lib_ctrlgen.controls.ip_adapter.unit_faces import UnitFace
from lib_ctrlgen.controls.params import ADAPTER_WEIGHT, INSTANT_ID
from lib_ctrlgen.errors import ModelError, at_path
from lib_ctrlgen.faces.embeddings import read_embedding
from lib_ctrlgen.faces.face import FACE_CHOICE, WIDTH, Embedding, choose, require_faces
from lib_ctrlgen.faces.find import find_faces
from lib_ctrlgen.faces.packs import INSTANT_ID as PACK
from lib_ctrlgen.images.codec import to_rgb
from lib_ctrlgen.images.files import decode_image
from lib_ctrlgen.models.hub_cache import in_hub_cache
from lib_ctrlgen.models.kind import ModelKind
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_header
from lib_ctrlgen.request.params import Param, Value
from lib_ctrlgen.request.schedule import constant
from lib_ctrlgen.unet.attention import KeyValue
from lib_ctrlgen.unet.call import AttentionSite, UNetCall

from .controlnet import ControlNet
from .network import NetworkInputs
from .prepared import PreparedControlNet

OWN_FACE = ("face", "face_image", "face_adapter")  # parameters by which a unit has a face of its own


@dataclass(frozen=True, kw_only=True)
class InstantID(ControlNet):
    """A loaded network. What it reads of a face comes from another file, see `prepare`."""

    name: ClassVar[str] = "instant_id"
    title: ClassVar[str] = "InstantID's ControlNet"
    params: ClassVar[tuple[Param, ...]] = INSTANT_ID

    @classmethod
    def face_pack(cls, kind: ModelKind, params: Mapping[str, Value], path: str) -> str:
        """The model pack that it was trained with, see `FaceControl`."""
        del kind, params, path
        return PACK

    def prepare(self, job: UnitInputs, target: Target) -> PreparedInstantID:
        """Make one unit ready. Raises RequestError at the unit's fields."""
        shown = ControlMap.of(job, target, 0.0, holes=False)
        before = adapter_before(job)
        if before is not None and not any(job.params[name] for name in OWN_FACE):
            return PreparedInstantID(model=self, map=shown, tokens=tokens_of(before.whole))
        weight = float(job.params[ADAPTER_WEIGHT.name]) if before is None else 0.0
        adapter, label = face_adapter(job, target, whole=weight > 0.0)
        attention = face_attention(adapter, embedding_of(job, target.store))
        prepared = PreparedInstantID(
            model=self, map=shown, tokens=tokens_of(attention), loaded={"face_adapter": label}
        )
        return prepared.attending(attention, weight) if weight > 0.0 else prepared


def face_attention(adapter: AdapterWeights, face: Embedding) -> PreparedIPAdapter:
    """The attention to a face's tokens, on unconditional rows to those of zeros."""
    like, source = adapter.weights.like, UnitFace(path="", weight=constant(1.0), numbers=face)
    numbers = torch.tensor([[face]], dtype=torch.float32).to(like)
    with torch.no_grad(), adapter.weights.present():
        cond, uncond = adapter.projection(numbers), adapter.projection(torch.zeros_like(numbers))
    return PreparedIPAdapter(weights=adapter, cond=cond, uncond=uncond, seen=source.look)


def tokens_of(attention: PreparedIPAdapter) -> Tensor:
    """Tokens [2, T, X], of unconditional and of conditional rows."""
    return torch.cat(even([attention.uncond, attention.cond]))


def adapter_before(job: UnitInputs) -> FaceUnit | None:
    """The unit right before, where that is InstantID's IP-Adapter: the form that other programs have."""
    before = job.before
    return before if isinstance(before, FaceUnit) and before.variant == "instant_id" else None


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


def face_adapter(job: UnitInputs, target: Target, *, whole: bool) -> tuple[AdapterWeights, str]:
    """InstantID's IP-Adapter from the store's cache, and its file's label; its head alone unless `whole`.

    Raises RequestError.
    """
    named = str(job.params["face_adapter"])
    with at_path(f"{job.path}.params.face_adapter"):
        path = target.store.resolve(named) if named else only_adapter(target.store)
        if not is_resampler(target.store.get(path, read_header)):
            raise ModelError(f"'{path.stem}' is not InstantID's IP-Adapter: it reads no face into tokens")
        adapter = (stored_adapter if whole else stored_head)(path, target.store, target.placement)
        width, wanted = int(adapter.projection.norm_out.normalized_shape[0]), target.shape.family.context_dim
        if width != wanted:
            raise ModelError(
                f"'{path.stem}' makes tokens of width {width}, the loaded checkpoint reads {wanted}"
            )
        if whole:
            require_widths([keys.shape[0] for keys, _ in adapter.layers], target.shape.attention_hidden)
        return adapter, target.store.files.label(path)


def only_adapter(store: ModelStore) -> Path:
    """The file with a face resampler among those whose name says InstantID. Raises ModelError."""
    named = [name for name in store.names() if says_instant_id(Path(name))]
    found = [name for name in named if is_resampler(store.get(store.resolve(name), read_header))]
    found = [name for name in found if not in_hub_cache(store.resolve(name))] or found
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

    def attending(self, attention: PreparedIPAdapter, weight: float) -> AttendingInstantID:
        """The same unit with the U-Net's attention to the face's tokens."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return AttendingInstantID(**own, attention=attention, adapter_weight=weight)


@dataclass(frozen=True, kw_only=True, eq=False)
class AttendingInstantID(PreparedInstantID):
    """One unit that is the ControlNet and InstantID's IP-Adapter; both act by the unit's weight."""

    attention: PreparedIPAdapter
    adapter_weight: float

    def terms(
        self, sites: Sequence[AttentionSite], dtype: torch.dtype, device: torch.device
    ) -> tuple[KeyValue, ...]:
        """Keys and values [2, T, hidden] per site, the values times `adapter_weight`."""
        pairs = self.attention.terms(sites, dtype, device)
        return tuple(KeyValue(pair.keys, self.adapter_weight * pair.values) for pair in pairs)


def says_instant_id(path: Path) -> bool:
    """Whether a file's name, or its folder's, is InstantID's."""
    plain = f"{path.parent.name}/{path.stem}".lower()
    return any(word in plain for word in ("instantid", "instant_id", "instant-id"))
