"""Segmentation: a colour for each pixel's class, by networks of transformers.

Jain et al. 2023, OneFormer; Xiao et al. 2018, Unified Perceptual Parsing (UperNet). sd-webui-controlnet uses
files in the layouts of detectron2 and mmsegmentation, which are not read. The folders of OneFormer have the
same networks; that of UperNet has a newer encoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_ctrlgen.errors import ModelError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.models.tensor_files import read_tensors
from lib_ctrlgen.models.weight_files import parts_of, weights_in
from lib_ctrlgen.models.weights import find_weight_folder

from .base import Comparison
from .network import MEAN, SPREAD, NetworkPreprocessor, Pixels, found_once, fractions, normalised
from .packages import imported

COLOURS = Path(__file__).with_name("segment_colours.json")
TASK = "the task is semantic"
UNUSED = (
    "swin.layernorm.weight",
    "swin.layernorm.bias",
)  # newer versions of transformers have them, no file has


class TaskNetwork(nn.Module):
    """OneFormer with the task of semantic segmentation."""

    def __init__(self, network: nn.Module, folder: Path) -> None:
        super().__init__()
        self.network = network
        tokenizer = imported("transformers").CLIPTokenizer.from_pretrained(str(folder))
        length = int(getattr(network, "config").task_seq_len)  # noqa: B009 - a module's attribute
        given = tokenizer(TASK, padding="max_length", truncation=True, max_length=length)
        ids = [
            number * kept for number, kept in zip(given["input_ids"], given["attention_mask"], strict=True)
        ]
        self.register_buffer("task", torch.tensor([ids]))

    def forward(self, x: Tensor) -> Tensor:
        """The scores of classes [1, K, h, w] of a picture [1, 3, H, W]."""
        found = self.network(pixel_values=x, task_inputs=self.task)
        classes = found.class_queries_logits.softmax(-1)[..., :-1]  # without 'no object'
        return torch.einsum("bqk,bqhw->bkhw", classes, found.masks_queries_logits.sigmoid())


class LogitsNetwork(nn.Module):
    """A network that returns the logits of the classes."""

    def __init__(self, network: nn.Module, _folder: Path) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """The logits of classes [1, K, h, w] of a picture [1, 3, H, W]."""
        found: Tensor = self.network(pixel_values=x).logits
        return found


@dataclass(frozen=True, kw_only=True)
class PublishedFolder:
    """A network that is published as a folder of transformers.

    weights  the repository on the Hugging Face Hub
    model    the name of its class in transformers
    wrapped  makes a network that returns the scores of classes of it and its folder
    """

    weights: str
    model: str
    wrapped: Callable[[nn.Module, Path], nn.Module]

    def files(self, store: ModelStore | None) -> tuple[Path, ...]:
        """Its weights and its config.json. Raises ModelError."""
        folder = found_once(store, self.weights, find_weight_folder)
        return (*parts_of(weights_in(folder, "model", "pytorch_model")), folder / "config.json")

    def load(self, store: ModelStore | None, device: torch.device) -> nn.Module:
        """The network in float32 on a device, from the store's cache. Raises ModelError."""
        folder = found_once(store, self.weights, find_weight_folder)

        def load_segmenter(path: Path) -> nn.Module:
            return self.wrapped(self._read(folder, path), folder).to(device).eval()

        path = weights_in(folder, "model", "pytorch_model")
        return (
            load_segmenter(path) if store is None else store.get(path, load_segmenter, self.weights, device)
        )

    def _read(self, folder: Path, path: Path) -> nn.Module:
        """The network of a folder. CtrlGen reads its pickle: transformers 4.30 would run code in it."""
        transformers = imported("transformers")
        if not hasattr(transformers, self.model):
            raise ModelError(
                f"transformers {transformers.__version__} has no {self.model}: it came with 4.26"
            )
        model, tensors = getattr(transformers, self.model), read_tensors(path)
        try:
            config = model.config_class.from_pretrained(str(folder))
            network, report = model.from_pretrained(
                None, config=config, state_dict=tensors, output_loading_info=True
            )
        except Exception as error:  # of a config.json of another network, for example
            raise ModelError(f"{folder} cannot be read: {' '.join(str(error).split())[:160]}") from error
        missing = [key for key in report["missing_keys"] if not key.endswith(UNUSED)]
        if missing:
            raise ModelError(f"'{path.name}' does not fit its architecture: missing {missing[0]}")
        loaded: nn.Module = network.requires_grad_(requires_grad=False)
        return loaded


class Segmentation(NetworkPreprocessor):
    """A colour for each class of ADE20K (150 classes of things, furniture, surfaces and landscape)."""

    name: ClassVar[str] = "oneformer_ade20k"
    title: ClassVar[str] = "Segmentation, OneFormer, ADE20K (seg_ofade20k)"
    union_type: ClassVar[str] = "segment"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedFolder] = PublishedFolder(
        weights="shi-labs/oneformer_ade20k_swin_large",
        model="OneFormerForUniversalSegmentation",
        wrapped=TaskNetwork,
    )
    colours: ClassVar[Literal["ade20k", "coco"]] = "ade20k"
    sides: ClassVar[tuple[int, int]] = (
        640,
        2560,
    )  # pixels: of the network's input, the short and the longest

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The colours of the likeliest classes. Raises ModelError for a network of more classes."""
        del params
        height, width = pixels.shape[:2]
        scale = min(self.sides[0] / min(height, width), self.sides[1] / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        seen = np.asarray(cv2.resize(fractions(pixels), size, interpolation=cv2.INTER_LINEAR))
        scores = self.run(normalised(seen, MEAN, SPREAD))
        classes = functional.interpolate(scores, (height, width), mode="bilinear")[0].argmax(0).cpu().numpy()
        colours = class_colours(self.colours)
        if scores.shape[1] > len(colours):
            raise ModelError(f"the network has {scores.shape[1]} classes, {self.colours} has {len(colours)}")
        return np.asarray(colours[classes], np.uint8)


class SegmentationCoco(Segmentation):
    """A colour for each class of COCO (80 classes of things, and 53 of surfaces and landscape)."""

    name: ClassVar[str] = "oneformer_coco"
    title: ClassVar[str] = "Segmentation, OneFormer, COCO (seg_ofcoco)"
    network: ClassVar[PublishedFolder] = PublishedFolder(
        weights="shi-labs/oneformer_coco_swin_large",
        model="OneFormerForUniversalSegmentation",
        wrapped=TaskNetwork,
    )
    colours: ClassVar[Literal["ade20k", "coco"]] = "coco"
    sides: ClassVar[tuple[int, int]] = (800, 1333)


class SegmentationUperNet(Segmentation):
    """A colour for each class of ADE20K, by UperNet on ConvNeXt; sd-webui-controlnet has it on UniFormer."""

    name: ClassVar[str] = "segmentation"
    title: ClassVar[str] = "Segmentation, UperNet, ADE20K (seg_ufade20k)"
    network: ClassVar[PublishedFolder] = PublishedFolder(
        weights="openmmlab/upernet-convnext-small",
        model="UperNetForSemanticSegmentation",
        wrapped=LogitsNetwork,
    )
    sides: ClassVar[tuple[int, int]] = (512, 2048)


def class_colours(name: str) -> Pixels:
    """The colours [K, 3] of the classes that ControlNets for segmentation were trained with."""
    listed = json.loads(COLOURS.read_text("utf-8"))[name].split()
    colours: Pixels = np.array([list(bytes.fromhex(colour)) for colour in listed], np.uint8)
    return colours
