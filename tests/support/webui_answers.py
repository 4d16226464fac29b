"""Answers of the WebUI's own routes, as far as clients read them."""

import base64
import io
import json
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo


def encoded(colour: str, infotext: str = "", kind: str = "PNG", size: int = 8) -> str:
    """A picture of one colour, in base64, with its infotext in the file."""
    info = PngInfo()
    if infotext:
        info.add_text("parameters", infotext)
    stream = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(stream, kind, **({"pnginfo": info} if kind == "PNG" else {}))
    return base64.b64encode(stream.getvalue()).decode()


def generation(
    *colours: str, seeds: int = 1, others: int = 0, kind: str = "PNG", **info: Any
) -> dict[str, Any]:
    """An answer of txt2img: pictures of these colours with infotexts, and `others` behind them."""
    texts = [f"a {colour} wall\nSteps: 1, Seed: {number}" for number, colour in enumerate(colours)]
    images = [encoded(colour, text, kind) for colour, text in zip(colours, texts, strict=True)]
    images += [encoded("black", kind=kind) for _ in range(others)]
    known = {
        "all_seeds": list(range(seeds)),
        "infotexts": texts + texts[:1] * others,
        "index_of_first_image": 0,
        "batch_size": seeds,
        "extra_generation_params": {},
    }
    return {"images": images, "parameters": {}, "info": json.dumps(known | info)}


def task(**values: Any) -> dict[str, Any]:
    """An answer of /internal/progress."""
    return {"active": False, "queued": False, "completed": False, "textinfo": None} | values


PROGRESS = {
    "progress": 0.25,
    "eta_relative": 3.0,
    "state": {
        "job": "scripts_txt2img",
        "job_count": 1,
        "sampling_step": 5,
        "sampling_steps": 20,
        "interrupted": False,
    },
    "current_image": None,
    "textinfo": None,
}
