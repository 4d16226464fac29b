"""Tells a clock which rows the WebUI computes, where another extension calls the U-Net in its own way.

TiledDiffusion and AnimateDiff replace the `forward` of the denoiser's model, which the WebUI calls with a
batch of rows, by one that calls the U-Net several times. Hooks of the model see the batch of the WebUI.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from lib_ctrlgen.unet.clocks import RowQueue

from .step_callbacks import StepFunction


@contextmanager
def each_host_batch(rows: RowQueue) -> Iterator[StepFunction]:
    """Yield a function for each step, which hooks the denoiser's model once; the hooks end with the block."""
    hooked: list[nn.Module] = []

    def begin(_model: nn.Module, args: tuple[Any, ...]) -> None:
        rows.begin_batch(int(args[0].shape[0]))

    def end(_model: nn.Module, _args: tuple[Any, ...], _made: Any) -> None:
        rows.end_batch()

    with ExitStack() as stack:

        def follow(params: Any) -> None:
            model = getattr(params.denoiser, "inner_model", None)
            if isinstance(model, nn.Module) and not any(model is each for each in hooked):
                hooked.append(model)
                stack.callback(model.register_forward_pre_hook(begin).remove)
                stack.callback(model.register_forward_hook(end).remove)

        yield follow
