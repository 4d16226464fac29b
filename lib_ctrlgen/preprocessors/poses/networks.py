"""OpenPose's networks for bodies, hands and faces, whose weights are in lllyasviel/Annotators.

Bodies and hands have the networks of controlnet_aux. It has that of faces in a file that needs torchvision;
it is the network of hands with another number of maps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from lib_ctrlgen.preprocessors.network import PublishedNetwork, Tensors
from lib_ctrlgen.preprocessors.packages import detector_file

FILE = "open_pose.model"
HAND_MAPS, FACE_MAPS, FEATURES = 22, 71, 128  # maps: one for each keypoint, and the background


def body_network(tensors: Tensors) -> nn.Module:
    """The network, which returns part affinity fields [1, 38, h, w] and heat maps [1, 19, h, w]."""
    del tensors
    network: nn.Module = detector_file(FILE).bodypose_model()
    return network


def hand_network(tensors: Tensors) -> nn.Module:
    """The network, which returns heat maps [1, 22, h, w]."""
    del tensors
    network: nn.Module = detector_file(FILE).handpose_model()
    return network


def face_network(tensors: Tensors) -> nn.Module:
    """The network, which returns heat maps [1, 71, h, w]."""
    network = hand_network(tensors)
    channels = {HAND_MAPS: FACE_MAPS, HAND_MAPS + FEATURES: FACE_MAPS + FEATURES}
    for block in network.children():
        for name, layer in block.named_children():
            if isinstance(layer, nn.Conv2d):
                ends = [channels.get(count, count) for count in (layer.in_channels, layer.out_channels)]
                side = layer.kernel_size[0]
                setattr(block, name, nn.Conv2d(ends[0], ends[1], side, padding=side // 2))
    return network


def in_blocks(build: Callable[[Tensors], nn.Module]) -> Callable[[Tensors], Tensors]:
    """What renames a file's tensors, which are named without the network's blocks."""

    def renamed(tensors: Tensors) -> Tensors:
        with torch.device("meta"):
            names = build(tensors).state_dict()
        plain = {name: name.partition(".")[2] for name in names}
        return {name: tensors[short] for name, short in plain.items() if short in tensors}

    return renamed


BODY, HAND, FACE = (
    PublishedNetwork(weights=weights, build=build, renamed=in_blocks(build))
    for weights, build in (
        ("body_pose_model.pth", body_network),
        ("hand_pose_model.pth", hand_network),
        ("facenet.pth", face_network),
    )
)
