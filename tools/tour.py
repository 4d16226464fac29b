"""Records docs/images/tour.webp and docs/images/panel.png: the panel in use, in a real WebUI.

    CTRLGEN_WEBUI_URL=http://127.0.0.1:7860 python tools/tour.py [--frames FOLDER]

The WebUI needs this extension and the tiny model (`ctrlgen tiny --install`), this program Playwright, Pillow
and a Chromium (CHROMIUM, /usr/bin/chromium). `--frames` keeps each frame as a PNG, to be looked at.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "images"
SKETCH = ROOT / "examples" / "pictures" / "layout.png"
MOST_BYTES = 1_500_000
SIZE = {"width": 1000, "height": 700}
PATIENCE = 600_000  # ms; the machine may be busy
UNIT, TAB = "#ctrlgen_txt2img_unit0_", "#tab_txt2img"
AXES = "#script_txt2img_ctrlgen_xy_tuner"
FIELDS = {"width": 128, "height": 128, "steps": 20, "cfg_scale": 4}
# The caption and the pointer are elements of the page, so that Chromium draws them with its fonts.
OVERLAY = """() => {
  document.body.insertAdjacentHTML("beforeend", `
    <div id="tour_caption" style="position:fixed;left:0;right:0;bottom:0;padding:12px 20px;z-index:99999;
      background:#f97316;color:#111;font:600 21px sans-serif;pointer-events:none"></div>
    <svg id="tour_pointer" width="26" height="26" viewBox="0 0 24 24" style="position:fixed;left:500px;
      top:350px;z-index:99999;pointer-events:none"><path d="M4 2v17l4.5-4.2 3 6.7 3-1.3-3-6.6H18z"
      fill="#fff" stroke="#111" stroke-width="1.5"/></svg>`);
}"""
POINT = """([x, y]) => {
  document.querySelector("#tour_pointer").style.left = `${x}px`;
  document.querySelector("#tour_pointer").style.top = `${y}px`;
}"""


@dataclass
class Tour:
    """The page and the frames: pictures as PNG, each with its duration in milliseconds."""

    page: Any
    frames: list[tuple[bytes, int]] = field(default_factory=list)
    place: tuple[float, float] = (500, 350)

    def say(self, text: str) -> None:
        """Show a caption from now on."""
        self.page.locator("#tour_caption").evaluate("(area, text) => { area.textContent = text; }", text)

    def keep(self, duration: int) -> None:
        """Add the page as it is."""
        self.frames.append((self.page.screenshot(), duration))

    def move(self, x: float, y: float, steps: int = 3) -> None:
        """Move the pointer, in some frames."""
        from_x, from_y = self.place
        for step in range(1, steps + 1):
            share = step / steps
            self.page.evaluate(POINT, [from_x + share * (x - from_x), from_y + share * (y - from_y)])
            self.keep(90)
        self.place = (x, y)

    def point(self, target: Any) -> None:
        """Move the pointer to the middle of an element."""
        box = target.bounding_box()
        self.move(box["x"] + min(box["width"] / 2, 120), box["y"] + box["height"] / 2)

    def scroll(self, selector: str, above: int = 20) -> None:
        """Scroll until an element is at the top of the window."""
        script = "(part, above) => window.scrollBy(0, part.getBoundingClientRect().top - above)"
        self.page.locator(selector).first.evaluate(script, above)
        self.page.wait_for_timeout(300)

    def run(self, press: Callable[[], None], shown: int, most: int = 3) -> None:
        """Start a generation, and keep at most `most` frames, each when the gallery has changed."""
        area, last, kept = self.page.locator("#txt2img_gallery_container"), b"", 0
        press()
        self.page.wait_for_selector("#txt2img_interrupt", state="visible")
        while self.page.locator("#txt2img_interrupt").is_visible():
            self.page.wait_for_timeout(600)
            now = area.screenshot()
            if now != last and kept < most:
                self.keep(500)
                last, kept = now, kept + 1
        self.page.wait_for_timeout(2500)
        self.keep(shown)

    def generate(self, shown: int) -> None:
        """Press Generate with the mouse."""
        self.page.evaluate("window.scrollTo(0, 0)")
        self.point(self.page.locator("#txt2img_generate"))
        self.run(lambda: self.page.click("#txt2img_generate"), shown)


@contextmanager
def opened(url: str, theme: str = "dark") -> Iterator[Any]:
    """The WebUI's page, ready."""
    from playwright.sync_api import sync_playwright

    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    with sync_playwright() as engine:
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = engine.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE)
        page.goto(f"{url}/?__theme={theme}", wait_until="domcontentloaded")
        page.wait_for_selector("#ctrlgen_txt2img_panel")
        page.wait_for_function("typeof ctrlgen !== 'undefined'")
        page.wait_for_timeout(3000)
        yield page
        browser.close()


def fill(page: Any, selector: str, text: str) -> None:
    """Fill a field and leave it."""
    page.locator(selector).first.fill(text)
    page.locator(selector).first.blur()
    page.wait_for_timeout(400)


def prepare(page: Any, prompt: str) -> None:
    """Set what the tiny model was trained for, and open the panel."""
    for name, number in FIELDS.items():
        fill(page, f"#txt2img_{name} input[type=number]", str(number))
    fill(page, "#txt2img_seed input", "1")
    fill(page, "#txt2img_prompt textarea", prompt)
    page.click("#ctrlgen_txt2img_panel > .label-wrap")
    page.wait_for_selector(f"{UNIT}kind", state="visible")
    page.evaluate(OVERLAY)


def three_clicks(tour: Tour) -> None:
    """A picture, what it is for, Generate."""
    page = tour.page
    tour.scroll("#ctrlgen_txt2img_panel")
    tour.say("1  Drop a picture into a unit")
    tour.keep(1400)
    tour.point(page.locator(f"{UNIT}image").first)
    page.locator(f"{UNIT}image input[type=file]").set_input_files(str(SKETCH))
    page.wait_for_selector(f"{UNIT}image img")
    page.wait_for_timeout(1500)
    tour.keep(1300)
    tour.say("2  Choose what it is for: this sets model, preprocessor and strength")
    kind = page.locator(f"{UNIT}kind label", has_text="Edges").first
    tour.point(kind)
    kind.click()
    page.wait_for_function(f"document.querySelector('{UNIT}enabled input').checked")
    page.wait_for_selector(f"{UNIT}map img")
    page.wait_for_timeout(1000)
    tour.keep(2000)
    tour.say("3  Generate")
    tour.generate(shown=700)
    tour.scroll("#ctrlgen_txt2img_panel")
    tour.keep(2400)


def curve(tour: Tour) -> None:
    """The weight over the steps, drawn with the mouse."""
    page = tour.page
    tour.say("The weight over the steps is a curve that you drag")
    head = page.locator(f"{UNIT}panel .label-wrap", has_text="Weight over the steps").first
    head.evaluate("(part) => window.scrollBy(0, part.getBoundingClientRect().top - 240)")
    tour.point(head)
    head.click()
    plot = page.locator(f"{UNIT}panel .ctrlgen-curves svg").first
    plot.wait_for(state="visible")
    page.wait_for_timeout(800)
    tour.keep(1200)
    keyframe(tour, plot, (0.3, 1.0), (0.3, 1.0))
    keyframe(tour, plot, (0.5, 1.0), (0.55, 0.03))
    tour.say("The dots are the weights that the run will use; text and curve are the same")
    tour.keep(2400)
    tour.say("The outline decides the layout, and then lets go")
    page.locator("#txt2img_prompt textarea").evaluate("(area) => area.focus({preventScroll: true})")
    tour.run(lambda: page.keyboard.press("Control+Enter"), shown=2200)


def keyframe(tour: Tour, plot: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Add a keyframe at a progress and weight, and drag it to another."""
    tour.move(*place(plot, *start))
    tour.page.mouse.click(*place(plot, *start))
    tour.page.wait_for_timeout(800)  # the line that says what is set becomes longer, and the plot moves
    tour.move(*place(plot, *start), steps=1)
    if start == end:
        return
    (x, y), target = (place(plot, *point) for point in (start, end))
    tour.page.mouse.move(x, y)
    tour.page.mouse.down()
    for step in range(1, 7):
        at = (x + step / 6 * (target[0] - x), y + step / 6 * (target[1] - y))
        tour.page.mouse.move(*at)
        tour.move(*at, steps=1)
    tour.page.mouse.up()
    tour.page.wait_for_timeout(400)


def place(plot: Any, progress: float, weight: float) -> tuple[float, float]:
    """Where a weight from 0 to 1.5 is on the plot: see `size` in javascript/editors/curve.js."""
    box = plot.bounding_box()
    scale = box["width"] / 640
    return box["x"] + scale * (36 + progress * 594), box["y"] + scale * (10 + (1 - weight / 1.5) * 148)


def tuner(tour: Tour) -> None:
    """A sheet of weights that grows while it is made."""
    page = tour.page
    tour.say("The tuner makes a sheet of any fields, and tells its cost before")
    page.locator(f"{TAB} #script_list input").first.click()
    page.locator(f"{TAB} #script_list ul li", has_text="CtrlGen X/Y tuner").first.click()
    page.wait_for_selector(f"{AXES}_x_values", state="visible")
    for axis, label, values in (("x", "Weight of unit 0", "0, 0.25, 0.5, 1"), ("y", "Steps", "6, 10, 20")):
        name = page.locator(f"{AXES}_{axis}_path input").first
        name.fill(label)
        name.press("Enter")
        fill(page, f"{AXES}_{axis}_values textarea", values)
    page.wait_for_timeout(1200)
    tour.scroll("#script_list", above=60)
    tour.point(page.locator(f"{AXES}_x_values").first)
    tour.keep(2600)
    tour.say("The sheet grows while it runs, and recommends a cell with its reason")
    page.locator("#txt2img_prompt textarea").evaluate("(area) => area.focus({preventScroll: true})")
    tour.run(lambda: page.keyboard.press("Control+Enter"), shown=800, most=12)
    tour.scroll("#txt2img_gallery_container", above=10)
    tour.keep(3500)


def picture_of(shot: bytes) -> Image.Image:
    """A frame as a picture."""
    return Image.open(io.BytesIO(shot)).convert("RGB")


def write(frames: Sequence[tuple[bytes, int]], file: Path) -> None:
    """Write the animation, at the best quality that stays below `MOST_BYTES`. SystemExit if none does."""
    pictures = [picture_of(shot) for shot, _ in frames]
    options = {
        "save_all": True,
        "append_images": pictures[1:],
        "duration": [ms for _, ms in frames],
        "loop": 0,
    }
    for quality in (80, 65, 50, 35):
        made = io.BytesIO()
        pictures[0].save(made, "WEBP", quality=quality, method=6, minimize_size=True, **options)
        if made.tell() <= MOST_BYTES:
            file.write_bytes(made.getvalue())
            print(f"{file}: {len(frames)} frames, quality {quality}, {made.tell()} bytes")
            return
    raise SystemExit(f"tour: more than {MOST_BYTES} bytes at every quality: make fewer frames")


def panel_picture(url: str, file: Path) -> None:
    """Write a picture of a unit in use: the panel of txt2img, light."""
    with opened(url, "light") as page:
        page.set_viewport_size({"width": 1400, "height": 2000})
        prepare(page, "")
        page.locator("#tour_pointer").evaluate("(part) => part.remove()")
        page.locator("#tour_caption").evaluate("(part) => part.remove()")
        page.locator(f"{UNIT}image input[type=file]").set_input_files(str(SKETCH))
        page.wait_for_selector(f"{UNIT}image img")
        page.locator(f"{UNIT}kind label", has_text="Edges").first.click()
        page.wait_for_function(f"document.querySelector('{UNIT}enabled input').checked")
        page.wait_for_timeout(4000)
        page.locator("#ctrlgen_txt2img_panel").screenshot(path=str(file))


def main() -> int:
    """Record both pictures."""
    options = argparse.ArgumentParser(description="records docs/images/tour.webp in a real WebUI")
    options.add_argument("--frames", type=Path, metavar="FOLDER", help="keep each frame there")
    chosen, url = options.parse_args(), os.environ.get("CTRLGEN_WEBUI_URL", "").rstrip("/")
    if not url:
        raise SystemExit("tour: set CTRLGEN_WEBUI_URL to the address of a running WebUI with this extension")
    with opened(url) as page:
        tour = Tour(page)
        prepare(page, "a blue cross on a yellow background")
        three_clicks(tour)
        curve(tour)
        tuner(tour)
    if chosen.frames:
        chosen.frames.mkdir(parents=True, exist_ok=True)
        for number, (shot, _) in enumerate(tour.frames):
            (chosen.frames / f"{number:03}.png").write_bytes(shot)
    write(tour.frames, OUT / "tour.webp")
    panel_picture(url, OUT / "panel.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
