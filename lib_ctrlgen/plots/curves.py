"""A curve as SVG: values over steps, with marked points.

>>> curve_svg([(0, 1.0), (10, 0.5)], "loss").startswith('<svg class="curve"')
True
"""

from __future__ import annotations

from collections.abc import Sequence

from .svg import document, number, text

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 150, 52, 12, 12, 24


def curve_svg(points: Sequence[tuple[float, float]], label: str, marked: float | None = None) -> str:
    """A line through points (step, value), and a dot at the point of the step `marked`."""
    if not points:
        return document(WIDTH, HEIGHT, label, text(LEFT, HEIGHT / 2, "nothing yet"), name="curve")
    scale = _Scale(points)
    path = " ".join(f"{number(scale.x(step))},{number(scale.y(value))}" for step, value in points)
    line = f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    dots = [(step, value) for step, value in points if step == marked or len(points) == 1]
    circles = "".join(
        f'<circle cx="{number(scale.x(step))}" cy="{number(scale.y(value))}" r="4" fill="currentColor"/>'
        for step, value in dots
    )
    return document(WIDTH, HEIGHT, label, scale.axes() + line + circles, name="curve")


class _Scale:
    """Where steps and values are in the picture."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        steps, values = [step for step, _ in points], [value for _, value in points]
        self.first, self.last = min(steps), max(steps)
        self.low, self.high = min(values), max(values)

    def x(self, step: float) -> float:
        """Pixels from the left."""
        share = (step - self.first) / ((self.last - self.first) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        share = (value - self.low) / ((self.high - self.low) or 1)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def axes(self) -> str:
        """The frame with the least and the greatest numbers."""
        bottom = HEIGHT - BOTTOM
        frame = (
            f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="currentColor" '
            'stroke-opacity="0.35"/>'
        )
        ends = text(LEFT - 6, TOP + 8, f"{self.high:.4g}", anchor="end")
        ends += text(LEFT - 6, bottom, f"{self.low:.4g}", anchor="end")
        ends += text(LEFT, HEIGHT - 8, f"{self.first:g}")
        return frame + ends + text(WIDTH - RIGHT, HEIGHT - 8, f"{self.last:g}", anchor="end")
