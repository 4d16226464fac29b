"""The tuner as a script of the dropdown, with fields on the page and one JSON argument over REST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import processing, scripts, shared
from PIL import Image

from lib_ctrlgen.errors import CtrlGenError, HostError
from lib_ctrlgen.forms.field_errors import with_labels
from lib_ctrlgen.forms.tuner_fields import at_fields, read_tune
from lib_ctrlgen.forms.unit_fields import read_request
from lib_ctrlgen.webui.last_picture import last_picture
from lib_ctrlgen.webui.page import show_mistake, with_marks
from lib_ctrlgen.webui.sampling.init_images import init_pictures
from lib_ctrlgen.webui.settings import TITLE as CONTROLS

from .panel import fields

if TYPE_CHECKING:
    from lib_ctrlgen.tuner.progress_file import ProgressFile

    from .plan import Plan

TITLE = "CtrlGen X/Y tuner"
MADE = "{made} pictures were generated."  # javascript/editors/tuner.js reads this sentence
CONTINUE = (
    "Interrupted: {done} finished cells are kept. To continue, generate again with the same settings, the "
    "same seed and the folder name {folder}."
)


class TunerScript(scripts.Script):  # type: ignore[misc]
    """Runs a grid or a search instead of one generation."""

    def title(self) -> str:
        """The name in the dropdown, and REST's `script_name`."""
        return TITLE

    def show(self, is_img2img: bool) -> bool:
        """Show the script in both tabs."""
        del is_img2img
        return True

    def ui(self, is_img2img: bool) -> list[Any]:
        """Build a hidden field for REST and the fields of the axes."""
        return fields(self.elem_id, "img2img" if is_img2img else "txt2img")

    def run(self, p: Any, *args: Any) -> Any:
        """Run the grid, and return its sheets followed by the pictures of its cells.

        A CtrlGenError is raised in the API; on the page it is a comment below an empty gallery.
        """
        try:
            return self.tuned(p, args)
        except CtrlGenError as error:
            if getattr(p, "is_api", False):
                raise
            return with_marks(processing.Processed(p, []), show_mistake(p, at_fields(error, args)))

    def tuned(self, p: Any, args: Sequence[Any]) -> Any:
        """Run the grid, and return its sheets followed by the pictures of its cells. Raises CtrlGenError."""
        from .host import WebUIHost
        from .plan import plan_of, progress_file

        tune, name = read_tune(args)
        place = controls_place(p)
        given = p.script_args[place : int(controls(p).args_to)]
        request = read_request(given, init_pictures(p), last=last_picture().picture)
        plan = plan_of(p, request, tune, name)
        file = progress_file(plan.folder)
        subseed = int(processing.get_fixed_seed(p.subseed))
        tuner = plan.tuner(WebUIHost(p=p, place=place, subseed=subseed, encoder_name=tune.encoder))
        with tuner.lock:
            require_wanted(args, file)
            file.write("running", total=plan.cells)
            with file.failures():
                tuned = watched(plan, tuner, file)
                if tuned.failure and not stopped():
                    raise HostError(f"{tuned.failure}. Report: {tuned.report}")
        return answer(p, tuned, plan.folder)


def watched(plan: Plan, tuner: Any, file: ProgressFile) -> Any:
    """Run a tuner, show its progress on the page, write it into its folder, and return the result."""
    view = view_of(tuner, plan.folder)
    shared.state.job_count = plan.cells

    def tell(progress: Any) -> None:
        file.tell(progress)
        view.tell(progress)

    try:
        with view.shown():
            tuned, state = tuner.run(tell), "done"
    except KeyboardInterrupt:
        tuned, state = tuner.tuned, "interrupted"
    file.end(state, tuned)
    return tuned


def stopped() -> bool:
    """Whether the user interrupted the run."""
    return bool(shared.state.interrupted or shared.state.stopping_generation)


def require_wanted(args: Sequence[Any], file: ProgressFile) -> None:
    """Raise HostError for a job that was deleted while it waited for its turn."""
    first = args[0] if args else None
    state = file.read() if isinstance(first, Mapping) and first.get("job") else None
    if state is not None and state["state"] == "interrupted":
        raise HostError("the job was cancelled before its turn")


def view_of(tuner: Any, folder: Path) -> Any:
    """Return the view that shows a running tuner on the page."""
    from lib_ctrlgen.tuner.live_sheet import LiveSheet

    from .live_view import TunerView

    names = tuner.names() if hasattr(tuner, "grid") else ()
    return TunerView(LiveSheet(folder, *names))


def controls(p: Any) -> Any:
    """The always-on script of this generation."""
    return next(script for script in p.scripts.alwayson_scripts if script.title() == CONTROLS)


def controls_place(p: Any) -> int:
    """The index of the always-on script's first argument."""
    return int(controls(p).args_from)


def answer(p: Any, tuned: Any, folder: Any) -> Any:
    """Return the WebUI's result: the sheets, then the pictures of each cell with their own infotexts."""
    sheets = [Image.open(path).convert("RGB") for path in tuned.sheets]
    files = [folder / name for each in tuned.done for name in each.files]
    pictures = [Image.open(path) for path in files]
    texts = [str(picture.info.get("parameters", "")) for picture in pictures]
    if tuned.choice is not None:
        p.comment(f"Recommended: {tuned.recommended}. {tuned.choice.reason} {tuned.confidence}".rstrip())
    p.comment(MADE.format(made=tuned.made))
    for warning in tuned.warnings:
        p.comment(f"Warning: {with_labels(warning)}")
    if stopped():
        p.comment(CONTINUE.format(done=len(tuned.done), folder=folder.name))
    for each in tuned.done:
        if each.error:
            p.comment(f"{', '.join(each.cell.shown)}: {with_labels(each.error)}")
    p.comment(f"Report: {tuned.report}")
    return processing.Processed(
        p,
        [*sheets, *(picture.convert("RGB") for picture in pictures)],
        seed=int(p.seed) if int(p.seed) >= 0 else -1,
        info=texts[0] if texts else "",
        infotexts=[*[texts[0] if texts else ""] * len(sheets), *texts],
        index_of_first_image=len(sheets),
    )
