"""The base of preprocessors that run a network with published weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.images.composite import pixels_of
from lib_ctrlgen.models.loading import fill
from lib_ctrlgen.models.offload import lent
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.models.weights import find_weights, weight_folders

from .base import Preprocessor

Pixels: TypeAlias = NDArray[np.uint8]
Map: TypeAlias = NDArray[np.float32]
Tensors: TypeAlias = Mapping[str, Tensor]

CPU = torch.device("cpu")
CELL = 64  # pixels: both sides of what a network gets are multiples of it, as in sd-webui-controlnet
PARALLEL = "module."
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pictures of ImageNet in 0..1


def without_prefix(tensors: Tensors) -> Tensors:
    """The tensors without the prefix `module.`, which some files have before a part of their names."""
    return {key.removeprefix(PARALLEL): value for key, value in tensors.items()}


def found_once(store: ModelStore | None, name: str, find: Callable[[str, Sequence[Path]], Path]) -> Path:
    """Where weights are. The store remembers it: with many model files, a search takes longer than a network.

    Raises ModelError.
    """
    if store is None:
        return find(name, weight_folders(()))
    found: Path = store.cached(("weights", name), lambda: find(name, store.weight_folders))
    return found if found.exists() else find(name, store.weight_folders)


@runtime_checkable
class Located(Protocol):
    """A network whose files are known."""

    def files(self, store: ModelStore | None) -> tuple[Path, ...]:
        """The files that it is read from. Raises ModelError."""


class Loadable(Protocol):
    """A network that can be loaded; `weights` is the name of its file, or of its repository on the Hub."""

    @property
    def weights(self) -> str:
        """The name under which its weights are searched."""

    def load(self, store: ModelStore | None, device: torch.device) -> nn.Module:
        """The network in float32 on a device, from the store's cache. Raises ModelError."""


@dataclass(frozen=True, kw_only=True)
class PublishedNetwork:
    """A network whose weights are a published file.

    weights  the file's name in the table of published files (`models/published.json`)
    build    builds the network of the file's tensors, whose names and shapes it may read; it is called with
             `meta` as torch's default device
    renamed  the tensors under the names that the network has for them
    computed  the end of the names of tensors that the network computes itself, so that those of the file are
             not read; the network is then built on the CPU
    """

    weights: str
    build: Callable[[Tensors], nn.Module]
    renamed: Callable[[Tensors], Tensors] = without_prefix
    computed: str = ""

    def _computes(self, key: str) -> bool:
        return bool(self.computed) and key.endswith(self.computed)

    def built(self, tensors: Tensors, name: str) -> nn.Module:
        """The network without weights. Raises ModelError if the tensors have no name that `build` reads."""
        try:
            return self.build(tensors)
        except KeyError as error:
            raise ModelError(f"'{name}' does not fit its architecture: missing {error.args[0]}") from error

    def files(self, store: ModelStore | None) -> tuple[Path, ...]:
        """Its file. Raises ModelError."""
        return (found_once(store, self.weights, find_weights),)

    def load(self, store: ModelStore | None, device: torch.device) -> nn.Module:
        """The network in float32 on a device, from the store's cache. Raises ModelError."""
        path = found_once(store, self.weights, find_weights)

        def load_detector(path: Path) -> nn.Module:
            tensors = self.renamed(read_tensors(path))
            with torch.device("cpu" if self.computed else "meta"):
                network = self.built(tensors, path.name)
            own = {key for key in (*network.state_dict(), *tensors) if self._computes(key)}
            given = {key: value for key, value in tensors.items() if key not in own}
            fill(network, given, path.name, device, torch.float32, own)
            return network.to(device)  # with the buffers that no file has

        return load_detector(path) if store is None else store.get(path, load_detector, self.weights, device)


@dataclass(frozen=True)
class LoadingPreprocessor(Preprocessor):
    """A preprocessor that loads networks.

    store   caches the networks, and has the folders in which their weights are searched
    device  where they run
    away    whether their weights are in the CPU's memory between uses
    """

    store: ModelStore | None = None
    device: torch.device = CPU
    away: bool = False

    needs_weights: ClassVar[bool] = True

    def with_store(self, store: ModelStore) -> LoadingPreprocessor:
        """This preprocessor with the store that its networks are loaded from."""
        return replace(self, store=store)

    def on(self, device: torch.device | str) -> LoadingPreprocessor:
        """This preprocessor with the device that its networks run on."""
        return replace(self, device=torch.device(device))

    def offloaded(self, away: bool) -> LoadingPreprocessor:
        """This preprocessor with or without keeping the weights in the CPU's memory between uses."""
        return replace(self, away=away)

    def found(self, *weights: str) -> tuple[Path, ...]:
        """The published files of these names. Raises ModelError."""
        return tuple(found_once(self.store, name, find_weights) for name in weights)

    @contextmanager
    def loaded(self, *networks: Loadable) -> Iterator[tuple[Any, ...]]:
        """The networks as in `on_device`, in a context without gradients and mixed precision."""
        with ExitStack() as stack:
            found = stack.enter_context(self.on_device(*networks))
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.autocast(self.device.type, enabled=False))
            yield found

    @contextmanager
    def on_device(self, *networks: Loadable) -> Iterator[tuple[Any, ...]]:
        """The networks, which can be called on the device inside the context. Raises ModelError.

        Inside, no other network of the store's preprocessors runs.
        """
        found = tuple(each.load(self.store, CPU if self.away else self.device) for each in networks)
        with ExitStack() as stack:
            if self.store is not None:
                stack.enter_context(self.store.detecting)
            for each in found if self.away else ():
                stack.enter_context(lent(each, self.device))
            yield found


class NetworkPreprocessor(LoadingPreprocessor):
    """A preprocessor that runs one network; derived classes write `network` and `detect`."""

    network: ClassVar[Loadable]

    def weight_files(self) -> tuple[Path, ...] | None:
        """The files of the network, if it says which they are. Raises ModelError."""
        return self.network.files(self.store) if isinstance(self.network, Located) else None

    def __call__(self, image: Image.Image, **params: Any) -> Image.Image:
        """Return the control map of an RGB picture. Raises ModelError without weights or a needed package.

        The network sees the picture with its right and lower edge repeated up to a multiple of `CELL`.
        """
        pixels = pixels_of(image)
        height, width = pixels.shape[:2]
        found = self.detect(padded(pixels), **params)[:height, :width]
        return Image.fromarray(self.finished(np.ascontiguousarray(found))).convert("RGB")

    @abstractmethod
    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The map [H, W] or [H, W, 3] of pixels [H, W, 3], whose sides are multiples of `CELL`."""

    def finished(self, found: Pixels) -> Pixels:
        """The map of the whole picture, after what was added at its edges has been cut off."""
        return found

    def run(self, inputs: Map, method: str = "__call__") -> Any:
        """What a method of the network returns for inputs [H, W, C]; one network at a time runs."""
        with self.loaded(self.network) as (network,):
            return getattr(network, method)(batch_of(inputs, self.device))

    @contextmanager
    def present(self) -> Iterator[Any]:
        """The network, as in `on_device`. Raises ModelError."""
        with self.on_device(self.network) as (network,):
            yield network


def batch_of(inputs: Map, device: torch.device) -> Tensor:
    """Inputs [H, W, C] as a batch [1, C, H, W] on a device."""
    return torch.from_numpy(np.ascontiguousarray(inputs)).permute(2, 0, 1)[None].to(device)


def padded(pixels: Pixels, cell: int = CELL) -> Pixels:
    """Pixels [H, W, C] with the right and the lower edge repeated up to multiples of `cell`."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % cell), (0, -width % cell), (0, 0)), mode="edge")


def array(found: Tensor) -> Map:
    """A map [H, W] of a network's output [1, 1, H, W] or [1, H, W]. Raises ModelError for another shape."""
    values = found.squeeze()
    if values.dim() != 2:
        raise ModelError(f"the network returned {tuple(found.shape)} instead of one map")
    return np.asarray(values.float().cpu().numpy())


def normalised(pixels: NDArray[Any], mean: Sequence[float], spread: Sequence[float]) -> Map:
    """Values [H, W, 3] minus a mean and divided by a standard deviation of each channel."""
    return np.asarray((pixels - np.asarray(mean)) / np.asarray(spread), np.float32)


def between(values: NDArray[Any]) -> Map:
    """Values as shares of the way from the smallest to the largest; 0 where all are equal."""
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / ((high - low) or 1.0), np.float32)


def fractions(pixels: Pixels) -> Map:
    """Grey levels 0..255 as 0..1."""
    return pixels.astype(np.float32) / np.float32(255)


def grey_levels(values: NDArray[Any]) -> Pixels:
    """Values in 0..1 as grey levels 0..255; others are clipped."""
    return (np.asarray(values) * 255.0).clip(0, 255).astype(np.uint8)
