"""What trainings need of this WebUI: its models, its folders, its lists of files, its checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from modules import call_queue, devices, paths_internal, sd_models, shared, ui_extra_networks

from lib_ctrlgen.errors import ModelError, RequestError, nearest
from lib_ctrlgen.files import expanded
from lib_ctrlgen.models.memory import GB, memory_of, memory_type
from lib_ctrlgen.webui.settings import model_folders, model_store, training_folder, training_pictures

from .folder import Record
from .trainings import Trainings

LISTS = {"textual-inversion": "textual inversion", "lora": "lora", "dreambooth": "lora"}


class WebUIPlaces:
    """Models by their names in this WebUI, and the folders of pictures that may be read."""

    def __init__(self, *, anywhere: bool) -> None:
        self.anywhere = anywhere

    def checkpoint(self, name: str) -> Path:
        """The file of a checkpoint in the WebUI's list, by its name, title or hash. Raises RequestError."""
        found = sd_models.checkpoint_aliases.get(name)  # the WebUI's own search also takes parts of names
        if found is None:
            known = nearest(name, [info.name for info in sd_models.checkpoints_list.values()])
            raise RequestError("$.base", f"there is no checkpoint {name!r} in this WebUI; {known}")
        return Path(found.filename).resolve()

    def model(self, name: str, path: str) -> Path:
        """The file of a control model of this WebUI. Raises RequestError."""
        try:
            return model_store().resolve(name)
        except ModelError as error:
            raise RequestError(path, str(error)) from error

    def pictures(self, text: str, path: str) -> Path:
        """A folder of pictures: inside the allowed folders, or anywhere for the page. Raises RequestError."""
        allowed = training_pictures()
        given = expanded(text.strip())
        tried = [given] if given.is_absolute() else [root / given for root in allowed]
        for folder in tried:
            real = folder.resolve()
            inside = any(real.is_relative_to(root.resolve()) for root in allowed)
            if real.is_dir() and (inside or self.anywhere):
                return real
        places = " and ".join(map(str, allowed))
        more = "" if self.anywhere else "; the setting 'Folders with pictures to train on' allows others"
        raise RequestError(path, f"there is no folder {text!r} in {places}{more}")


class WebUIHost:
    """This WebUI."""

    def places(self, *, anywhere: bool) -> WebUIPlaces:
        """Where models and pictures are. `--hide-ui-dir-config` restricts the page, too."""
        return WebUIPlaces(anywhere=anywhere and not shared.cmd_opts.hide_ui_dir_config)

    def target(self, kind: str) -> Path:
        """The folder in which the WebUI finds files of this kind."""
        models = Path(paths_internal.models_path)
        if kind == "textual-inversion":
            return Path(shared.cmd_opts.embeddings_dir)
        if kind == "ip-adapter":
            return models / "ControlNet"
        return Path(getattr(shared.cmd_opts, "lora_dir", None) or models / "Lora")

    def model_folders(self) -> Sequence[Path]:
        """The folders of control models and image encoders."""
        return [folder for folder in model_folders() if folder.is_dir()]

    def variables(self) -> Mapping[str, str]:
        """The process sees the GPU that the WebUI computes on, and none if it computes on the CPU."""
        found = dict(os.environ)
        if devices.device.type == "cpu":
            found["CUDA_VISIBLE_DEVICES"] = ""
        elif getattr(shared.cmd_opts, "device_id", None) is not None:
            found["CUDA_VISIBLE_DEVICES"] = str(shared.cmd_opts.device_id)
        return found

    def require_memory(self, base: Path) -> None:
        """Raise RequestError if the checkpoint cannot even be loaded beside what is in the memory."""
        kind = memory_type(devices.device)
        memory, size = memory_of(kind), base.stat().st_size
        if memory is not None and size > memory.available:
            where = "GPU" if kind == "cuda" else "main"
            raise RequestError(
                "$.base",
                f"the checkpoint alone has {size / GB:.1f} GB, and {memory.available / GB:.1f} GB of {where} "
                "memory are free: unload the WebUI's checkpoint first (`unload`), or close other programs",
            )

    def unload(self) -> None:
        """Move the WebUI's checkpoint to the CPU's memory, as its own button does."""
        with call_queue.queue_lock:
            sd_models.unload_model_weights()
            devices.torch_gc()

    def ended(self, record: Record) -> None:
        """Refresh the lists of files, and take the checkpoint back that was moved away."""
        if record.unloaded:
            with call_queue.queue_lock:
                sd_models.send_model_to_device(shared.sd_model)
        refresh_lists(record.kind)


def refresh_lists(kind: str) -> None:
    """Let the WebUI and the panel find a new file, by their own refresh functions."""
    for page in ui_extra_networks.extra_pages:
        if page.name == LISTS.get(kind):
            page.refresh()
    model_store().refresh()


def trainings() -> Trainings:
    """The trainings of this WebUI."""
    return _trainings(training_folder())


@lru_cache(maxsize=1)
def _trainings(root: Path) -> Trainings:
    return Trainings(root, WebUIHost())
