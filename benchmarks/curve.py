"""What a drag in the curve editor takes of each frame, with 100 points, in Chromium.

The middle point is dragged by one pointer event a frame. `work_ms` is the time of a frame in the editor's
scripts and the browser's layout (the median), `work_95_ms` its 95th percentile, `share` the part that it
takes of a frame at 60 frames a second. `frame_ms` and `frame_95_ms` are the times from frame to frame.
All of the slower of two curves: with linear and with smooth easings. Needs playwright and a Chromium
(CHROMIUM, /usr/bin/chromium).
"""

from __future__ import annotations

import os
import statistics
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from _harness import Result, at_most, effort, finish, parser

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
FRAME = 1000 / 60  # milliseconds
POINTS, STEPS = 100, 30
HOST = """
const gradioApp = () => document;
const updateInput = (field) => field.dispatchEvent(new Event("input", {bubbles: true}));
const onAfterUiUpdate = () => null, onUiLoaded = (callback) => callback();
"""
UNIT = "ctrlgen_txt2img_unit0_"
BODY = f"""
<div id="txt2img_steps"><input type="number" value="{STEPS}"></div>
<div class="ctrlgen" id="ctrlgen_txt2img_panel">
<div id="{UNIT}weight"><input type="number" value="1"></div>
<div id="{UNIT}weight_schedule"><textarea></textarea></div>
<div class="ctrlgen-curves" data-tab="txt2img" data-unit="0"></div>
</div>
"""
DRAG = """async ([text, frames]) => {
  const field = document.querySelector("textarea");
  field.value = text;
  updateInput(field);
  const area = document.querySelector(".ctrlgen-curves"), svg = area.querySelector("svg");
  const bounds = svg.getBoundingClientRect();
  const x = bounds.x + bounds.width / 2;
  const at = (y) => ({bubbles: true, button: 0, clientX: x, clientY: bounds.y + y * bounds.height});
  let work = 0;
  const timed = (part) => (...given) => {
    const start = performance.now();
    part(...given);
    svg.getBBox();
    work += performance.now() - start;
  };
  const paint = ctrlgenCurve.repaint;
  ctrlgenCurve.repaint = timed(paint);
  const frame = () => new Promise(requestAnimationFrame);
  const found = {work: [], frames: []};
  area.querySelectorAll(".point")[Math.floor(area.querySelectorAll(".point").length / 2)]
    .dispatchEvent(new PointerEvent("pointerdown", at(0.5)));
  let before = await frame();
  for (let i = 0; i < frames; i += 1) {
    work = 0;
    timed(() => window.dispatchEvent(new PointerEvent("pointermove", at(0.3 + 0.2 * Math.sin(i / 10)))))();
    const now = await frame();
    await Promise.resolve();
    found.frames.push(now - before);
    found.work.push(work);
    before = now;
  }
  window.dispatchEvent(new PointerEvent("pointerup", at(0.3)));
  ctrlgenCurve.repaint = paint;
  return found;
}"""


def text(easing: str) -> str:
    """A schedule of `POINTS` points."""
    return ", ".join(f"{number % 3 / 2}@{number / POINTS:g} {easing}" for number in range(POINTS))


def dragged(browser: Any, easing: str, frames: int) -> dict[str, list[float]]:
    """The milliseconds of each frame of one drag: in `work`, and from frame to frame in `frames`."""
    names = ("ctrlgen", "editors/schedule", "editors/curve")
    scripts = [(ROOT / "javascript" / f"{name}.js").read_text("utf-8") for name in names]
    page = browser.new_page(viewport={"width": 1000, "height": 600})
    style = (ROOT / "style.css").read_text("utf-8")
    tags = "".join(f"<script>{script}</script>" for script in (HOST, *scripts))
    page.set_content(f"<style>{style}</style>{BODY}{tags}")
    page.evaluate("ctrlgenCurve.update()")
    page.evaluate(DRAG, [text(easing), frames // 4])  # until the scripts are compiled
    found: dict[str, list[float]] = page.evaluate(DRAG, [text(easing), frames])
    page.close()
    return found


def percentile(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def main() -> int:
    """Measure, and return the exit code."""
    options = parser(__doc__ or "").parse_args()
    if find_spec("playwright") is None or not Path(CHROMIUM).exists():
        return finish(Result("curve (not measured: no playwright, or no Chromium)", {}, {}), options)
    frames = effort(options, smoke=20, quick=300, full=1200)
    with import_module("playwright.sync_api").sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        runs = [dragged(browser, easing, frames) for easing in ("linear", "smooth")]
        browser.close()
    figures = {
        "points": float(POINTS),
        "work_ms": max(statistics.median(run["work"]) for run in runs),
        "work_95_ms": max(percentile(run["work"]) for run in runs),
        "frame_ms": max(statistics.median(run["frames"]) for run in runs),
        "frame_95_ms": max(percentile(run["frames"]) for run in runs),
    }
    figures["share"] = figures["work_95_ms"] / FRAME
    return finish(Result("curve", figures, {"share": at_most(1.0)}), options)


if __name__ == "__main__":
    sys.exit(main())
