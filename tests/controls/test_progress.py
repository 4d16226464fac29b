"""Loading says which unit it is at, and stops between its pieces."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors.torch import save_file

from lib_ctrlgen.controls.base import Target
from lib_ctrlgen.controls.prepare import load_units
from lib_ctrlgen.errors import RequestError, StoppedError, WrongModelError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.progress import Progress
from lib_ctrlgen.request.spec import ControlUnit
from tests.support import control_files as files

UNIT = ControlUnit(model="net", image=encode_image(files.picture(64, 64)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("models")
    save_file(files.controlnet_tensors(), folder / "net.safetensors")
    return ModelStore([folder], 1 << 30)


def test_each_piece_is_shown_and_none_after_a_stop(store: ModelStore) -> None:
    shown: list[str] = []

    @contextmanager
    def show(text: str) -> Iterator[None]:
        shown.append(text)
        yield
        shown.append("")

    target = Target(store=store, shape=files.shape(), progress=Progress(show, lambda: len(shown) > 4))
    with pytest.raises(StoppedError):
        load_units([UNIT, UNIT], target)
    texts = ["loading the model of unit 0", "reading the picture of unit 0", "loading the model of unit 1"]
    assert [text for text in shown if text] == texts


def test_a_model_that_is_not_there_is_a_wrong_model(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        load_units([ControlUnit(model="nit", image=UNIT.image)], Target(store=store, shape=files.shape()))
    assert isinstance(caught.value.__cause__, WrongModelError)
