"""Writes the files of `ctrlgen run`: pictures with infotexts, control maps, the plan and a summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace
from PIL.PngImagePlugin import PngInfo

from lib_ctrlgen import __version__
from lib_ctrlgen.controls.recorded import described
from lib_ctrlgen.files import new_folder, png_text, save_picture, save_text
from lib_ctrlgen.images.animation import save_animation
from lib_ctrlgen.images.blend_sheets import blend_map, strip, trajectories
from lib_ctrlgen.plots.plan_view import plan_svg
from lib_ctrlgen.request.names import split_hash, without_suffix
from lib_ctrlgen.request.notices import JOINT, KEY
from lib_ctrlgen.request.per_picture import for_picture
from lib_ctrlgen.request.sampler_names import AUTOMATIC
from lib_ctrlgen.request.spec import GenerationRequest

from .engine import Generation
from .numbering import numbered


@dataclass(frozen=True, kw_only=True)
class WrittenFiles:
    """The files of one generation; `folder` holds all of them."""

    folder: Path
    images: tuple[Path, ...]
    control_maps: tuple[Path, ...]
    plan: Path
    result: Path
    sheets: tuple[Path, ...] = ()


def infotext(
    request: GenerationRequest,
    seed: int,
    warnings: Sequence[str] = (),
    networks: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The infotext of a picture, in the format that the WebUI's PNG Info tab reads.

    The hash behind a model's name becomes the field `Model hash`, as in the WebUI; `networks` are the fields
    for LoRAs and embeddings.
    """
    model, digest = split_hash(request.model)
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    fields = {
        "Steps": request.steps,
        "Sampler": request.sampling.sampler,
        "Schedule type": request.sampling.scheduler or AUTOMATIC,
        "CFG scale": f"{request.cfg_scale(0.0):g}",
        "Seed": seed,
        "Size": f"{request.width}x{request.height}",
        "Model": stem(model),
        **({"Model hash": digest} if digest else {}),
        **({"Pad conds": True} if request.pad_cond_uncond else {}),
        **{name: json.dumps(text, ensure_ascii=False) for name, text in networks.items()},
        "Version": f"CtrlGen {__version__}",
    }
    if warnings:
        fields[KEY] = json.dumps(JOINT.join(warnings), ensure_ascii=False)
    return f"{request.prompt}{negative}\n" + ", ".join(f"{name}: {value}" for name, value in fields.items())


def stem(model: str) -> str:
    """A model's name without folders, suffix and hash."""
    return without_suffix(Path(split_hash(model)[0]).name)


def picture_infos(request: GenerationRequest, generation: Generation) -> tuple[PngInfo, ...]:
    """The text chunks of each picture's PNG file, in the order of the generation's pictures.

    `parameters` is the infotext, which the WebUI reads back; `ctrlgen` is the request as JSON that makes
    this one picture: with its own seed and its own images, each replaced by its hash.
    """
    recorded = generation.loaded.recorded(request)
    return tuple(
        png_text(
            infotext(recorded, seed, generation.warnings, generation.networks),
            ctrlgen=_own_request(recorded, number, seed),
        )
        for number, seed in enumerate(generation.seeds)
    )


def _own_request(request: GenerationRequest, number: int, seed: int) -> str:
    """The request of picture `number` of a generation as JSON; the cells of a map repeat the batch."""
    own = for_picture(request, number % request.batch_size)
    payload = described(own, "sha256", whole=True) | {"seed": seed}
    payload.pop("batch_size", None)
    return json.dumps(payload, ensure_ascii=False)


def write_generation(request: GenerationRequest, generation: Generation, folder: Path) -> WrittenFiles:
    """Write all files of a generation into a folder that may have others. Raises HostError.

    Pictures are numbered as the WebUI numbers them, `00000-SEED.png`; the names of the other files begin with
    the number of the first picture.
    """
    with numbered(new_folder(folder)) as first:
        return _write(request, generation, folder, first)


def _write(request: GenerationRequest, generation: Generation, folder: Path, first: int) -> WrittenFiles:
    request = replace(request, seed=generation.request.seed, blend=generation.request.blend)
    made = zip(generation.images, generation.seeds, picture_infos(request, generation), strict=True)
    images = tuple(
        save_picture(image, folder / f"{first + number:05}-{seed}.png", info)
        for number, (image, seed, info) in enumerate(made)
    )
    start = folder / f"{first:05}"
    maps = tuple(
        save_picture(item.image, Path(f"{start}-map-{item.place}-{stem(item.model)}.png"))
        for item in generation.control_maps
    )
    sheets = write_sheets(request, generation, start)
    plan = save_text(plan_svg(generation.plan), Path(f"{start}-plan.svg"))
    summary = {
        "version": __version__,
        "seconds": round(generation.seconds, 3),
        "images": [path.name for path in images],
        "seeds": list(generation.seeds),
        "control_maps": [path.name for path in maps],
        "sheets": [path.name for path in sheets],
        "plan": plan.name,
        "models": generation.loaded.listed(),
        "request": described(request, "sha256", whole=True),
        "warnings": list(generation.warnings),
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    result = save_text(text, Path(f"{start}-result.json"))
    return WrittenFiles(
        folder=folder, images=images, control_maps=maps, plan=plan, result=result, sheets=sheets
    )


def write_sheets(request: GenerationRequest, generation: Generation, start: Path) -> tuple[Path, ...]:
    """Write the combined pictures of a blend: a strip and an animation, or a map. Raises HostError.

    The files' paths begin with `start`.
    """
    blend, images = request.blend, generation.images
    if blend is None or blend.explore:
        return tuple(save_picture(each, Path(f"{start}-map.png")) for each in blend_map(blend, images))
    written: list[Path] = []
    for pictures in trajectories(blend, images, len(images)):
        written.append(save_picture(strip(pictures), Path(f"{start}-strip.png")))
        if blend.animation != "none":
            written.append(save_animation(pictures, Path(f"{start}-strip.{blend.animation}")))
    return tuple(written)
