"""Names of preprocessors in sd-webui-controlnet that make no control map.

They name what reads a unit's picture: the image encoder of an IP-Adapter, or a way to act without a model
file. CtrlGen finds the encoder by the model's file, so a request needs none of these names; it may have one,
which is then checked to fit the file.

>>> control_and_params("reference_adain+attn")
('reference', {'method': 'both'})
>>> control_and_params("ip-adapter_clip_h")
('ip_adapter', {})
>>> control_and_params("canny") is None
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from lib_ctrlgen.errors import RequestError

from .params import Value

Encoder: TypeAlias = Literal["", "ViT-H", "ViT-bigG"]
ANY = "auto"  # as a unit's `control`: the family is found from the file
FACES = "ip_adapter_face"
NO_MAP = "none"  # the preprocessor that leaves a picture as it is


@dataclass(frozen=True, kw_only=True)
class EncoderName:
    """A name and what it means in a unit.

    name      the internal name in sd-webui-controlnet
    labels    its other names: the label in sd-webui-controlnet, or the name in Forge
    controls  the control families that it fits; none for a name that a unit cannot have
    params    the parameters of the control that it stands for
    variants  the variants of the model file that it fits; any if there are none
    encoder   the CLIP vision encoder that the file must need; empty for any
    fileless  whether the control has no model file
    instead   what to write instead of a name that a unit cannot have
    """

    name: str
    labels: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    params: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    variants: tuple[str, ...] = ()
    encoder: Encoder = ""
    fileless: bool = False
    instead: str = ""

    @property
    def control(self) -> str:
        """The `control` of a unit with this name."""
        return self.controls[0] if len(self.controls) == 1 else ANY

    @property
    def shown(self) -> str:
        """The name with its other names, for messages."""
        return repr(self.name) + (f" ({', '.join(self.labels)})" if self.labels else "")


def _fileless(name: str, control: str, param: str, value: Value) -> EncoderName:
    return EncoderName(name=name, controls=(control,), params=MappingProxyType({param: value}), fileless=True)


# Errors propose names in this order.
ENCODER_NAMES: tuple[EncoderName, ...] = (
    EncoderName(
        name="ip-adapter_clip_sd15",
        labels=("ip-adapter_clip_h", "CLIP-ViT-H (IPAdapter)"),
        controls=("ip_adapter",),
        encoder="ViT-H",
    ),
    EncoderName(
        name="ip-adapter_clip_sdxl",
        labels=("ip-adapter_clip_g", "CLIP-ViT-bigG (IPAdapter)"),
        controls=("ip_adapter",),
        encoder="ViT-bigG",
    ),
    EncoderName(name="ip-adapter_clip_sdxl_plus_vith", controls=("ip_adapter",), encoder="ViT-H"),
    EncoderName(
        name="ip-adapter_face_id",
        controls=(FACES,),
        variants=("faceid", "portrait", "portrait_unnorm"),
    ),
    EncoderName(
        name="ip-adapter_face_id_plus",
        controls=(FACES,),
        variants=("faceid_plus", "faceid_plus_v2"),
    ),
    EncoderName(name="ip-adapter_pulid", controls=("pulid",)),
    EncoderName(
        name="instant_id_face_embedding",
        labels=("InsightFace (InstantID)",),
        controls=(FACES,),
        params=MappingProxyType({"variant": "instant_id"}),
        variants=("instant_id",),
    ),
    EncoderName(name="clip_vision", labels=("t2ia_style_clipvision",), controls=("t2i_style",)),
    _fileless("reference_only", "reference", "method", "attention"),
    _fileless("reference_adain", "reference", "method", "adain"),
    _fileless("reference_adain+attn", "reference", "method", "both"),
    _fileless("revision_clipvision", "revision", "ignore_prompt", value=False),
    _fileless("revision_ignore_prompt", "revision", "ignore_prompt", value=True),
    EncoderName(
        name="facexlib",
        instead="it is a part of PuLID in sd-webui-controlnet: name a PuLID file in `model`, and leave the "
        "preprocessor out or write 'ip-adapter_pulid'",
    ),
    EncoderName(name="InsightFace+CLIP-H (IPAdapter)", controls=(FACES,)),  # Forge: for every face file
    EncoderName(name="ip-adapter-auto", controls=("ip_adapter", FACES, "pulid")),
)
_BY_NAME: Mapping[str, EncoderName] = MappingProxyType(
    {name: each for each in ENCODER_NAMES for name in (each.name, *each.labels)}
)


def encoder_name(given: str) -> EncoderName | None:
    """The entry of a name or label; None for any other text."""
    return _BY_NAME.get(given)


def control_and_params(given: str) -> tuple[str, dict[str, Value]] | None:
    """What a unit has in place of such a preprocessor: its `control` and `params`; None for other names.

    None also for a name that a unit cannot have (`facexlib`).
    """
    found = encoder_name(given)
    return None if found is None or not found.controls else (found.control, dict(found.params))


@dataclass(frozen=True, kw_only=True)
class Understood:
    """The fields of a unit with such a preprocessor, after they were read."""

    control: str
    preprocessor: str
    params: dict[str, Value]


def understood(named: EncoderName, *, model: str, control: str, params: Mapping[str, Value]) -> Understood:
    """The fields that a unit with this preprocessor has.

    A control without a model file takes the name's place. Else the name stays, and is compared with the file
    when it is known. Raises RequestError at one of the unit's fields if they contradict the name.
    """
    if named.instead:
        raise RequestError("preprocessor", f"{named.shown} makes no control map: {named.instead}")
    if named.fileless and model:
        message = f"must be empty: {named.shown} acts without a model file"
        raise RequestError("model", f"{message}, like the control {named.control!r}, which it stands for")
    if control not in {ANY, *named.controls}:
        message = (
            f"{named.shown} is for the control {' or '.join(map(repr, named.controls))}, and the unit's "
        )
        raise RequestError("preprocessor", message + f"is {control!r}: write 'none', or leave it out")
    for name, value in named.params.items():
        if params.get(name, value) != value:
            message = f"is {params[name]!r}, and the preprocessor {named.shown} stands for {value!r}"
            raise RequestError(f"params.{name}", f"{message}: leave one of them out")
    return Understood(
        control=named.control if named.fileless else control,
        preprocessor=NO_MAP if named.fileless else named.name,
        params={**params, **named.params},
    )


def without_map(named: EncoderName) -> str:
    """The error where a preprocessor must make a control map, and this one makes none."""
    if named.instead:
        return f"{named.shown} makes no control map: {named.instead}"
    given = " and ".join(f"params.{name} {value!r}" for name, value in named.params.items())
    stands = "control " + " or ".join(map(repr, named.controls)) + (f" with {given}" if given else "")
    return (
        f"{named.shown} makes no control map: leave it out, or write it alone, as the preprocessor of a "
        f"unit; it stands for the {stands}"
    )
