"""Live tests run beside a real WebUI 1.10.1 that has this repository as an extension.

The tiny model must be installed (`ctrlgen tiny --install FOLDER`) and loaded. Optional:
CTRLGEN_WEBUI_SAME, another checkpoint of the same checkpoint family; CTRLGEN_WEBUI_OTHER, one
of another; CTRLGEN_WEBUI_AUTH, the login USER:PASSWORD of a WebUI that was started with
`--api-auth`. Everything runs at 64 px with few steps.
"""

import base64
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from lib_ctrlgen.models.bundled import tiny_folder
from tests.support.control_families import SD15, installed

SIZE = 64
PLAIN = {
    "prompt": "a red circle",
    "negative_prompt": "blue",
    "steps": 4,
    "width": SIZE,
    "height": SIZE,
    "seed": 1,
    "sampler_name": "Euler",
    "cfg_scale": 5,
}


def scene(size: int = SIZE) -> Image.Image:
    """A circle, as a picture to take edges from."""
    picture = Image.new("RGB", (size, size), "white")
    box = (size // 4, size // 4, size * 3 // 4, size * 3 // 4)
    ImageDraw.Draw(picture).ellipse(box, fill="red", outline="black", width=2)
    return picture


def encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


EDGES = {"model": "ctrlgen-tiny-edges", "image": encoded(scene()), "preprocessor": "canny"}
DEPTH = {"model": "ctrlgen-tiny-depth", "image": encoded(scene())}
RED, BLUE = {"prompt": "a red circle"}, {"prompt": "a blue square"}
PICTURE = {"model": "ctrlgen-tiny-ip", "image": encoded(scene())}


@dataclass
class Answer:
    """A response: status, JSON, and the decoded pictures [H, W, 3]."""

    status: int
    json: dict[str, Any]
    images: list[Any]

    @property
    def detail(self) -> dict[str, str]:
        return dict(self.json["detail"])

    def same(self, other: "Answer", count: int = 1) -> bool:
        """Whether the first pictures are bit-equal."""
        pairs = zip(self.images[:count], other.images[:count], strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)


def login() -> tuple[str, str] | None:
    """User and password of a WebUI with `--api-auth`, from CTRLGEN_WEBUI_AUTH (USER:PASSWORD); else None."""
    user, colon, password = os.environ.get("CTRLGEN_WEBUI_AUTH", "").partition(":")
    return (user, password) if colon else None


class WebUI:
    """The REST API of the running WebUI."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = login()

    def get(self, path: str) -> Any:
        return self.session.get(self.url + path, timeout=600)

    def post(self, path: str, payload: Any) -> Any:
        return self.session.post(self.url + path, json=payload, timeout=1800)

    def generate(self, *units: Any, args: Any = None, tab: str = "txt2img", **fields: Any) -> Answer:
        """A generation with these units, or with these raw arguments of the script."""
        sent = [{"units": list(units)}] if args is None else args
        scripts = {"alwayson_scripts": {"CtrlGen": {"args": sent}}} if units or args is not None else {}
        response = self.post(f"/sdapi/v1/{tab}", PLAIN | fields | scripts)
        found = response.json()
        images = [np.asarray(decoded(text)) for text in found.get("images") or []]
        return Answer(response.status_code, found, images)

    def infotext(self, answer: Answer) -> str:
        return str(json.loads(answer.json["info"])["infotexts"][0])


def close(one: Any, other: Any) -> bool:
    """Equal, but for the last digits that kernels round otherwise in other batch sizes."""
    return int(np.abs(one.astype(int) - other.astype(int)).max()) <= 1


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


@pytest.fixture(scope="session")
def webui(webui_url: str) -> WebUI:
    found = WebUI(webui_url)
    names = found.get("/ctrlgen/v1/models").json()["models"]
    missing = [u["model"] for u in (EDGES, DEPTH, PICTURE) if u["model"] not in names]
    if missing:
        pytest.skip(f"live test: install the tiny model first (missing: {', '.join(missing)})")
    keep_options(found)
    return found


def keep_options(webui: WebUI) -> None:
    """Say the options that tests override, unchanged: the WebUI 1.10.1 restores only what was ever set."""
    names = ("pad_cond_uncond", "batch_cond_uncond", "skip_early_cond", "emphasis")
    options = webui.get("/sdapi/v1/options").json()
    webui.post("/sdapi/v1/options", {name: options[name] for name in names})


@pytest.fixture(scope="session")
def plain(webui: WebUI) -> Answer:
    """The picture without control."""
    answer = webui.generate()
    assert answer.status == 200
    return answer


@pytest.fixture
def damaged(webui: WebUI, webui_root: Path) -> Iterator[str]:
    """A ControlNet whose every weight is NaN."""
    name = "ctrlgen-live-nan"
    source = load_file(tiny_folder() / "ControlNet" / f"{EDGES['model']}.safetensors")
    path = webui_root / "models" / "ControlNet" / f"{name}.safetensors"
    save_file({key: torch.full_like(each, torch.nan) for key, each in source.items()}, path)
    webui.get("/ctrlgen/v1/models?refresh=true")
    yield name
    path.unlink()
    webui.get("/ctrlgen/v1/models?refresh=true")


@pytest.fixture
def same_checkpoint_family() -> str:
    return os.environ.get("CTRLGEN_WEBUI_SAME") or pytest.skip("live test: set CTRLGEN_WEBUI_SAME")


@pytest.fixture
def other_checkpoint_family() -> str:
    return os.environ.get("CTRLGEN_WEBUI_OTHER") or pytest.skip("live test: set CTRLGEN_WEBUI_OTHER")


@pytest.fixture(scope="module")
def kinds(webui: WebUI, webui_root: Path) -> Iterator[tuple[str, ...]]:
    """The names of a control file of each family."""
    with installed(webui_root, "ctrlgen-tiny.safetensors", SD15) as names:
        yield (*names.values(), *(str(unit["model"]) for unit in (EDGES, DEPTH, PICTURE)))
