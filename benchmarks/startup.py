"""What the extension adds to a WebUI's start.

    .venv-webui/bin/python benchmarks/startup.py            a plain gradio app, with and without the panel
    python benchmarks/startup.py --webui FOLDER             the real WebUI in FOLDER, with and without it

The plain app needs the WebUI's gradio 3.41 (the set `webui`); without it nothing is measured. A fresh process
imports what the WebUI has imported before it reads its extensions, then measures in CPU time

    imports_ms   importing the three scripts of the extension
    panel_ms     building txt2img and img2img with the panel and the tuner's fields, less the same without
    routes_ms    adding the REST routes
    startup_ms   their sum

The real WebUI (`FOLDER/venv`, this repository in its `extensions`) is started alternately with the extension
and with it disabled, without loading a checkpoint. Its own timer (`/internal/profile-startup`) then says how
long each stage took. Printed are medians of the differences of neighbouring starts:

    stages_ms   the stages in which an extension takes part: loading its scripts, building the page, adding
                routes. Importing torch and gradio is left out, which takes longer and varies by seconds
    webui_ms    the whole start

Python writes its compiled modules at the first start after an installation; here they are written before.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
from _harness import Result, at_most, effort, finish, parser

ROOT = Path(__file__).resolve().parent.parent
LIMIT_MS = 300.0
# The stages of the WebUI's timer in which extensions take part, beside the loading of their scripts.
STAGES = frozenset(
    {"scripts before_ui_callback", "create ui", "gradio launch", "add APIs", "app_started_callback"}
)
# What the WebUI itself has imported when it reads its extensions.
HOSTS = (
    "torch",
    "transformers",
    "gradio",
    "fastapi",
    "PIL.Image",
    "cv2",
    "numpy",
    "safetensors.torch",
    "yaml",
)
FLAGS = (
    "--skip-version-check", "--no-download-sd-model", "--api", "--use-cpu", "all", "--no-half",
    "--disable-nan-check", "--skip-load-model-at-start",
)  # fmt: skip


def cpu_ms(work: Callable[[], object]) -> float:
    """Milliseconds of CPU time of this process, without a garbage collection that was due before."""
    import gc

    gc.collect()
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def imported() -> None:
    """Import what the WebUI's scripts of this extension import."""
    for name in ("controlnet.script", "script", "tuner.script"):
        import_module(f"lib_ctrlgen.webui.{name}")


def page(gr: Any, *, panel: bool) -> None:
    """Build both tabs, with the panel and the tuner's fields or without."""
    from tests.support.bare_webui import host_fields

    with gr.Blocks(analytics_enabled=False):
        for tab in ("txt2img", "img2img"):
            host_fields(gr, tab)
            if panel:
                import_module("lib_ctrlgen.webui.panel.panel").build_panel(tab)
                script = import_module("lib_ctrlgen.webui.tuner.script").TunerScript()
                script.elem_id = lambda name, tab=tab: f"script_{tab}_ctrlgen_xy_tuner_{name}"
                script.ui(is_img2img=tab == "img2img")


def child() -> dict[str, float]:
    """Measure the plain app in this process, which has imported nothing of the extension yet."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    for name in HOSTS:
        import_module(name)
    from fastapi import FastAPI

    from tests.support.bare_webui import BareWebUI, real_gradio
    from tests.support.fake_webui import served

    gr = real_gradio()
    with TemporaryDirectory() as folder, served(BareWebUI(gr), Path(folder)):
        page(gr, panel=False)  # what gradio does at its first page
        imports = cpu_ms(imported)
        panel = cpu_ms(lambda: page(gr, panel=True)) - cpu_ms(lambda: page(gr, panel=False))
        own, app = import_module("lib_ctrlgen.webui.started"), FastAPI()
        routes = cpu_ms(lambda: (own.add_routes(None, app), own.add_controlnet_routes(None, app)))
    sides = {"imports_ms": imports, "panel_ms": panel, "routes_ms": routes}
    return sides | {"startup_ms": imports + panel + routes}


def plain_app(options: Namespace) -> Result:
    """Measure the plain app in several fresh processes."""
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child"]
    runs: list[dict[str, float]] = []
    with TemporaryDirectory() as cache:
        environment |= {"PYTHONPYCACHEPREFIX": cache, "CTRLGEN_CACHE": cache}
        for _ in range(1 + (options.starts or effort(options, smoke=1, quick=3, full=9))):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    figures: dict[str, float] = {}
    errors: dict[str, float] = {}
    for name in runs[0]:
        found = [run[name] for run in runs[1:]]  # the first writes the compiled modules
        figures[name] = statistics.median(found)
        errors[name] = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0
    return Result("startup", figures, {"startup_ms": at_most(LIMIT_MS)}, errors=errors)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True)
class Start:
    """Milliseconds of a start of the WebUI: of the stages in which extensions take part, and of all."""

    stages: float
    whole: float


def started(folder: Path, settings: Path) -> Start:
    """Start the WebUI, wait until it says that it has started, ask for its times, and end it.

    Nothing is asked of it before: a request while it starts can end it (starlette adds no middleware then).
    """
    port = free_port()
    options = [*FLAGS, "--port", str(port), "--ui-settings-file", str(settings)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with subprocess.Popen(
        [str(python), "webui.py", *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            if not any(line.startswith("Startup time") for line in process.stdout or ()):
                raise SystemExit(f"startup: the WebUI in {folder} did not start; start it by hand")
            answer = requests.get(f"http://127.0.0.1:{port}/internal/profile-startup", timeout=60).json()
        finally:
            process.kill()
    records: dict[str, float] = answer["records"]
    stages = sum(seconds for name, seconds in records.items() if name in STAGES or is_own(name))
    return Start(stages=1000 * stages, whole=1000 * answer["total"])


def is_own(stage: str) -> bool:
    """Whether a stage of the WebUI's timer is the loading of one of this extension's scripts."""
    return stage in {f"load scripts/{path.name}" for path in (ROOT / "scripts").glob("*.py")}


def real_webui(options: Namespace) -> Result:
    """Start the real WebUI with and without the extension in turn, in pairs that swap their order."""
    folder = options.webui.resolve()
    own = [each.name for each in (folder / "extensions").iterdir() if each.resolve() == ROOT]
    if not own:
        raise SystemExit(f"startup: {ROOT} is not in {folder / 'extensions'}: link it there first")
    with TemporaryDirectory() as made:
        sides = []
        for name, disabled in (("with", []), ("without", own)):
            settings = Path(made) / f"{name}.json"
            settings.write_text(json.dumps({"disabled_extensions": disabled}), "utf-8")
            started(folder, settings)  # writes the compiled modules
            sides.append(settings)
        pairs = []
        for number in range(options.starts or effort(options, smoke=1, quick=3, full=9)):
            order = sides if number % 2 else sides[::-1]
            times = {settings: started(folder, settings) for settings in order}
            pairs.append([times[settings] for settings in sides])
    figures: dict[str, float] = {}
    errors: dict[str, float] = {}
    for name, part in (("stages_ms", "stages"), ("webui_ms", "whole")):
        found = [getattr(ours, part) - getattr(plain, part) for ours, plain in pairs]
        without = statistics.median(getattr(plain, part) for _, plain in pairs)
        figures |= {name: statistics.median(found), f"without_{name}": without}
        errors[name] = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0
    return Result("startup", figures, {"stages_ms": at_most(LIMIT_MS)}, errors=errors)


def has_the_webuis_gradio() -> bool:
    """Whether gradio 3.41 is installed; the set `latest` has a newer one, for pages of our own."""
    try:
        return version("gradio").startswith("3.41.")
    except PackageNotFoundError:
        return False


def main() -> int:
    """Measure the real WebUI where one is named, else the plain app where there is gradio 3.41."""
    found = parser("what the extension adds to a WebUI's start")
    found.add_argument("--webui", type=Path, metavar="FOLDER", help="a WebUI with this extension")
    found.add_argument("--starts", type=int, help="how many starts, or pairs of starts")
    found.add_argument("--child", action="store_true", help="measure in this process, print JSON")
    options = found.parse_args()
    if options.child:
        print(json.dumps(child()))
        return 0
    if options.webui:
        return finish(real_webui(options), options)
    if not has_the_webuis_gradio():
        print("startup: nothing measured, it wants the set 'webui' (gradio 3.41) or --webui FOLDER")
        return finish(Result("startup", {}, {}), options)
    return finish(plain_app(options), options)


if __name__ == "__main__":
    sys.exit(main())
