"""The network of `lineart_anime_denoise`: lines of manga pages without their screentones.

Li, Liu and Wong 2017, Deep Extraction of Manga Structural Lines; the layout is that of erika.pth.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .network import Tensors

EPSILON, SLOPE = 1e-3, 0.2  # of the batch normalisation, and of the leaky ReLU


class Conv(nn.Module):
    """Batch normalisation, leaky ReLU, convolution, and, if `grows`, a doubling of the size."""

    def __init__(self, cin: int, out: int, *, kernel: int = 3, stride: int = 1, grows: bool = False) -> None:
        super().__init__()
        conv = nn.Conv2d(cin, out, kernel, stride, kernel // 2)
        after = [nn.Upsample(scale_factor=2)] if grows else []
        self.model = nn.Sequential(nn.BatchNorm2d(cin, EPSILON), nn.LeakyReLU(SLOPE), conv, *after)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] in and out."""
        found: Tensor = self.model(x)
        return found


class Shortcut(nn.Module):
    """What is added to a residual: the input, with a 1x1 convolution where its shape differs."""

    def __init__(self, cin: int, out: int, *, stride: int = 1, grows: bool = False) -> None:
        super().__init__()
        after = [nn.Upsample(scale_factor=2)] if grows else []
        same = cin == out and stride == 1
        self.model = None if same else nn.Sequential(nn.Conv2d(cin, out, 1, stride), *after)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] in and out."""
        return x if self.model is None else self.model(x)


class Block(nn.Module):
    """A residual block of two convolutions; the first one changes width and size."""

    def __init__(self, cin: int, out: int, *, stride: int = 1, grows: bool = False) -> None:
        super().__init__()
        self.conv1 = Conv(cin, out, stride=stride, grows=grows)
        self.residual = Conv(out, out)
        self.shortcut = Shortcut(cin, out, stride=stride, grows=grows)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] in and out."""
        found: Tensor = self.shortcut(x) + self.residual(self.conv1(x))
        return found


class Stage(nn.Module):
    """Blocks of one width. With `shrinks` the last halves the size, with `grows` the first doubles it."""

    def __init__(
        self, cin: int, out: int, blocks: int, *, shrinks: bool = False, grows: bool = False
    ) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *(
                Block(
                    out if place else cin,
                    out,
                    stride=2 if shrinks and place == blocks - 1 else 1,
                    grows=grows and not place,
                )
                for place in range(blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] in and out."""
        found: Tensor = self.model(x)
        return found


class MangaLines(nn.Module):
    """Five stages down and four up with skip connections, and one more at full size.

    `widths` and `blocks` are those of the stages block0 to block9.
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        for place, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            shape = {"shrinks": 1 <= place <= 4, "grows": 5 <= place <= 8}
            stage = Stage(widths[place - 1] if place else 1, width, count, **shape)
            self.add_module(f"block{place}", stage)
        self.conv15 = Conv(widths[-1], 1, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return lines [1, 1, H, W], black on white in about 0..255, of a grey picture in 0..255."""
        skips: list[Tensor] = []
        for place in range(5):
            x = self.get_submodule(f"block{place}")(x)
            skips.append(x)
        for place in range(5, 9):
            x = skips[8 - place] + self.get_submodule(f"block{place}")(x)
        found: Tensor = self.conv15(self.get_submodule("block9")(x))
        return found


def manga_network(tensors: Tensors) -> nn.Module:
    """The network of a file's tensors; widths and depths are read from them. Raises KeyError."""
    stages = range(10)
    widths = [int(tensors[f"block{place}.model.0.conv1.model.2.weight"].shape[0]) for place in stages]
    inner = ".conv1.model.2.weight"
    names = [key for key in tensors if key.endswith(inner)]
    blocks = [sum(name.startswith(f"block{place}.") for name in names) for place in stages]
    return MangaLines(widths, blocks)
