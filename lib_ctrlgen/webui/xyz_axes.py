"""Adds axes that change units to the WebUI's X/Y/Z plot.

Those of sd-webui-controlnet have its labels, so that saved plots keep working. They change the units of its
requests, and CtrlGen's own units where there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modules import scripts

from lib_ctrlgen.compat.axes import MODELS, OLD_AXES, OWN_AXES, UnitAxis
from lib_ctrlgen.compat.axis_values import UnitValues, axis_values

from .external_code.remote_values import PLOT
from .panel.components import model_choices

if TYPE_CHECKING:
    from lib_ctrlgen.forms.unit_changes import UnitChange

MODULE = "xyz_grid.py"
CHANGES = "ctrlgen_changes"  # the attribute of a generation that holds the changes of its cell
REMOTE = "control_net_"  # how the attributes begin by which sd-webui-controlnet's units are changed

SLOW = 0.9  # the plot changes such an axis least often: a model is read


def add_axes() -> None:
    """Add the axes to the plot, unless it has them already. Called before the WebUI builds its page."""
    plot = next((data.module for data in scripts.scripts_data if _is_plot(data)), None)
    if plot is None:
        return
    present = {option.label for option in plot.axis_options}
    axes = [axis for axis in (*OLD_AXES, *OWN_AXES) if axis.label not in present]
    plot.axis_options.extend(_option(plot, axis) for axis in axes)


def changes_of(p: Any, *, own: bool = True) -> tuple[UnitChange, ...]:
    """The changes that a cell of the plot makes to CtrlGen's own units.

    `own` is whether sd-webui-controlnet's axes change them, too; else they change those of its requests.
    """
    found: tuple[UnitChange, ...] = getattr(p, CHANGES, ())
    return tuple(change for change in found if own or not change.axis.attribute)


def _is_plot(data: Any) -> bool:
    return bool(data.script_class.__module__ == MODULE and hasattr(data, "module"))


def _option(plot: Any, axis: UnitAxis) -> Any:
    """The plot's own object for an axis."""
    return plot.AxisOption(
        axis.label,
        str,
        _applied(axis),
        format_value=lambda _p, option, value: f"{option.label}: {value}",
        confirm=_confirmed(axis),
        cost=SLOW if axis.field == "model" else 0.0,
        choices=_choices(axis) if axis.choices else None,
    )


def _applied(axis: UnitAxis) -> Callable[[Any, UnitValues, Any], None]:
    def apply(p: Any, value: UnitValues, _values: Any) -> None:
        from lib_ctrlgen.forms.unit_changes import UnitChange

        setattr(p, CHANGES, (*changes_of(p), UnitChange(axis, value)))
        if axis.attribute:
            given = [axis.shown(each) for each in value.each] if value.each else axis.shown(value.every)
            setattr(p, REMOTE + axis.attribute, given)
            setattr(p, PLOT, True)

    return apply


def _confirmed(axis: UnitAxis) -> Callable[[Any, list[Any]], None]:
    def confirm(_p: Any, values: list[Any]) -> None:
        values[:] = axis_values([str(value) for value in values], axis.read)

    return confirm


def _choices(axis: UnitAxis) -> Callable[[], list[str]]:
    return lambda: model_choices()["choices"] if axis.choices == (MODELS,) else list(axis.choices)
