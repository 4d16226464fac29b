"""A checkpoint of a running WebUI with random files of control families, and the same headless."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.request.spec import GenerationRequest, parse_request
from tests.support.control_families import installed


class Checkpoint:
    """A checkpoint in the WebUI with the files of its families, and the same headless.

    `defaults` are the fields of every generation, in the WebUI's words.
    """

    def __init__(
        self, webui: Any, root: Path, checkpoint: str, files: Mapping[str, str], defaults: Mapping[str, Any]
    ) -> None:
        self.webui, self.checkpoint, self.files, self.defaults = webui, checkpoint, files, defaults
        models = root / "models"
        self.engine = Engine([models / name for name in ("Stable-diffusion", "ControlNet", "clip_vision")])
        self.plain = self.made()

    def answer(self, *units: Any, **fields: Any) -> Any:
        """The WebUI's answer to a generation with these units, whatever its status."""
        return self.webui.generate(
            *units, override_settings={"sd_model_checkpoint": self.checkpoint}, **fields
        )

    def made(self, *units: Any, **fields: Any) -> Any:
        """The WebUI's answer to a generation that goes well."""
        answer = self.answer(*units, **fields)
        assert answer.status == 200, answer.json
        return answer

    def headless(self, *units: Any, **fields: Any) -> list[Any]:
        """The pictures of the same request without the WebUI, each [H, W, 3]."""
        words = {"sampler_name": "sampler"}
        plain = {words.get(name, name): value for name, value in (self.defaults | fields).items()}
        payload = {**plain, "model": Path(self.checkpoint).stem, "units": list(units)}
        made = self.engine.generate(parse_request(payload, GenerationRequest)).images
        return [np.asarray(each) for each in made]


def checkpoint_of(
    webui: Any, root: Path, checkpoint: str, makes: Any, defaults: Mapping[str, Any]
) -> Iterator[Checkpoint]:
    """A checkpoint for a fixture; the WebUI's own one is loaded again at the end."""
    before = webui.get("/sdapi/v1/options").json()["sd_model_checkpoint"]
    with installed(root, checkpoint, makes) as files:
        yield Checkpoint(webui, root, checkpoint, files, defaults)
    webui.post("/sdapi/v1/options", {"sd_model_checkpoint": before})


def sdxl_name() -> str:
    """The file of the SDXL checkpoint that CTRLGEN_WEBUI_SDXL names; skips the test where it names none."""
    name = os.environ.get("CTRLGEN_WEBUI_SDXL")
    if not name:
        pytest.skip("live test: set CTRLGEN_WEBUI_SDXL")
    return f"{Path(name).stem}.safetensors"
