"""Segmentation without classes: Segment Anything (Kirillov et al. 2023) as MobileSAM (Zhang et al. 2023).

A grid of points asks the network for masks; certain and stable ones are kept, and of those whose boxes
overlap the likeliest one, with the thresholds of both projects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from .base import Comparison
from .isolated.terms import require_not_cancelled
from .network import NetworkPreprocessor, Pixels, PublishedNetwork, Tensors
from .packages import building, detector_file

MODELING = "segment_anything.modeling"
SIDE = 1024  # pixels: the longest side of what the network gets
WIDTH = 256  # of an embedding
GRID = SIDE // 16  # cells of a side of the embedded picture
POINTS = 64  # that the network is asked for at once
MASKS = 16  # that are enlarged at once
CERTAIN = 0.88  # the predicted IoU of a mask is above it
STABLE, OFFSET = 0.95, 1.0  # the least IoU of a mask with logits above the offset and below its negative
OVERLAP = 0.7  # IoU of boxes above which only the likelier mask is kept
SEED = 0


def sam_network(tensors: Tensors) -> nn.Module:
    """The network, which gets RGB in 0..255 and points in pixels. Needs timm."""
    del tensors
    encoder = detector_file(f"{MODELING}.tiny_vit_sam").TinyViT
    prompts = detector_file(f"{MODELING}.prompt_encoder").PromptEncoder
    decoder = detector_file(f"{MODELING}.mask_decoder").MaskDecoder
    transformer = detector_file(f"{MODELING}.transformer").TwoWayTransformer
    with building(MODELING):
        network: nn.Module = detector_file(f"{MODELING}.sam").Sam(
            image_encoder=encoder(
                img_size=SIDE,
                embed_dims=[64, 128, 160, 320],
                depths=[2, 2, 6, 2],
                num_heads=[2, 4, 5, 10],
                window_sizes=[7, 7, 14, 7],
                drop_path_rate=0.0,
                layer_lr_decay=0.8,
            ),
            prompt_encoder=prompts(
                embed_dim=WIDTH,
                image_embedding_size=(GRID, GRID),
                input_image_size=(SIDE, SIDE),
                mask_in_chans=16,
            ),
            mask_decoder=decoder(
                transformer_dim=WIDTH,
                transformer=transformer(depth=2, embedding_dim=WIDTH, num_heads=8, mlp_dim=2048),
                num_multimask_outputs=3,
                iou_head_depth=3,
                iou_head_hidden_dim=256,
            ),
        )
    return network


@dataclass(frozen=True)
class Masks:
    """Masks of a picture.

    bits    packed bits [N, H * W / 8]
    boxes   [N, 4]: left, top, right, bottom
    scores  the predicted IoU [N]
    """

    bits: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]


class MobileSam(NetworkPreprocessor):
    """A colour for each thing and part that is found, black elsewhere; small ones are drawn on large ones.

    The colours are a fixed sequence, in the order of the masks' sizes: the same picture gets the same ones.
    sd-webui-controlnet draws other random colours each time.
    """

    name: ClassVar[str] = "mobile_sam"
    title: ClassVar[str] = "Segmentation without classes, MobileSAM (mobile_sam)"
    union_type: ClassVar[str] = "segment"
    compared: ClassVar[Comparison | None] = "structure"
    network: ClassVar[PublishedNetwork] = PublishedNetwork(
        weights="mobile_sam.pt", build=sam_network, computed="attention_bias_idxs"
    )
    side: ClassVar[int] = 32  # points of the grid, in a row

    def detect(self, pixels: Pixels, **params: Any) -> Pixels:
        """The colours of the masks of a whole picture [H, W, 3]."""
        del params
        loaded: Any = self.network.load(self.store, self.device)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            found = [*self._found(loaded, pixels)]
        masks = Masks(
            bits=np.concatenate([each.bits for each in found]),
            boxes=np.concatenate([each.boxes for each in found]),
            scores=np.concatenate([each.scores for each in found]),
        )
        return painted(masks.bits[kept(masks)], pixels.shape[:2])

    def _found(self, network: Any, pixels: Pixels) -> Iterator[Masks]:
        """The certain and stable masks, for each `POINTS` points of the grid."""
        height, width = pixels.shape[:2]
        scale = SIDE / max(height, width)
        size = int(width * scale + 0.5), int(height * scale + 0.5)
        seen = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), np.float32)
        inputs = torch.from_numpy(seen.copy()).permute(2, 0, 1)[None].to(self.device)
        embedded = network.image_encoder(network.preprocess(inputs))
        points = torch.from_numpy(grid(self.side) * size).float().to(self.device)
        for some in torch.split(points, POINTS):
            require_not_cancelled(self.name)
            yield _chosen(network, *_asked(network, embedded, some), size, (height, width))


def _asked(network: Any, embedded: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The logits [3 B, 256, 256] and the predicted IoU [3 B] of three masks for each point [B, 2]."""
    labels = torch.ones(len(points), 1, dtype=torch.int, device=points.device)
    sparse, dense = network.prompt_encoder(points=(points[:, None], labels), boxes=None, masks=None)
    logits, scores = network.mask_decoder(
        image_embeddings=embedded,
        image_pe=network.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    return logits.flatten(0, 1), scores.flatten(0, 1)


def _chosen(
    network: Any, logits: Tensor, scores: Tensor, seen: tuple[int, int], size: tuple[int, int]
) -> Masks:
    """The certain and stable ones of masks at the picture's size (height, width).

    `seen` (width, height) is the part of the network's input that the picture fills.
    """
    certain = scores > CERTAIN
    bits, boxes, likely = [], [], []
    pairs = zip(torch.split(logits[certain], MASKS), torch.split(scores[certain], MASKS), strict=True)
    for some, score in pairs if certain.any() else ():
        large = network.postprocess_masks(some[:, None], seen[::-1], size)[:, 0]
        masks = large > 0
        inner, outer = (large > OFFSET).flatten(1).sum(1), (large > -OFFSET).flatten(1).sum(1)
        stable = inner >= STABLE * outer.clamp(min=1)
        own = masks[stable].cpu().numpy()
        bits.append(np.packbits(own.reshape(len(own), size[0] * size[1]), axis=1))
        boxes.append(boxes_of(own))
        likely.append(score[stable].float().cpu().numpy())
    empty = np.zeros((0, -(-size[0] * size[1] // 8)), np.uint8)
    return Masks(
        bits=np.concatenate([empty, *bits]),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        scores=np.concatenate([np.zeros(0, np.float32), *likely]),
    )


def grid(side: int) -> NDArray[np.float64]:
    """The points [side * side, 2] of a grid, x and y as fractions of the picture, row by row.

    >>> grid(2).tolist()
    [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    """
    places = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(places, places), axis=2).reshape(-1, 2)


def boxes_of(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The first and last column and row of masks [N, H, W], as [N, 4]: left, top, right, bottom."""
    found = np.zeros((len(masks), 4), np.float32)
    for number, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            found[number] = columns[0], rows[0], columns[-1], rows[-1]
    return found


def kept(masks: Masks) -> list[int]:
    """The numbers of the masks that remain where boxes overlap (non-maximum suppression), likeliest first."""
    areas = np.prod(masks.boxes[:, 2:] - masks.boxes[:, :2], axis=1)
    order = np.argsort(-masks.scores, kind="stable").tolist()
    found: list[int] = []
    while order:
        first = order.pop(0)
        found.append(first)
        others = masks.boxes[order]
        low = np.maximum(others[:, :2], masks.boxes[first, :2])
        high = np.minimum(others[:, 2:], masks.boxes[first, 2:])
        shared = np.prod((high - low).clip(min=0), axis=1)
        union = areas[order] + areas[first] - shared
        order = [number for number, much in zip(order, shared > OVERLAP * union, strict=True) if not much]
    return found


def painted(bits: NDArray[np.uint8], size: tuple[int, ...]) -> Pixels:
    """A picture [H, W, 3] of masks as packed bits [N, H * W / 8], the largest first."""
    height, width = size
    colours = np.random.default_rng(SEED).integers(0, 255, (len(bits), 3), np.uint8)
    flat = np.zeros((height * width, 3), np.uint8)
    smaller = [-int(np.unpackbits(each).sum()) for each in bits]
    for colour, number in zip(colours, np.argsort(smaller, kind="stable"), strict=True):
        flat[np.unpackbits(bits[number], count=height * width).astype(bool)] = colour
    return flat.reshape(height, width, 3)
