"""How preprocessors get their packages and weights: each on its own, at its first use, once."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.published import named
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessor, preprocessors
from lib_ctrlgen.preprocessors.network import NetworkPreprocessor, PublishedNetwork
from tests.support.fake_detectors import BROKEN, FILES, forget_package, randomised, stripes, write_package

NETWORKS = [item for item in preprocessors() if isinstance(item, NetworkPreprocessor)]


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The small package's folder, which is not yet written."""
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_package()
    yield tmp_path
    forget_package()
    importlib.invalidate_caches()


def store_with_hed(folder: Path) -> ModelStore:
    models = folder / "models"
    models.mkdir()
    network = randomised(preprocessor("hed").network.build({}))  # type: ignore[attr-defined]
    torch.save(network.state_dict(), models / "ControlNetHED.pth")
    return ModelStore([models], 1 << 30)


def test_only_the_file_with_the_network_is_imported(package: Path) -> None:
    write_package(package)
    store = store_with_hed(package)
    assert preprocessor("hed").with_store(store)(stripes()).size == stripes().size
    assert "controlnet_aux" not in sys.modules
    with pytest.raises(RuntimeError, match="torchvision"):
        importlib.import_module("controlnet_aux")


def test_a_broken_file_breaks_only_the_preprocessors_that_need_it(package: Path) -> None:
    broken = {**FILES, "teed/ted.py": BROKEN, "lineart/__init__.py": "import surely_missing.part\n"}
    write_package(package, broken)
    store = store_with_hed(package)
    (store.roots[0] / "7_model.pth").write_bytes((store.roots[0] / "ControlNetHED.pth").read_bytes())
    (store.roots[0] / "sk_model.pth").write_bytes((store.roots[0] / "ControlNetHED.pth").read_bytes())
    with pytest.raises(ModelError, match=r"controlnet_aux/teed/ted cannot be .*torchvision::nms"):
        preprocessor("softedge_teed").with_store(store)(stripes())
    with pytest.raises(
        ModelError,
        match=r"needs the package surely_missing \(imported by controlnet_aux/lineart\).*pip install",
    ):
        preprocessor("lineart").with_store(store)(stripes())
    assert preprocessor("hed").with_store(store)(stripes()).size == stripes().size


def test_without_the_package_the_error_says_how_to_install_it(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(package)
    store = store_with_hed(package)
    forget_package()
    monkeypatch.setattr("lib_ctrlgen.preprocessors.packages.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"--no-deps controlnet-aux==0\.0\.10"):
        preprocessor("hed").with_store(store)(stripes())


@pytest.mark.parametrize("item", NETWORKS, ids=lambda item: item.name)
def test_without_weights_the_error_names_the_file(item: NetworkPreprocessor, package: Path) -> None:
    with pytest.raises(ModelError, match=item.network.weights):
        item.with_store(ModelStore([package], 1 << 20))(Image.new("RGB", (8, 8)))
    with pytest.raises(ModelError, match=item.network.weights):
        item(Image.new("RGB", (8, 8)))


def test_a_network_is_read_once_for_all_its_preprocessors(package: Path) -> None:
    write_package(package)
    store = store_with_hed(package)
    for name in ("hed", "hed", "hed_safe", "scribble_hed"):
        preprocessor(name).with_store(store).on("cpu")(stripes())
    assert store.reads == 1
    (store.roots[0] / "sub").mkdir()
    (store.roots[0] / "ControlNetHED.pth").rename(store.roots[0] / "sub" / "ControlNetHED.pth")
    assert preprocessor("hed").with_store(store)(stripes()).size == stripes().size


def test_another_network_in_the_file_is_an_error(package: Path) -> None:
    write_package(package)
    store = store_with_hed(package)
    torch.save({"weight": torch.zeros(1)}, store.roots[0] / "ControlNetHED.pth")
    with pytest.raises(ModelError, match=r"'ControlNetHED.pth' does not fit its architecture: missing"):
        preprocessor("hed").with_store(store)(stripes())
    (store.roots[0] / "erika.pth").write_bytes((store.roots[0] / "ControlNetHED.pth").read_bytes())
    with pytest.raises(ModelError, match=r"'erika\.pth' does not fit its architecture"):
        preprocessor("lineart_anime_denoise").with_store(store)(stripes())


@pytest.mark.parametrize("item", NETWORKS, ids=lambda item: item.name)
def test_the_table_of_published_files_has_the_weights(item: NetworkPreprocessor) -> None:
    if not isinstance(item.network, PublishedNetwork):
        assert "/" in item.network.weights, "a repository on the Hub"
        return
    entry = named(item.network.weights)
    assert entry is not None
    assert item.name in entry.preprocessors
