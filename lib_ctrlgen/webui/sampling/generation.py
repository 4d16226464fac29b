"""A controlled generation: a `ControlSession` around `p.sample` that follows the WebUI's sampling steps.

This module imports torch and the controls, so it is imported only when a request acts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from modules import devices, shared
from PIL import Image
from torch import Tensor

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.own_layers import EncodingControl
from lib_ctrlgen.controls.prepare import load_requests
from lib_ctrlgen.controls.recorded import Loaded
from lib_ctrlgen.controls.unit import ActiveUnit, of_batch, unit_variants
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.models.bundled import note_size
from lib_ctrlgen.models.store import WorkingSet
from lib_ctrlgen.preprocessors.isolated.terms import under
from lib_ctrlgen.prompts.networks import LoraTag
from lib_ctrlgen.request.batching import RequestBatch
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.spec import ControlRequest, ControlUnit
from lib_ctrlgen.session.assigned_maps import AssignedMaps
from lib_ctrlgen.session.blank_maps import note_blanks
from lib_ctrlgen.session.initial_noise import changed_noise
from lib_ctrlgen.session.session import ControlSession
from lib_ctrlgen.unet.call import LATENT_FACTOR, UNetShape
from lib_ctrlgen.unet.clocks import Row, RowQueue
from lib_ctrlgen.webui.external_code.running_network import publish
from lib_ctrlgen.webui.fitting import naming_fitting
from lib_ctrlgen.webui.progress_text import PASS, interrupted, loading_progress, step_texts
from lib_ctrlgen.webui.settings import model_store, terms

from .blending import Crossfeed, blend_parts, blended_seeds
from .cell_batch import SharedInitLatents, guidance_of, requests_of
from .conditioning import ScheduledPrompts
from .diffusion import loaded_diffusion
from .finishing import finished
from .guidance import Guidance
from .host_batches import each_host_batch
from .inpaint_area import canvas_of, require_place
from .loaded_unet import current_port, require_shape
from .maps import MapOrder, maps_of
from .phrases import LoadedPhrases
from .prompt_loras import each_lora_once
from .published_maps import latest_network, published
from .scheduled_loras import ScheduledLoras
from .sheets import spread_map
from .step_callbacks import StepFunction, StepHandler, StepwiseSample, is_hires

logger = logging.getLogger("ctrlgen")


class ControlledUnits:
    """The loaded units of a generation, for a U-Net of `shape` and the pictures and mask of `canvas`."""

    def __init__(
        self,
        units: tuple[ActiveUnit, ...],
        shape: UNetShape,
        p: Any,
        canvas: Canvas,
        prompts: ScheduledPrompts | None = None,
        variants: Sequence[Sequence[ControlUnit]] = (),
        notices: Notices | None = None,
        used: WorkingSet | None = None,
    ) -> None:
        self.units = units
        self.used = used
        self.variants = variants
        self.prompts = prompts
        self.shape = shape
        self.p, self.canvas = p, canvas
        self.size = (int(p.width), int(p.height))
        self.session: ControlSession | None = None
        self.maps_made = True
        self.assigned = AssignedMaps()
        self.network = latest_network(p, units, self.assigned)
        self.notices = Notices() if notices is None else notices
        # The number of steps of the first pass (False) and of the hires pass (True).
        self.passes: dict[bool, int] = {}

    @contextmanager
    def batch(self) -> Iterator[StepFunction]:
        """Control the U-Net during one batch."""
        rows = RowQueue()
        port = current_port()
        require_shape(self.shape, port)
        require_place(self.p, self.canvas)
        units = of_batch(self.units, int(self.p.iteration), int(self.p.batch_size))
        units = each_lora_once(units, self.notices)
        with ExitStack() as stack:
            stack.enter_context(self.used or nullcontext())
            stack.enter_context(under(terms(interrupted)))
            tell = stack.enter_context(step_texts())
            session = stack.enter_context(ControlSession(port, units, rows, self.variants, tell))
            self.session = session
            announce_batches = stack.enter_context(each_host_batch(rows))
            session.assigned = self.assigned
            stack.enter_context(published(self.p, self.network))

            def follow(params: Any) -> None:
                self.follow(params, session, rows)
                announce_batches(params)

            yield follow
            if not interrupted():
                self.notices.extend(session.observed())
        report_rows(session)

    def begin(self, p: Any, x: Tensor, noise: Tensor) -> None:
        """Before a pass, encode the units' pictures, and let units change the first noise of txt2img."""
        if self.session is None:
            return
        self.assigned.maps.clear()
        self.prepare(self.session, x)
        if not self.maps_made:
            return
        height, width = x.shape[-2:]
        size, units = (int(height), int(width)), self.session.units
        self.maps_made = note_blanks(units, size, LATENT_FACTOR, self.notices, PASS)
        if x is noise and not getattr(p, "is_hr_pass", False):
            noise.copy_(changed_noise(noise, self.session.units, self.variants))

    def prepare(self, session: ControlSession, x: Tensor) -> None:
        """Encode the pictures that units need, at the size of the latents `x` [B, C, h, w].

        This must not happen while the U-Net runs: under --medvram the VAE would replace it on the GPU. After
        an interruption no further picture is encoded, as no U-Net call follows.
        """
        height, width = x.shape[-2:]
        self.maps_made = True
        for part in (part for unit in session.units for part in unit.parts):
            if interrupted():
                self.maps_made = False
                return
            if isinstance(part.control, EncodingControl):
                with PASS.shown("encoding the units' pictures"):
                    part.control.prepare(int(height), int(width))

    def finished(self, p: Any, made: Any) -> Any:
        """Return a batch's pictures after the units that change finished pictures, else `made` itself.

        Raises the session's error if a prediction was not finite, while the U-Net is still loaded.
        """
        if self.session:
            self.session.wait_for_checks()
        return finished(p, made, self.session) if self.session and self.session.finishes else made

    def follow(self, params: Any, session: ControlSession, rows: RowQueue) -> None:
        """Before a step's U-Net calls, move the session to the loaded U-Net, and tell it the step's rows."""
        port = current_port()
        if port.module is not session.port.module:
            session.retarget(port)
            self.prepare(session, params.x)
        height, width = params.x.shape[-2:]
        self.size = (int(width) * 8, int(height) * 8)
        denoiser = params.denoiser
        steps = int(denoiser.step), int(denoiser.total_steps)
        owners = self.prompts.owners(params) if self.prompts else None
        hires = is_hires(denoiser)
        self.announce(session, steps[1], hires)
        reported, size = params.sampling_step / params.total_sampling_steps, (int(height), int(width))
        rows.begin(*steps, step_rows(params, owners), hires=hires, reported=reported, size=size)

    def announce(self, session: ControlSession, steps: int, hires: bool) -> None:
        """At the first step of the last pass, collect warnings about units that do not act.

        Only then are the steps of all passes known. Raises RequestError for a unit that acts in no step.
        """
        if self.passes.get(hires) == steps:
            return
        self.passes[hires] = steps
        if hires or not getattr(self.p, "enable_hr", False):
            self.notices.extend(session.expected(self.passes))

    def recorded(self, request: ControlRequest) -> ControlRequest:
        """Return the request with the names and hashes of the models that were loaded for it."""
        return Loaded.of(self.units).recorded(request)

    def control_maps(self, order: MapOrder) -> list[Image.Image]:
        """Return the control maps of the units that `order` asks for; none that were not made for it."""
        return maps_of(self.units, order, self.size) if self.maps_made else []


def controlled_sample(
    p: Any,
    batch: RequestBatch[ControlRequest],
    *,
    prompts: bool,
    loras: Sequence[LoraTag] = (),
    notices: Notices | None = None,
) -> StepwiseSample:
    """Load a batch, and return the replacement of `p.sample` that applies it. Raises CtrlGenError.

    `prompts` is whether a prompt has scheduled or named weights, or a blend changes it. `loras` are the LoRAs
    of the prompts that have schedules. `notices` are the warnings so far.
    """
    parts: list[StepHandler] = []
    request, requests = batch.shared, requests_of(batch)
    guidance = Guidance(guidance_of(batch), [each.hires_cfg_scale for each in requests])
    spread_map(p, request.blend)
    parts += blend_parts(request.blend, int(p.batch_size), img2img=hasattr(p, "init_images"))
    if batch.cells > 1 and hasattr(p, "init_images"):
        parts.append(SharedInitLatents(batch.sizes[0]))
    p.all_seeds = blended_seeds(request.blend, p.all_seeds, int(p.batch_size))
    crossfeed = next((part for part in parts if isinstance(part, Crossfeed)), None)
    stepwise = ScheduledLoras(p, loras, request.prompt_weights) if loras else None
    prompts = prompts or any(tag.te.constant is None for tag in loras)
    scheduled = ScheduledPrompts(p, requests, guidance, crossfeed, stepwise) if prompts else None
    if batch.cells > 1 or request.enabled_units or (request.blend and request.blend.model):
        parts.append(controlled_units(p, batch, scheduled, Notices() if notices is None else notices))
    if stepwise is not None:
        parts.append(stepwise)
    if scheduled is not None:
        parts.append(scheduled)
    if prompts or guidance.acts:
        parts.append(guidance)
    return StepwiseSample(p, parts, request.blend)


def controlled_units(
    p: Any, batch: RequestBatch[ControlRequest], prompts: ScheduledPrompts | None, notices: Notices
) -> ControlledUnits:
    """Load the units of a batch. Raises CtrlGenError.

    A comment below the pictures says when the models of the generation do not fit into the model store.
    """
    port = current_port()
    shape, used = port.shape, model_store().working_set()
    with torch.no_grad(), used:
        canvas = canvas_of(p, batch.sizes[0])
        target = Target(
            store=model_store(),
            shape=shape,
            canvas=canvas,
            device=devices.device,
            dtype=devices.dtype_unet,
            unet=port.module,
            diffusion=loaded_diffusion(),
            phrases=LoadedPhrases(),
            notices=notices,
            away=bool(getattr(shared.sd_model, "lowvram", False)),  # also with --medvram
            progress=loading_progress(p),
        )
        with naming_fitting(shape.family):
            units = load_requests(batch, target)
    note_size(shared.sd_model.sd_checkpoint_info.filename, int(p.width), int(p.height), notices)
    if used.shortage:
        p.comment(used.shortage)
    variants = batch.per_picture(unit_variants(batch.requests, units)) if batch.cells > 1 else ()
    made = ControlledUnits(units, shape, p, canvas, prompts, variants, notices, used)
    publish(p, made.network)
    return made


def report_rows(session: ControlSession) -> None:
    """Log how many U-Net rows a batch of tuner cells saved by sharing them."""
    if session.variants:
        logger.info("%d of %d rows through the U-Net", session.rows_computed, session.rows_asked)


def step_rows(params: Any, owners: Sequence[Sequence[int]] | None = None) -> list[Row]:
    """Return a step's rows in the order of the WebUI's batch.

    First come the cond rows of each picture, several of them with `AND` (`owners` are their concepts),
    then one uncond row for each picture, or two with InstructPix2Pix. Raises HostError if the number of
    rows does not fit this layout.
    """
    prompts = [len(parts) for parts in params.denoiser.sampler.sampler_extra_args["cond"].batch]
    concepts = owners or [[0] * count for count in prompts]
    conds = [Row(True, image, own) for image, owned in enumerate(concepts) for own in owned]
    total, images = int(params.x.shape[0]), len(prompts)
    rounds, left = divmod(total - len(conds), images)
    if left or rounds < 0:
        raise HostError(f"{total} rows for {images} images with {len(conds)} prompts: an unknown layout")
    return conds + [Row(False, image) for image in range(images)] * rounds
