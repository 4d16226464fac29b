"""A soak of the headless engine on small random SD1.5 and SDXL models, with controls of every family."""

import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.checkpoints.load import Place
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support import checkpoint_models as checkpoints
from tests.support import control_families as families
from tests.support import control_files as files
from tests.support import gligen_files, headless_models
from tests.support.soaking import Injected, Snapshot, Stacks, fault_places, injected

CPU = Place(device=torch.device("cpu"), dtype=torch.float32)
MODELS: dict[str, dict[str, families.Make]] = {
    "ctrlgen-tiny": families.SD15,
    "sdxl": families.SDXL,
}
PLACES = fault_places("headless")
MISTAKES = frozenset({"picture", "file", "damage", "nan"})
PROMPTS = ("a red star", "a (red:1.3>0.5) star on (grey:0.6@0, 1@0.5)", "a red star AND a blue sky :0.5", "")
BLEND = {"concepts": [{"prompt": ""}, {"prompt": "a (cat:1>0.5)", "weight": "0.3>0.8"}]}
DAMAGED, ENDLESS = "ctrlgen-damaged", "ctrlgen-nan"
MIDDLE = "middle_block_out.0.weight"


def write_models(folder: Path) -> None:
    """Both checkpoints with files of all families, and one whose file is cut off."""
    tiny, own = folder / "tiny", folder / "sdxl"
    source = headless_models.write_model(tiny)
    for vision in (tiny / "clip_vision").iterdir():
        shutil.rmtree(vision)
    files.save_vision(tiny / "clip_vision" / "vision", hidden=128)  # the style adapter needs that width
    sdxl = checkpoints.sdxl()
    checkpoints.write(own, "sdxl", checkpoints.sdxl_tensors(sdxl), checkpoints.SDXL_YAML)
    for unet, name in ((source.unet, "ctrlgen-tiny"), (sdxl.unet, "sdxl")):
        base = families.Base(unet)
        for kind, make in MODELS[name].items():
            tensors = {key: value.contiguous() for key, value in make(base).items()}
            save_file(tensors, folder / f"{kind}.safetensors")
    gligen_files.save(gligen_files.tensors_for(source.unet), folder / "gligen.safetensors")
    write_unusable(folder)


def write_unusable(folder: Path) -> None:
    """Beside a ControlNet for SD1.5, one whose file is cut off, and one whose outputs are not finite."""
    path = folder / "ldm.safetensors"
    whole = path.read_bytes()
    (folder / f"{DAMAGED}.safetensors").write_bytes(whole[: len(whole) // 2])
    tensors = load_file(path)
    save_file(tensors | {MIDDLE: tensors[MIDDLE] * torch.nan}, folder / f"{ENDLESS}.safetensors")


def kinds_of(model: str) -> tuple[str, ...]:
    found = tuple(MODELS[model])
    more = ("ctrlgen-tiny-edges", "ctrlgen-tiny-ip", "gligen") if model == "ctrlgen-tiny" else ()
    return (*found, *more, "reference")


@dataclass
class HeadlessSoak:
    """Generations of one engine over `folder`, by seed; the budget makes its cache drop values.

    `budget` has to hold the checkpoints.
    """

    folder: Path
    budget: int = 160 << 20
    failed: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = self.fresh()
        self.stacks = {model: Stacks(kinds=kinds_of(model)) for model in MODELS}
        self.networks = {model: self.engine.load(model) for model in MODELS}
        self.before = {
            f"{model} {name}": Snapshot(each)
            for model, networks in self.networks.items()
            for name, each in (("U-Net", networks.unet), ("VAE", networks.vae))
        }

    def fresh(self) -> Engine:
        return Engine([self.folder, self.folder / "tiny", self.folder / "sdxl"], self.budget, CPU)

    def payload(self, draw: random.Random) -> dict[str, Any]:
        """A request that is right."""
        model = draw.choice(list(MODELS))
        stacks = self.stacks[model]
        blend = {"blend": BLEND} if draw.random() < 0.1 else {}
        return {
            "model": model,
            "prompt": draw.choice(PROMPTS if not blend else PROMPTS[:2]),
            "negative_prompt": draw.choice(("", "blue")),
            "width": stacks.size,
            "height": stacks.size,
            "steps": draw.choice(stacks.steps),
            "sampler": draw.choice(("Euler", "Euler a", "DDIM", "DPM++ 2M", "Heun")),
            "cfg_scale": draw.choice((1, 5, "7>3")),
            "seed": draw.randrange(1 << 30),
            "batch_size": draw.choice((1, 1, 2)),
            "units": stacks.units(draw),
            **blend,
        }

    def generation(self, seed: int) -> np.ndarray | None:
        """Generation number `seed`: its pictures, or None where it was made to fail.

        Every second one has a fault. Raises AssertionError for a failure that was not caused, for one
        that did not reach the caller, and for a fault that let a request without control through.
        """
        draw = random.Random(seed)
        payload = self.payload(draw)
        place = draw.choice(PLACES) if draw.random() < 0.55 else "none"  # some never come to pass
        changed = with_mistake(payload, place, draw)
        unet = self.networks[payload["model"]].unet
        try:
            with injected(place, unet, draw):
                found = self.pictures(self.engine, changed, draw.randint(1, 3) if place == "interrupt" else 0)
        except (Injected, RequestError, KeyboardInterrupt) as error:
            if not isinstance(error, expected(place)):
                raise AssertionError(f"generation {seed} ({place}): {error!r}") from error  # noqa: TRY004
            self.failed[place] = self.failed.get(place, 0) + 1
            return None
        assert changed is payload, f"generation {seed}: a picture was made in spite of its mistake ({place})"
        return found

    def pictures(self, engine: Engine, payload: Mapping[str, Any], interrupt: int = 0) -> np.ndarray:
        def progress(done: int, _calls: int) -> None:
            if done == interrupt:
                raise KeyboardInterrupt

        made = engine.generate(parse_request(payload, GenerationRequest), progress)
        return np.stack([np.asarray(image) for image in made.images])

    def alone(self, seed: int) -> np.ndarray:
        """What the request of generation number `seed` gives in an engine that did nothing before."""
        return self.pictures(self.fresh(), self.payload(random.Random(seed)))

    def changes(self) -> list[str]:
        """What is not as it was before the first generation."""
        found = [f"{name}: {each}" for name, before in self.before.items() for each in before.changes()]
        for model, networks in self.networks.items():
            if self.engine.load(model).unet is not networks.unet:
                found.append(f"{model}: the cache dropped the checkpoint, so that nothing is compared")
        return found if torch.is_grad_enabled() else [*found, "autograd is off"]


def with_mistake(payload: dict[str, Any], place: str, draw: random.Random) -> dict[str, Any]:
    """The payload with a mistake in one unit, where that is how it is to fail; else the payload itself."""
    units = cast("list[dict[str, Any]]", payload["units"])
    number = draw.randrange(len(units))
    mistakes = {
        "picture": {"image": "aGVsbG8="},
        "file": {"model": "no-such-file"},
        "damage": {"model": DAMAGED, "params": {}},
        "nan": {"model": ENDLESS, "params": {}},
    }
    if place not in mistakes:
        return payload
    wrong = units[number] | mistakes[place]
    return payload | {"units": [*units[:number], wrong, *units[number + 1 :]]}


def expected(place: str) -> type[BaseException]:
    kinds: dict[str, type[BaseException]] = {"interrupt": KeyboardInterrupt, "none": type(None)}
    return kinds.get(place, RequestError if place in MISTAKES else Injected)
