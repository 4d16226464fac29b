"""One controlled generation: a session around `p.sample`, with the host's steps as its clock.

Imported only once there is something to do: this is what brings the engine and its libraries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from modules import devices, sd_unet, shared
from PIL import Image

from lib_ctrlgen.calls import UNetShape
from lib_ctrlgen.clocks import RowQueue
from lib_ctrlgen.controls import load_units
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.session import ControlSession
from lib_ctrlgen.spec import ControlRequest
from lib_ctrlgen.unet import LdmUNet
from lib_ctrlgen.units import ActiveUnit, ResidualControl

from .blending import blend_parts, blended_seeds
from .conditioning import ScheduledPrompts
from .guidance import Guidance
from .settings import model_store
from .steps import Follow, FollowedSample, Part, is_hires

SELF_MADE_UNET = (
    "the WebUI runs a U-Net of another kind ({name}, setting 'SD Unet'), which controls cannot reach: "
    "set it to None, or switch the units off"
)


class ControlledUnits:
    """The units of a request, loaded for a U-Net of this shape."""

    def __init__(self, units: tuple[ActiveUnit, ...], shape: UNetShape, size: tuple[int, int]) -> None:
        self.units = units
        self.shape = shape
        self.size = size

    @contextmanager
    def batch(self) -> Iterator[Follow]:
        """Put the units on the U-Net for one batch."""
        rows = RowQueue()
        port = current_port()
        require_shape(self.shape, port)
        with ControlSession(port, self.units, rows) as session:
            yield lambda params: self.follow(params, session, rows)

    def follow(self, params: Any, session: ControlSession, rows: RowQueue) -> None:
        """Before a step's U-Net calls: move to the U-Net that is loaded now, announce the rows."""
        port = current_port()
        if port.module is not session.port.module:
            session.retarget(port)
        height, width = params.x.shape[-2:]
        self.size = (int(width) * 8, int(height) * 8)
        denoiser = params.denoiser
        steps = int(denoiser.step), int(denoiser.total_steps)
        rows.begin(*steps, step_rows(params), hires=is_hires(denoiser))

    def control_maps(self) -> list[Image.Image]:
        """What the control networks saw at the last size, unit by unit."""
        controls = (unit.control for unit in self.units)
        return [
            control.control_map(*self.size) for control in controls if isinstance(control, ResidualControl)
        ]


def controlled_sample(p: Any, request: ControlRequest, *, prompts: bool) -> FollowedSample:
    """What a request does to a generation, loaded and in its place. Raises CtrlGenError.

    `prompts` says that they hold weights of ours.
    """
    parts: list[Part] = []
    if request.enabled_units:
        parts.append(controlled_units(request, (int(p.width), int(p.height))))
    guidance = Guidance(request.cfg_scale, request.hires_cfg_scale)
    parts += blend_parts(request.blend, int(p.batch_size), img2img=hasattr(p, "init_images"))
    p.all_seeds = blended_seeds(request.blend, p.all_seeds, int(p.batch_size))
    if prompts:
        parts.append(ScheduledPrompts(p, request, guidance))
    if prompts or guidance.acts:
        parts.append(guidance)
    return FollowedSample(p, parts)


def controlled_units(request: ControlRequest, size: tuple[int, int]) -> ControlledUnits:
    """Load the request's units for the loaded checkpoint. Raises CtrlGenError."""
    shape = current_port().shape
    with torch.no_grad():
        units = load_units(
            request.units, model_store(), shape, device=devices.device, dtype=devices.dtype_unet
        )
    return ControlledUnits(units, shape, size)


def current_port() -> LdmUNet:
    """The U-Net that the WebUI would call now. Raises HostError where controls cannot reach it."""
    if sd_unet.current_unet is not None:
        raise HostError(SELF_MADE_UNET.format(name=type(sd_unet.current_unet).__name__))
    return LdmUNet(shared.sd_model.model.diffusion_model)


def require_shape(shape: UNetShape, port: LdmUNet) -> None:
    """Raise HostError when the checkpoint was changed for one that the loaded units do not fit."""
    if port.shape != shape:
        raise HostError(
            f"the checkpoint was changed for one with another U-Net between the batches ({shape.family}, "
            f"then {port.shape.family}): keep one checkpoint, or switch the units off"
        )


def step_rows(params: Any) -> list[tuple[bool, int]]:
    """The rows of a step as (cond, image), in the order in which the WebUI lays them out.

    Each image's prompts (several with `AND`), image by image, then one uncond row per
    image; twice as many with InstructPix2Pix. Raises HostError when that does not add up.
    """
    prompts = [len(parts) for parts in params.denoiser.sampler.sampler_extra_args["cond"].batch]
    conds = [(True, image) for image, count in enumerate(prompts) for _ in range(count)]
    total, images = int(params.x.shape[0]), len(prompts)
    rounds, left = divmod(total - len(conds), images)
    if left or rounds < 0:
        raise HostError(f"{total} rows for {images} images with {len(conds)} prompts: an unknown layout")
    return conds + [(False, image) for image in range(images)] * rounds
