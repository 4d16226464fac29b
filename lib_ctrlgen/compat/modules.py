"""What the preprocessors of sd-webui-controlnet 1.1.455 call their numbers, and what CtrlGen calls them.

Its units have a resolution and two thresholds without names. A number outside its range, such as -1, means
the default.

>>> MODULES["canny"].params(threshold_a=-1, threshold_b=150)
{'low_threshold': 100, 'high_threshold': 150}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lib_ctrlgen.request.params import Value

# Preprocessors that CtrlGen always runs at the generation's size: they have no parameter `resolution`.
UNSCALED = ("color", "threshold", "shuffle")
LEAST_RESOLUTION, MOST_RESOLUTION = 64, 2048


@dataclass(frozen=True)
class Number:
    """A threshold: the name of the parameter in CtrlGen, its range and default, whether it is whole."""

    name: str
    low: float
    high: float
    default: float
    whole: bool = False

    def value(self, given: float) -> float | int:
        """The number that a unit means; the default where it is out of range."""
        meant = given if self.low <= given <= self.high else self.default
        return int(meant) if self.whole else float(meant)


@dataclass(frozen=True, kw_only=True)
class Module:
    """A preprocessor.

    a, b        its two thresholds, where it has them
    resolution  the default of `processor_res`; 0 for one that works on the picture as it is
    fixed       whether `processor_res` is ignored
    """

    a: Number | None = None
    b: Number | None = None
    resolution: int = 512
    fixed: bool = False

    def params(self, *, threshold_a: float, threshold_b: float) -> dict[str, Value]:
        """The thresholds of a unit as parameters of CtrlGen."""
        given = ((self.a, threshold_a), (self.b, threshold_b))
        return {number.name: number.value(value) for number, value in given if number is not None}


_GAMMA = Number("gamma", 0.1, 2, 1)
_FIDELITY = Number("style_fidelity", 0, 1, 0.5)
_NOISE = Number("noise_augmentation", 0, 1, 0)
_VARIATION = Number("variation", 3, 32, 8, whole=True)
_SAFE_STEPS = Number("safe_steps", 0, 10, 2, whole=True)
_PLAIN = Module(resolution=0)
_LERES = Module(a=Number("remove_near", 0, 100, 0), b=Number("remove_background", 0, 100, 0))
# Preprocessors without thresholds that run at `processor_res` are not listed.
MODULES: Mapping[str, Module] = MappingProxyType(
    {
        "none": _PLAIN,
        "canny": Module(
            a=Number("low_threshold", 1, 255, 100, whole=True),
            b=Number("high_threshold", 1, 255, 200, whole=True),
        ),
        "invert": _PLAIN,
        "shuffle": Module(fixed=True),
        "blur_gaussian": Module(a=Number("sigma", 0.01, 64, 9)),
        "scribble_xdog": Module(a=Number("threshold", 1, 64, 32)),
        "threshold": Module(a=Number("threshold", 0, 255, 127)),
        "mlsd": Module(
            a=Number("value_threshold", 0.01, 2, 0.1),
            b=Number("distance_threshold", 0.01, 20, 0.1),
        ),
        "depth_leres": _LERES,
        "depth_leres++": _LERES,
        "normal_dsine": Module(a=Number("fov", 0, 360, 60), b=Number("iterations", 1, 20, 5, whole=True)),
        "normal_map": Module(a=Number("background_threshold", 0, 1, 0.4)),
        "softedge_teed": Module(a=_SAFE_STEPS),
        "softedge_anyline": Module(a=_SAFE_STEPS, resolution=1280),
        "mediapipe_face": Module(
            a=Number("max_faces", 1, 10, 1, whole=True), b=Number("min_confidence", 0.01, 1, 0.5)
        ),
        "inpaint": _PLAIN,
        "inpaint_only": _PLAIN,
        "inpaint_only+lama": _PLAIN,
        "tile_resample": Module(a=Number("factor", 1, 8, 1), resolution=0),
        "tile_colorfix": Module(a=_VARIATION, resolution=0),
        "tile_colorfix+sharp": Module(a=_VARIATION, b=Number("sharpness", 0, 2, 1), resolution=0),
        "recolor_luminance": Module(a=_GAMMA, resolution=0),
        "recolor_intensity": Module(a=_GAMMA, resolution=0),
        "reference_only": Module(a=_FIDELITY, resolution=0),
        "reference_adain": Module(a=_FIDELITY, resolution=0),
        "reference_adain+attn": Module(a=_FIDELITY, resolution=0),
        "revision_clipvision": Module(a=_NOISE, resolution=0),
        "revision_ignore_prompt": Module(a=_NOISE, resolution=0),
        "instant_id_face_keypoints": _PLAIN,
    }
)


def module_of(name: str) -> Module:
    """The numbers of a preprocessor."""
    return MODULES.get(name, Module())
