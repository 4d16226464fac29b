"""The WebUI's options, script callbacks and conditioning, as far as the extension uses them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.support.fake_gradio import OptionInfo


class Opts:
    """`shared.opts`: data by name, labels by name."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.data_labels: dict[str, OptionInfo] = {}

    def __getattr__(self, name: str) -> Any:
        if name in ("data", "data_labels") or name not in self.data:
            raise AttributeError(name)
        return self.data[name]

    def add_option(self, name: str, option: OptionInfo) -> None:
        self.data_labels[name] = option
        if not option.do_not_save:
            self.data.setdefault(name, option.default)


def add_callback(functions: list[Any], function: Any, *, category: str, filename: str) -> None:
    """`script_callbacks.add_callback`, with the arguments that are used here."""
    assert (category, Path(filename).suffix) != ("unknown", "")
    functions.append(function)


class Callbacks:
    """`script_callbacks`: registered functions by kind; calling them swallows exceptions."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Callable[..., Any]]] = {
            kind: []
            for kind in (
                *("cfg_denoiser", "ui_settings", "app_started"),
                *("before_ui", "ui_tabs", "infotext_pasted"),
            )
        }

    def fire(self, kind: str, *args: Any) -> None:
        for function in list(self.lists[kind]):
            with suppress(Exception):  # as the WebUI does
                function(*args)

    def remove(self, function: Callable[..., Any]) -> None:
        for functions in self.lists.values():
            functions[:] = [known for known in functions if known != function]

    @property
    def count(self) -> int:
        return sum(map(len, self.lists.values()))


class SdConditioning(list[str]):
    """Prompts, and whether they are negative."""

    def __init__(self, prompts: Any, is_negative_prompt: bool = False, copy_from: Any = None) -> None:
        super().__init__(prompts)
        given = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(given, "is_negative_prompt", False)


def reconstruct_cond_batch(conds: list[Tensor], _step: int) -> Tensor:
    return torch.stack(conds)


def reconstruct_multicond_batch(conds: Any, _step: int) -> tuple[list[list[tuple[int, float]]], Tensor]:
    rows = [part for parts in conds.batch for part in parts]
    numbers = iter(range(len(rows)))
    return [[(next(numbers), w) for _, w in parts] for parts in conds.batch], torch.stack(
        [z for z, _ in rows]
    )


class Comments:
    """The WebUI's script that cuts off what stands behind `#` in the prompts, if its setting says so."""

    def __init__(self, opts: Opts) -> None:
        self.opts = opts

    def title(self) -> str:
        return "Comments"

    def process(self, p: Any, *_args: Any) -> None:
        hires = ("hr_prompts", "hr_negative_prompts") if getattr(p, "enable_hr", False) else ()
        for name in ("prompts", "negative_prompts", *hires) if self.opts.enable_prompt_comments else ():
            setattr(p, f"all_{name}", [re.sub("#.*", "", text) for text in getattr(p, f"all_{name}")])
