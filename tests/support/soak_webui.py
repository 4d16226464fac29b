"""A soak of the WebUI's extension: the fake host with small real U-Nets and controls of every family."""

import copy
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_ctrlgen.errors import RequestError
from tests.support import control_families as families
from tests.support import control_files as files
from tests.support import networks
from tests.support.fake_webui import FakeWebUI, Processing, fresh, served
from tests.support.soak_headless import expected, with_mistake, write_unusable
from tests.support.soaking import Injected, Snapshot, Stacks, fault_places, injected
from tests.support.unet_calls import sd_diffusers, sdxl_diffusers

CACHE_GB = 0.04  # so small that values are dropped all the time
PLACES = fault_places("webui")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A U-Net of the WebUI, the same in diffusers' classes for making files, and the families for it."""

    unet: Callable[[], Any]
    twin: Callable[[], Any]
    makes: Mapping[str, families.Make]


KINDS = {
    "ldm": Kind(unet=networks.ldm_unet, twin=sd_diffusers, makes=families.SD15),
    "sgm": Kind(unet=networks.sgm_unet, twin=sdxl_diffusers, makes=families.SDXL),
}


class Interrupted(BaseException):
    """What the WebUI's sampler raises in itself once the button was pressed."""


class UNetProcessing(Processing):
    """A generation on a real U-Net, whose text features come from `seed`; may be interrupted."""

    seed = 0
    interrupt_at: int | None = None

    def call(self, rows: Tensor, images: int) -> Tensor:
        """The U-Net on what a step's rows are told."""
        if self.host.state.interrupted:
            raise Interrupted
        generator = torch.Generator().manual_seed(self.seed)
        context = torch.randn(len(rows), networks.TOKENS, networks.CONTEXT, generator=generator)
        told: dict[str, Tensor] = {"context": context}
        if getattr(self.host.unet, "num_classes", None) is not None:
            told["y"] = torch.randn(len(rows), networks.VECTOR, generator=generator)
        times = torch.full((len(rows),), 500)
        parts = rows.split(images) if self.split else [rows]
        starts = [sum(map(len, parts[:place])) for place in range(len(parts))]
        found = []
        for start, part in zip(starts, parts, strict=True):
            own = {name: value[start : start + len(part)] for name, value in told.items()}
            found.append(self.host.unet(part, times[: len(part)], **own))
        return torch.cat(found)

    def sample(self, **given: Any) -> Tensor:
        """The sampling; what there is of it after the button was pressed."""
        with torch.no_grad():
            try:
                return super().sample(**given)
            except Interrupted:
                return torch.zeros(len(self.prompts), 4, self.height // 8, self.width // 8)


def picture(made: Any) -> np.ndarray:
    """Latents, or pictures that were decoded already, as 8-bit pictures."""
    values = torch.tanh(made) if isinstance(made, Tensor) else torch.stack(list(made))
    scaled = (values.float() + 1) * 127.5
    return scaled.round().to(torch.uint8).numpy()


def write_models(folder: Path) -> None:
    """Files of all families for both U-Nets where the WebUI looks for them, and files that cannot be used."""
    own = folder / "models" / "ControlNet"
    own.mkdir(parents=True)
    for kind in KINDS.values():
        base = families.Base(kind.twin())
        for name, make in kind.makes.items():
            save_file({k: v.contiguous() for k, v in make(base).items()}, own / f"{name}.safetensors")
    files.save_vision(folder / "models" / "clip_vision" / "vision", hidden=128)
    write_unusable(own)


@contextmanager
def hosted(folder: Path) -> Iterator["WebUISoak"]:
    """The fake host with small U-Nets of both kinds and files of all their families under `folder`."""
    write_models(folder)
    webui = FakeWebUI()
    webui.flags.ctrlgen_cache_gb = CACHE_GB
    webui.opts.data["ctrlgen_append_maps"] = True
    with served(webui, folder):
        yield WebUISoak(webui, fresh("script").CtrlGenScript())


@dataclass
class WebUISoak:
    """Generations of one fake WebUI, by seed; the checkpoint changes between them."""

    webui: FakeWebUI
    script: Any
    failed: dict[str, int] = field(default_factory=dict)
    checkpoint: str = "ldm"

    def __post_init__(self) -> None:
        with redirect_stdout(StringIO()):  # sgm prints the depth of its transformers
            self.unets = {name: kind.unet() for name, kind in KINDS.items()}
        self.pristine = copy.deepcopy(self.unets)
        self.before = {name: Snapshot(unet) for name, unet in self.unets.items()}
        self.callbacks = self.webui.callbacks.count

    def payload(self, draw: random.Random) -> dict[str, Any]:
        """A request that is right for the checkpoint, which is another one from here on."""
        self.checkpoint = draw.choice(list(KINDS))
        self.webui.unet = self.unets[self.checkpoint]
        return {"units": Stacks(kinds=(*KINDS[self.checkpoint].makes, "reference")).units(draw)}

    def processing(self, draw: random.Random) -> UNetProcessing:
        """A generation of one or two pictures, maybe with hires-fix, maybe row by row."""
        count = draw.choice((1, 1, 2))
        passes = [(64, 64), (128, 64)] if draw.random() < 0.2 else [(64, 64)]
        prompts = [["a", "b"] if draw.random() < 0.2 else ["a"]] * count
        return UNetProcessing(
            self.webui,
            seed=draw.randrange(1 << 30),
            steps=draw.choice((2, 3)),
            batch_size=count,
            all_seeds=list(range(count)),
            prompts=prompts,
            passes=passes,
            enable_hr=len(passes) > 1,
            split=draw.random() < 0.3,
        )

    def generation(self, seed: int) -> np.ndarray | None:
        """Generation number `seed`: its pictures, or None where it failed or was interrupted on purpose.

        Raises AssertionError as `HeadlessSoak.generation` does.
        """
        draw = random.Random(seed)
        payload, p = self.payload(draw), self.processing(draw)
        place = draw.choice(PLACES) if draw.random() < 0.55 else "none"
        changed = with_mistake(payload, place, draw)
        if place == "interrupt":
            last = draw.randint(0, p.steps - 1)
            p.on_step = lambda step: self.webui.state.interrupt() if step == last else None
        try:
            with injected(place, self.webui.unet, draw), self.maybe_unsaved(place):
                found, _ = self.webui.process_images(self.script, p, changed)
        except (Injected, RequestError) as error:
            if not isinstance(error, expected(place)):
                raise AssertionError(f"generation {seed} ({place}): {error!r}") from error  # noqa: TRY004
            self.failed[place] = self.failed.get(place, 0) + 1
            return None
        assert changed is payload, f"generation {seed}: a picture was made in spite of its mistake ({place})"
        if self.webui.state.interrupted:
            self.webui.state.interrupted = False
            self.failed[place] = self.failed.get(place, 0) + 1
            return None
        return picture(found)

    @contextmanager
    def maybe_unsaved(self, place: str) -> Iterator[None]:
        """The WebUI fails after the sampling, for example when it decodes or saves the picture."""
        if place != "saving":
            yield
            return

        def failing(*_: Any) -> Any:
            raise Injected("saving")

        with patch.object(self.webui, "finish", failing):
            yield

    def alone(self, seed: int) -> np.ndarray:
        """What the request of generation number `seed` gives with an empty cache and a new U-Net."""
        draw = random.Random(seed)
        payload, p = self.payload(draw), self.processing(draw)
        settings = sys.modules["lib_ctrlgen.webui.settings"]
        self.webui.unet = copy.deepcopy(self.pristine[self.checkpoint])
        settings._store.cache_clear()
        try:
            return picture(self.webui.process_images(self.script, p, payload)[0])
        finally:
            settings._store.cache_clear()

    def changes(self) -> list[str]:
        """What is not as it was before the first generation."""
        found = [f"{name}: {each}" for name, before in self.before.items() for each in before.changes()]
        if self.webui.callbacks.count != self.callbacks:
            found.append(f"{self.webui.callbacks.count - self.callbacks} callbacks are left")
        return found if torch.is_grad_enabled() else [*found, "autograd is off"]
