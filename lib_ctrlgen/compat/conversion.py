"""Converts units of sd-webui-controlnet to a request that makes the same picture.

>>> from lib_ctrlgen.request.notices import Notices
>>> from .generation import Generation
>>> unit = ControlNetUnit(module="canny", model="edges [0a1b2c3d]", images=(), guidance_end=0.5)
>>> request = converted([unit], Generation(family="sd15", img2img=True), Notices())
>>> request.units[0].preprocessor, request.units[0].image_from, request.units[0].semantics
('canny', 'init', ControlNetSemantics(resolution=512, weight=1.0, all_cond=False, union_type=''))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.catalogue import without_model
from lib_ctrlgen.request.encoder_names import control_and_params, encoder_name
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.params import Value
from lib_ctrlgen.request.reference import Reference
from lib_ctrlgen.request.semantics import ControlNetSemantics
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit
from lib_ctrlgen.request.unit import ControlMode

from .generation import RESIZE_MODES, Generation
from .modules import UNSCALED, module_of
from .pictures import channel, encoded, seen, size_of, with_holes
from .places import ARGUMENTS, at_unit
from .resolution import pixel_perfect, resolution_of
from .unit import NO_MODEL, ControlNetUnit, OldResizeMode
from .values import OWN_CONTROL_MODES, OWN_RESIZE_MODES
from .weights import IP_ADAPTERS, layers_of, weights_of

OWN = 'set "ctrlgen_semantics": true in the unit to have CtrlGen\'s own way'
UNION_TYPES = MappingProxyType(
    {
        "OpenPose": "openpose",
        "Depth": "depth",
        "Soft Edge": "hed",
        "Hard Edge": "canny",
        "Normal Map": "normal",
        "Segmentation": "segment",
        "Tile": "tile",
        "Inpaint": "inpaint",
    }
)
PULID = "ip-adapter_pulid"
RANDOM = ("reference", "revision")  # families whose noise follows no seed in sd-webui-controlnet
# What sd-webui-controlnet does in a way that CtrlGen does not repeat: the reason.
NOT_REPEATED = MappingProxyType(
    {
        "inpaint_only+lama": "sd-webui-controlnet lets LaMa fill the picture before it is fitted",
        PULID: "sd-webui-controlnet protects the prompt by another formula than PuLID's own",
    }
)


def converted(units: Sequence[ControlNetUnit], generation: Generation, notices: Notices) -> ControlRequest:
    """The request that does what the units do in sd-webui-controlnet 1.1.455; unit `i` becomes unit `i`.

    Raises RequestError below `$.alwayson_scripts.ControlNet.args[i]` for what cannot be carried out, or not
    in the same way. What the picture does not depend on becomes a notice there.
    """
    conversions = (_conversion(unit, place, generation, notices) for place, unit in enumerate(units))
    return ControlRequest(units=tuple(each.unit_of() for each in conversions))


def converted_unit(unit: ControlNetUnit, place: int, generation: Generation, notices: Notices) -> ControlUnit:
    """The unit at this place among its script's arguments as CtrlGen's own.

    Raises RequestError below `$.alwayson_scripts.ControlNet.args[place]`, also for the unit's own checks.
    """
    with at_unit(place):
        return _conversion(unit, place, generation, notices).unit_of()


def _conversion(unit: ControlNetUnit, place: int, generation: Generation, notices: Notices) -> Conversion:
    return Conversion(unit=unit, path=f"{ARGUMENTS}[{place}]", generation=generation, notices=notices)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The conversion of one unit, whose JSON path is `path`."""

    unit: ControlNetUnit
    path: str
    generation: Generation
    notices: Notices

    def unit_of(self) -> ControlUnit:
        """The unit of CtrlGen. Raises RequestError."""
        if not self.unit.enabled:
            return ControlUnit(enabled=False)
        self._check()
        return ControlUnit(
            model=self.model,
            control=self.control[0],
            preprocessor="none" if self.families else self.module,
            params=self.params,
            guidance_start=self.unit.guidance_start,
            guidance_end=self.unit.guidance_end,
            resize_mode=OWN_RESIZE_MODES[self.resize_mode],
            inpaint_crop=self.unit.inpaint_crop_input_image,
            mask=self.region,
            low_vram=True if self.unit.low_vram else None,
            control_mode=self.mode,
            semantics=self.semantics,
            **self.picture,
            **weights_of(self.weighted, hires=self.hires, layers=not self.is_ip_adapter),
        )

    def _check(self) -> None:
        """Raise RequestError for what is not repeated; add a notice for what cannot be."""
        if self.own:
            return
        module = PULID if self.is_ip_adapter and "pulid" in self.unit.model.lower() else self.module
        if module in NOT_REPEATED:
            raise RequestError(f"{self.path}.module", f"{NOT_REPEATED[module]}: {OWN}")
        if set(self.families) & set(RANDOM):
            message = "sd-webui-controlnet draws new noise in every generation, so its pictures do not repeat"
            self.notices.add(f"{self.path}.module", message)

    @property
    def own(self) -> bool:
        """Whether the unit means what CtrlGen's own units mean."""
        given = self.unit.ctrlgen_semantics
        return self.generation.own_semantics if given is None else given

    @property
    def module(self) -> str:
        """The preprocessor; `inpaint` for `inpaint_only` where the WebUI itself paints a masked area."""
        masked = self.generation.img2img and self.generation.inpaint
        if self.unit.module == "inpaint_only" and masked and not self.own:
            return "inpaint"
        return self.unit.module

    @property
    def control(self) -> tuple[str, dict[str, Value]]:
        """The control family that the preprocessor's name stands for, and its parameters."""
        return control_and_params(self.module) or ("auto", {})

    @property
    def model(self) -> str:
        """The name of the model file. Raises RequestError for a unit that needs one and has none."""
        if without_model(self.control[0]):
            return ""
        if self.unit.model.strip().lower() in ("", NO_MODEL.lower()):
            raise RequestError(f"{self.path}.model", "is required: name a model file, or switch the unit off")
        return self.unit.model

    @property
    def families(self) -> tuple[str, ...]:
        """The control families that the preprocessor's name fits; none for one that makes a map."""
        found = encoder_name(self.module)
        return () if found is None else found.controls

    @property
    def is_ip_adapter(self) -> bool:
        """Whether the unit is one of an IP-Adapter."""
        return bool(self.families) and set(self.families) <= set(IP_ADAPTERS)

    @property
    def params(self) -> dict[str, Value]:
        """The thresholds, and what else are parameters of the preprocessor or of the control."""
        thresholds = module_of(self.module).params(
            threshold_a=self.unit.threshold_a, threshold_b=self.unit.threshold_b
        )
        return {**self.control[1], **thresholds, **self._resolution(), **self._further()}

    def _resolution(self) -> dict[str, Value]:
        """The parameter `resolution` of a preprocessor that has it, with CtrlGen's own semantics."""
        resolution = resolution_of(self.unit, module_of(self.module))
        scaled = resolution and self.module not in UNSCALED and not self.families
        return {"resolution": resolution} if self.own and scaled and not self.unit.pixel_perfect else {}

    def _further(self) -> dict[str, Value]:
        if self.module == PULID:
            return {"preset": "fidelity" if self.unit.pulid_mode == "Fidelity" else "style"}
        if self.is_ip_adapter:
            return layers_of(self.unit)
        if self.families == ("reference",) and not self.own:
            return {"attention_weight": min(self.unit.weight, 1.0), "adain_weight": self.unit.weight}
        if self.module in ("inpaint_only", "inpaint_only+lama"):
            return {"border": self.generation.inpaint_blur}
        if self.module == "shuffle":
            return {"seed": self.generation.map_seed}
        return {}

    @property
    def resize_mode(self) -> OldResizeMode:
        """The unit's, or img2img's for its own picture."""
        return self.unit.resize_mode if self.unit.images else RESIZE_MODES[self.generation.resize_mode]

    @property
    def picture(self) -> dict[str, Any]:
        """The fields with the unit's picture. Raises RequestError for a unit without one."""
        given = self.unit.images
        if not given:
            if not self.generation.img2img:
                raise RequestError(f"{self.path}.image", "is required: send a picture, or use img2img")
            return {"image_from": "init"}
        if len(given) > 1:
            return self._pictures()
        return {"image": self._seen(0)}

    def _seen(self, number: int) -> str:
        given, path = self.unit.images[number], self.path
        if not given.mask:
            return given.image
        if self.module.startswith("inpaint") or self.reads_clip:
            return encoded(with_holes(given, path))
        return encoded(seen(given, path, ignore_mask=self.generation.ignore_mask))

    @property
    def reads_clip(self) -> bool:
        """Whether a CLIP vision encoder sees the picture."""
        named = "ip-adapter" in self.module and "face_id" not in self.module
        return named or self.module in ("clip_vision", "revision_clipvision", "revision_ignore_prompt")

    def _pictures(self) -> dict[str, Any]:
        """The fields with several pictures. Raises RequestError for a unit that does not take several."""
        if not self.is_ip_adapter:
            message = f"{len(self.unit.images)} pictures: only IP-Adapters take several in one unit"
            raise RequestError(f"{self.path}.image", message)
        if any(each.mask for each in self.unit.images):
            raise RequestError(f"{self.path}.mask", "is for a unit with a single picture")
        first, *others = (self._seen(number) for number in range(len(self.unit.images)))
        return {
            "image": first,
            "references": tuple(Reference(image=each) for each in others),
            "combine": "average" if self.own else "concat",  # their tokens are averaged, see `semantics`
        }

    @property
    def weighted(self) -> ControlNetUnit:
        """The unit with the weight that CtrlGen multiplies by: that of a reference picture is its reach."""
        reach = self.families == ("reference",) and not self.own and self.unit.weight > 0
        return replace(self.unit, weight=1.0) if reach else self.unit

    @property
    def hires(self) -> bool:
        """Whether the unit's `hr_option` decides about two passes: IP-Adapters act in both."""
        if not self.generation.hires or not self.is_ip_adapter or self.own:
            return self.generation.hires
        if self.unit.hr_option != "Both":
            message = f"an IP-Adapter acts in both passes, as in sd-webui-controlnet: {OWN}"
            self.notices.add(f"{self.path}.hr_option", message)
        return False

    @property
    def mode(self) -> ControlMode:
        """The control mode; `balanced` for IP-Adapters, which have none."""
        return "balanced" if self.is_ip_adapter else OWN_CONTROL_MODES[self.unit.control_mode]

    @property
    def region(self) -> str:
        """The mask of the unit. Raises RequestError."""
        given = self.unit.effective_region_mask
        return encoded(channel(given, f"{self.path}.effective_region_mask")) if given else ""

    @property
    def semantics(self) -> ControlNetSemantics | None:
        """How the unit is carried out."""
        if self.own:
            return None
        resolution = resolution_of(self.unit, module_of(self.module))
        if resolution and self.unit.pixel_perfect:
            resolution = pixel_perfect(self.picture_size, self.generation, self.resize_mode)
        union_type = UNION_TYPES.get(self.unit.union_control_type, "")
        return ControlNetSemantics(
            resolution=resolution,
            weight=self.unit.weight,
            all_cond=self.generation.hires and not self.generation.hires_early,
            union_type=union_type,
        )

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height of the picture that the preprocessor gets. Raises RequestError."""
        here = self.generation
        if here.inpaint and here.only_masked and self.unit.inpaint_crop_input_image:
            return here.width, here.height
        if not self.unit.images:
            return here.init_size
        return size_of(self.unit.images[0], self.path)
