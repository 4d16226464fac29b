"""The headless engine, which generates the pictures of requests with diffusers.

>>> from lib_ctrlgen.request.spec import GenerationRequest
>>> request = GenerationRequest(prompt="a red star", width=128, height=128, steps=8)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import perf_counter

from msgspec.structs import replace
from PIL import Image

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_requests
from lib_ctrlgen.controls.protocols import MappedControl
from lib_ctrlgen.controls.recorded import Loaded
from lib_ctrlgen.controls.unit import ActiveUnit
from lib_ctrlgen.errors import at_path
from lib_ctrlgen.images.canvas import Canvas
from lib_ctrlgen.models.bundled import note_size
from lib_ctrlgen.models.disk_cache import DiskCache
from lib_ctrlgen.models.memory import Automatic
from lib_ctrlgen.models.places import own_index
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.weight_files import stamp
from lib_ctrlgen.request.batching import RequestBatch
from lib_ctrlgen.request.blend_map import map_cells
from lib_ctrlgen.request.notices import Notices
from lib_ctrlgen.request.plan import StepPlan
from lib_ctrlgen.request.seeds import seeded
from lib_ctrlgen.request.spec import GenerationRequest
from lib_ctrlgen.unet.diffusers_unet import DiffusersUNet

from .checkpoints.load import Networks, Place, load_networks
from .sampling.batch import PromptBatch
from .sampling.diffusion import diffusion_of
from .sampling.embeddings import embeddings_for, infotext_of, note_embeddings
from .sampling.loras import load_loras, note_negative
from .sampling.noise import seeds_of
from .sampling.phrases import phrases_of
from .sampling.prompt_encoder import PromptEncoder
from .sampling.run import Progress, part_progress, sample_batch
from .sampling.threads import Threads

# The least is enough for SD1.5 with some controls; SDXL with a ControlNet takes 10 GB in half precision.
BUDGET = Automatic(
    least=8 << 30, advice="Free memory, or store the units' weights in a smaller form ('storage')."
)


@dataclass(frozen=True, kw_only=True)
class ShownMap:
    """A control map: the image that a unit's network received. `index` is the unit's place in the request.

    `picture` is the first picture of the batch that the map belongs to; None where it belongs to all of them.
    """

    index: int
    model: str
    image: Image.Image
    picture: int | None = None

    @property
    def place(self) -> str:
        """The numbers of the unit and, if there is one, of the picture, as a part of a file name."""
        return str(self.index) if self.picture is None else f"{self.index}-{self.picture:02}"


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The result of a request. `images[i]` was made with `seeds[i]`.

    `request` is the request with seeds drawn where it left them open. `plan` counts steps as the WebUI does:
    second-order samplers call the U-Net twice per step. `rows_computed` of the `rows_asked` rows of the whole
    batch went through the U-Net; the others equalled one of them. `warnings` are texts from
    `lib_ctrlgen.request.notices`; `loaded` names the model files that were used; `networks` are the entries
    of infotexts for LoRAs and embeddings.
    """

    request: GenerationRequest
    images: tuple[Image.Image, ...]
    seeds: tuple[int, ...]
    control_maps: tuple[ShownMap, ...]
    plan: StepPlan
    seconds: float
    rows_computed: int = 0
    rows_asked: int = 0
    warnings: tuple[str, ...] = ()
    loaded: Loaded = field(default_factory=Loaded)
    networks: Mapping[str, str] = field(default_factory=dict)


class Engine:
    """Generates pictures with diffusers, one generation at a time, and keeps loaded models in memory.

    `roots` are the model folders. Loaded models stay in memory up to `budget_bytes` (by default as much as
    the machine can spare), and at least while a generation uses them. `threads` is the number of CPU threads;
    0 measures which number is fastest, unless OMP_NUM_THREADS is set. `weights` are the folders that the user
    named for the weights of preprocessors. `disk` keeps control maps between processes.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        budget_bytes: int | None = None,
        place: Place | None = None,
        threads: int = 0,
        weights: Sequence[Path] = (),
        disk: DiskCache | None = None,
    ) -> None:
        self.threads = Threads.of(threads)
        self.place = place or Place.best()
        budget, index = BUDGET if budget_bytes is None else budget_bytes, own_index() if disk else None
        self.store = ModelStore(roots, budget, weights, index, disk)
        self._lock = Lock()
        self._encoder: PromptEncoder | None = None

    def generate(self, request: GenerationRequest, progress: Progress | None = None) -> Generation:
        """Make the pictures of a request; `progress(done, calls)` is called after every U-Net call.

        Raises RequestError with the place of the mistake, before anything is sampled.
        """
        request = seeded(request)
        cells = map_requests(request)
        parts = [
            self.together([cell], part_progress(progress, number, len(cells)))[0]
            for number, cell in enumerate(cells)
        ]
        return dataclasses.replace(
            parts[-1],
            request=request,
            images=tuple(image for part in parts for image in part.images),
            seeds=tuple(seed for part in parts for seed in part.seeds),
            seconds=sum(part.seconds for part in parts),
            warnings=tuple(dict.fromkeys(text for part in parts for text in part.warnings)),
        )

    def together(
        self, requests: Sequence[GenerationRequest], progress: Progress | None = None
    ) -> list[Generation]:
        """Make the pictures of requests that are alike (`lib_ctrlgen.request.batching`) as one batch.

        Rows of a step that are equal in several requests are computed once. Raises RequestError as `generate`
        does.
        """
        start, notices = perf_counter(), Notices()
        batch = PromptBatch.of([seeded(request) for request in requests])
        shared = batch.shared
        note_size(shared.model, shared.width, shared.height, notices)
        note_negative(shared.negative_prompt, notices)
        with self.store.working_set():
            networks = self.load(shared.model)
            work = networks.unet, 2 * batch.pictures, shared.height // 8, shared.width // 8
            with self._lock, self.threads.chosen(*work):
                units = self.units(batch, networks, notices)
                encoder = self.encoder(networks)
                encoder.embeddings = embeddings_for(networks, self.store)
                checkpoint = find_model(self.store, shared.model)
                loras = load_loras(batch.loras, self.store, networks, checkpoint, notices)
                sampled = sample_batch(batch, networks, units, encoder, progress, notices, loras)
        note_embeddings(encoder.embeddings, notices)
        loaded = Loaded.of(units, self.store.files.label(checkpoint))
        seconds = (perf_counter() - start) / batch.cells
        maps = control_maps(units, shared.width, shared.height)
        cells = zip(batch.requests, sampled.images, sampled.plans, batch.starts, strict=True)
        return [
            Generation(
                request=request,
                images=images,
                seeds=seeds_of(request),
                control_maps=maps,
                plan=plan,
                seconds=seconds,
                rows_computed=sampled.rows_computed,
                rows_asked=sampled.rows_asked,
                warnings=notices.of(picture),
                loaded=loaded,
                networks={**loras.infotext, **infotext_of(encoder.embeddings)},
            )
            for request, images, plan, picture in cells
        ]

    def units(
        self, batch: RequestBatch[GenerationRequest], networks: Networks, notices: Notices | None = None
    ) -> tuple[ActiveUnit, ...]:
        """Load the units and concepts of a batch's first request, and check the others'. Raises RequestError.

        `notices` collects warnings.
        """
        shared = batch.shared
        checkpoint = stamp(find_model(self.store, shared.model))
        target = Target(
            store=self.store,
            shape=DiffusersUNet(networks.unet).shape,
            canvas=Canvas(pictures=shared.batch_size),
            device=self.place.device,
            dtype=networks.unet.dtype,
            unet=networks.unet,
            notices=notices or Notices(),
            diffusion=diffusion_of(networks, checkpoint),
            phrases=phrases_of(networks, checkpoint),
        )
        return load_requests(batch, target)

    def encoder(self, networks: Networks) -> PromptEncoder:
        """The prompt encoder of a model. It caches what it encoded, also for later requests."""
        if self._encoder is None or self._encoder.text_encoders is not networks.text_encoders:
            self._encoder = PromptEncoder(text_encoders=networks.text_encoders)
        return self._encoder

    def load(self, model: str) -> Networks:
        """The networks of a model by name or path. Raises RequestError at `$.model`."""
        with at_path("$.model"), self.threads.as_last():
            return load_networks(find_model(self.store, model), self.store, self.place)


def map_requests(request: GenerationRequest) -> tuple[GenerationRequest, ...]:
    """One request for each picture of a blend's map; the request itself where it asks for no map."""
    if request.blend is None:
        return (request,)
    return tuple(replace(request, blend=blend) for blend in map_cells(request.blend))


def find_model(store: ModelStore, name: str) -> Path:
    """The path of the checkpoint file or diffusers folder with this name. Raises ModelError.

    A path is accepted only inside a model folder.
    """
    return store.files.find_checkpoint(name)


def control_maps(units: Sequence[ActiveUnit], width: int, height: int) -> tuple[ShownMap, ...]:
    """The control map of each unit that has one, in the order of the units."""
    return tuple(
        ShownMap(
            index=unit.index,
            model=unit.spec.label,
            image=unit.control.control_map(width, height),
            picture=unit.pictures[0] if unit.pictures else None,
        )
        for unit in units
        if isinstance(unit.control, MappedControl) and isinstance(unit.index, int)
    )
