"""Plots as inline SVG: the same numbers give the same text, and nothing in it says when or where."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import RcKeyType

from thoar.reports.page import Markup

SIZE_INCH = (8.6, 3.1)
PALEST = 0.5
"""Colours are darkened to this luminance: label sets choose theirs for CT, which is dark; paper is white."""

_Color = tuple[float, float, float]
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
"""Of red, green and blue in luminance (ITU-R BT.709)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One curve.

    Attributes:
        name: in the legend; none hides it there.
        x: positions, in order.
        y: values; gaps where they are not finite.
        color_rgb: 0 to 255 each.
        dashed: to tell two curves of one colour apart.
    """

    name: str
    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]
    color_rgb: tuple[int, int, int] = (40, 40, 40)
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dots:
    """The values of one group, each a dot above its name.

    Attributes:
        name: below the dots.
        values: of any number; those that are not finite are left out.
        color_rgb: 0 to 255 each.
    """

    name: str
    values: Float[np.ndarray, " value"]
    color_rgb: tuple[int, int, int] = (40, 40, 40)


def curves(
    description: str,
    lines: Sequence[Line],
    *,
    x_name: str,
    y_name: str,
    most: float | None = None,
    marks: Mapping[float, str] | None = None,
) -> Markup:
    """Return curves over one axis, single points as dots.

    Args:
        description: what the plot shows, for a reader who cannot see it; differs within a page.
        lines: in the legend's order.
        x_name: of the axis.
        y_name: of the axis, with its unit.
        most: upper end of the axis; the values' own by default.
        marks: upright lines and what begins there.
    """

    def draw(axes: Axes) -> None:
        for line in lines:
            _draw_line(axes, line)
        for position, said in (marks or {}).items():
            axes.axvline(position, color="0.6", linewidth=0.8, linestyle=":")
            axes.text(position, 1.02, said, transform=axes.get_xaxis_transform(), color="0.4")
        axes.set(xlabel=x_name, ylabel=y_name)
        axes.set_ylim(top=most)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if any(line.name for line in lines):
            axes.figure.legend(loc="outside right upper", frameon=False)

    return _drawn(description, draw)


def dots(description: str, groups: Sequence[Dots], *, y_name: str) -> Markup:
    """Return the values of every group side by side, with a bar at their median.

    Args:
        description: as for :func:`curves`.
        groups: from left to right.
        y_name: of the axis, with its unit.
    """

    def draw(axes: Axes) -> None:
        for place, group in enumerate(groups):
            _draw_dots(axes, place, group)
        axes.set_xticks(range(len(groups)), [group.name for group in groups])
        axes.set(ylabel=y_name, xlim=(-0.6, len(groups) - 0.4))

    return _drawn(description, draw)


def _draw_dots(axes: Axes, place: int, group: Dots) -> None:
    values = np.sort(group.values[np.isfinite(group.values)])
    if not len(values):
        return
    across = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(1)
    axes.plot(place + across, values, "o", markersize=4, alpha=0.75, color=_on_paper(group.color_rgb))
    median = float(np.median(values))
    axes.hlines(median, place - 0.3, place + 0.3, color="0.2", linewidth=1.2, zorder=1)


def _settings(description: str) -> dict[RcKeyType, Any]:
    """Return what makes a drawing repeatable; its ids come of its description, so none repeats on a page."""
    return {
        "svg.hashsalt": description,
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.size": 9.0,
        "font.family": "sans-serif",
    }


def _draw_line(axes: Axes, line: Line) -> None:
    finite = np.isfinite(line.y)
    axes.plot(
        line.x,
        np.where(finite, line.y, np.nan),
        label=line.name or "_",
        color=_on_paper(line.color_rgb),
        linewidth=1.4,
        linestyle="--" if line.dashed else "-",
        marker="o" if finite.sum() == 1 else "",
        markersize=4,
    )


def _on_paper(color_rgb: tuple[int, int, int]) -> _Color:
    """Return a colour from 0 to 1, dark enough for a thin line on white."""
    color = np.asarray(color_rgb, dtype=np.float64) / 255
    luminance = float(_WEIGHTS @ color)
    red, green, blue = color * min(1.0, PALEST / max(luminance, PALEST))
    return float(red), float(green), float(blue)


def _drawn(description: str, draw: Callable[[Axes], None]) -> Markup:
    """Return what a function draws, as the SVG element alone."""
    with rc_context(_settings(description)):
        figure = Figure(figsize=SIZE_INCH, layout="constrained")
        axes = figure.add_subplot()
        axes.grid(visible=True, axis="y", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _element(stream.getvalue(), description)


def _element(svg: str, description: str) -> Markup:
    element = svg[svg.index("<svg") :].strip()
    element = re.sub(r"<style.*?</style>", "", element, flags=re.DOTALL)  # it would rule over the whole page
    element = re.sub(r' xmlns(:xlink)?="[^"]*"', "", element)  # HTML knows them
    element = re.sub(r'<g id="[^"]*"', "<g", element)  # nothing refers to them, and they repeat on a page
    return Markup(element.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1))
