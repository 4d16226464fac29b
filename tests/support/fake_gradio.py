"""The components of gradio and the WebUI's option classes, as far as the extension uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar


class Component:
    """Any gradio component or layout: keeps its options, counts as a context, records its events."""

    made: ClassVar[list[Component]] = []

    def __init__(self, value: Any = None, **options: Any) -> None:
        self.value = value
        self.options = options
        self.label = options.get("label", "")
        self.elem_id = options.get("elem_id")
        self.events: list[tuple[Any, dict[str, Any]]] = []
        Component.made.append(self)

    def __enter__(self) -> Component:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def click(self, fn: Callable[..., Any] | None = None, **options: Any) -> Component:
        self.events.append((fn, options))
        return self

    change = input = then = upload = select = click


class Choice(Component):
    """Takes its choices first or by name."""

    def __init__(self, choices: Any = None, value: Any = None, **options: Any) -> None:
        super().__init__(value, choices=choices, **options)


class Dropdown(Choice):
    """gradio 3.41 turns every choice into text, pairs too."""

    def __init__(self, choices: Any = None, value: Any = None, **options: Any) -> None:
        super().__init__([str(choice) for choice in choices], value, **options)


class OptionInfo:
    """A setting."""

    def __init__(self, default: Any, label: str = "", *given: Any, **options: Any) -> None:
        self.default, self.label, self.options = default, label, options
        self.component_args = given[1] if len(given) > 1 else {}
        self.restrict_api = bool(options.get("restrict_api"))
        self.section: tuple[str, str] | None = None
        self.component: Any = None
        self.do_not_save = False
        self.explanation = ""

    def info(self, text: str) -> OptionInfo:
        self.explanation = text
        return self

    def needs_reload_ui(self) -> OptionInfo:
        return self


class OptionHTML(OptionInfo):
    """An explanation among the settings."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.do_not_save = True


def refresh_button(component: Any, refresh: Any, choices: Any, elem_id: str) -> Component:
    return Component(elem_id=elem_id)
