"""Detects predictions of a U-Net that are not finite (NaN or infinity), which would give a black picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .call import Position
from .port import Hooks


class FiniteFlag:
    """Checks whether a tensor is finite. On CUDA the check is asynchronous, and only `value` waits for it."""

    def __init__(self, tensor: Tensor) -> None:
        # NaN or an infinity shows in the minimum or the maximum; on a CPU this is five to ten times as fast
        flag = torch.isfinite(torch.stack(torch.aminmax(tensor))).all()
        self._event: Any = None
        if flag.is_cuda:
            pinned = torch.empty((), dtype=torch.bool, pin_memory=True)
            flag = pinned.copy_(flag, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(tensor.device))
        self._flag = flag

    @property
    def known(self) -> bool:
        """Whether the result is available, so that `value` returns at once."""
        return self._event is None or bool(self._event.query())

    @property
    def value(self) -> bool:
        """Whether all numbers are finite. Waits for the GPU if necessary."""
        if self._event is not None:
            self._event.synchronize()
        return bool(self._flag)


@dataclass(frozen=True, kw_only=True)
class CheckedCall:
    """A U-Net call with the host's original arguments, its position, and the check of its prediction."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    position: Position
    finite: FiniteFlag

    def repeat(self) -> bool:
        """Repeat the call, and return whether its prediction is finite.

        Raises RuntimeError if it cannot be repeated, for instance if the U-Net is now on another device.
        """
        with torch.no_grad():
            return FiniteFlag(prediction_of(self.module(*self.args, **self.kwargs))).value


class FiniteWatch:
    """Checks every prediction of a U-Net, and calls `refuse` with the first call that is not finite.

    `refuse` must raise. Sampling never waits for the GPU: a result is read once it is available, at the
    latest in `wait_for_checks`.
    """

    def __init__(self, refuse: Callable[[CheckedCall], None]) -> None:
        self.refuse = refuse
        self._pending: deque[CheckedCall] = deque()
        self._given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self._paused = False

    def install(self, hooks: Hooks, module: nn.Module, position: Callable[[], Position]) -> None:
        """Hook a U-Net, after all other hooks; `position` returns the position of the latest call."""

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._paused:
                self._given = args, dict(kwargs)

        def after(_module: nn.Module, _args: object, output: Any) -> None:
            if self._paused:
                return
            args, kwargs = self._given
            flag = FiniteFlag(prediction_of(output))
            call = CheckedCall(module=module, args=args, kwargs=kwargs, position=position(), finite=flag)
            self._pending.append(call)
            while self._pending and self._pending[0].finite.known:
                self._check()

        hooks.add(module.register_forward_pre_hook(before, with_kwargs=True, prepend=True))
        hooks.add(module.register_forward_hook(after))

    def wait_for_checks(self) -> None:
        """Wait for all pending checks, and refuse the first call whose prediction is not finite."""
        while self._pending:
            self._check()

    def clear(self) -> None:
        """Drop the pending checks."""
        self._pending.clear()
        self._given = ((), {})

    def _check(self) -> None:
        call = self._pending.popleft()
        if call.finite.value:
            return
        self._pending.clear()
        self._paused = True
        try:
            self.refuse(call)
        finally:
            self._paused = False


def prediction_of(output: Any) -> Tensor:
    """Return the prediction from a U-Net's output: a tensor, a tuple or one of diffusers' output classes."""
    if isinstance(output, dict):
        output = output["sample"]
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found
