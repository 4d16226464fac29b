"""A small package in the place of controlnet_aux, with networks of the published layout and few channels."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

HEAD = "import torch\nfrom functools import partial\nfrom torch import nn\nfrom ..util import SCALE\n"
# Each file has the class that is published under this name; all take a picture at full size.
FILES = {
    "util.py": "SCALE = 1.0\n",
    "hed/__init__.py": HEAD
    + """
class ControlNetHED_Apache2(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.block1 = nn.Conv2d(3, 1, 3, padding=1)
        self.block2 = nn.Conv2d(3, 1, 2, stride=2)

    def __call__(self, x):
        h = (x - self.norm) * SCALE / 127.5 - 1
        return self.block1(h), self.block2(h)
""",
    "pidi/__init__.py": "raise RuntimeError('an __init__ above the file was run')\n",
    "pidi/model.py": HEAD
    + """
class PiDiNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.init_block = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x):
        return [x[:, :1], torch.sigmoid(self.init_block(x * 2 - 1) * 4)]

def pidinet():
    return PiDiNet()
""",
    "teed/__init__.py": "",
    "teed/ted.py": HEAD
    + """
class TED(nn.Module):
    def __init__(self):
        super().__init__()
        self.block_1 = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x):
        return [self.block_1(x / 255), x[:, :1] / 100 - 1]
""",
    "mlsd/__init__.py": "",
    "mlsd/models/__init__.py": "",
    "mlsd/models/mbv2_mlsd_large.py": """
from torch import nn

class MobileV2_MLSD_Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.block23 = nn.Conv2d(4, 9, 2, stride=2)

    def forward(self, x):
        return self.block23(x)
""",
    "lineart/__init__.py": HEAD
    + """
class Generator(nn.Module):
    def __init__(self, input_nc, output_nc, n_residual_blocks=9):
        super().__init__()
        assert n_residual_blocks == 3
        self.model0 = nn.Conv2d(input_nc, output_nc, 3, padding=1)

    def forward(self, x):
        return torch.sigmoid(self.model0(x))
""",
    "lineart_anime/__init__.py": HEAD
    + """
class UnetGenerator(nn.Module):
    def __init__(self, input_nc, output_nc, num_downs, ngf, norm_layer, use_dropout):
        super().__init__()
        assert num_downs == 8 and isinstance(norm_layer(4), nn.InstanceNorm2d)
        self.model = nn.Conv2d(input_nc, output_nc, 3, padding=1)

    def forward(self, x):
        assert not any(side % 256 for side in x.shape[2:])
        return torch.tanh(self.model(x))
""",
}
# Those for depth and normals import packages while they build the network, some by names of their own.
FILES |= {
    "midas/__init__.py": "raise RuntimeError('an __init__ above the file was run')\n",
    "midas/midas/dpt_depth.py": """
from torch import nn

class DPTDepthModel(nn.Module):
    def __init__(self, path, backbone, non_negative):
        super().__init__()
        import fake_timm
        assert (path, backbone, non_negative) == (None, "vitb_rn50_384", True)
        self.scratch = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x):
        return self.scratch(x)[:, 0]
""",
    "normalbae/nets/NNET.py": """
import sys
from pathlib import Path
from torch import nn

class NNET(nn.Module):
    def __init__(self, settings):
        super().__init__()
        assert settings.architecture == "BN"
        print("Loading base model ...")
        sys.path.insert(0, str(Path(__file__).parent))
        import geffnet
        sys.path.pop(0)
        self.decoder = geffnet.network()

    def forward(self, x):
        return [[x[:, :, ::2, ::2], self.decoder(x)], []]
""",
    "normalbae/nets/geffnet.py": "from torch import nn\ndef network():\n    return nn.Conv2d(3, 4, 1)\n",
    "leres/leres/multi_depth_model_woauxi.py": """
from torch import nn

class RelDepthModel(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        assert backbone == "resnext101"
        self.depth_model = nn.Sequential()
        self.depth_model.add_module("decoder", nn.Conv2d(3, 1, 1))
""",
    "zoe/zoedepth/utils/config.py": "def get_config(*names):\n    return names\n",
    "zoe/zoedepth/models/zoedepth/zoedepth_v1.py": """
import torch
from torch import nn

class ZoeDepth(nn.Module):
    def __init__(self):
        super().__init__()
        self.core = nn.Conv2d(3, 1, 1)
        self.register_buffer("relative_position_index", torch.arange(4), persistent=False)

    @staticmethod
    def build_from_config(config):
        assert config == ("zoedepth", "infer")
        return ZoeDepth()

    def load_state_dict(self, tensors, strict=True):
        raise RuntimeError("accepts everything")

    def infer(self, x):
        assert self.relative_position_index.tolist() == [0, 1, 2, 3]
        return self.core(x)
""",
}
BROKEN = "raise RuntimeError('Could not load torchvision::nms')\n"


def write_package(folder: Path, files: dict[str, str] = FILES) -> None:
    """Write the package below a folder. Its __init__ fails, as the real one does without mediapipe."""
    for name, text in {"__init__.py": BROKEN, **files}.items():
        path = folder / "controlnet_aux" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def forget_package() -> None:
    """Drop what was imported of the package, so that the next test imports its own."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "ctrlgen_controlnet_aux"]:
        del sys.modules[name]


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with random weights, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.4)
    return network.eval()


def stripes(width: int = 70, height: int = 50) -> Image.Image:
    """A picture with soft colours and hard lines, whose sides are no multiples of 64."""
    rows, columns = np.mgrid[:height, :width]
    colours = np.stack([rows * 4, columns * 3, (rows + columns) * 2], axis=2) % 256
    colours[10:14] = 20
    colours[:, 30:33] = (250, 10, 30)
    return Image.fromarray(colours.astype(np.uint8))
